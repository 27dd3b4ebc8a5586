"""The chart's admission policy: who writes a JobRun or a DataStore must himself be allowed what it names (S05, S08, S29)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from lib.cluster import tools

from integration.api.objects import deployment, function, run, store, store_spec
from integration.api.objects import volume as on_claim
from support.apiserver import ROOT, ApiServer, Client, Object, Refused
from support.waiting import wait_for

NAMESPACE = "api"
MILLRACE = {"apiGroups": ["millrace.dev"], "resources": ["jobruns"], "verbs": ["*"]}
STORES = {"apiGroups": ["millrace.dev"], "resources": ["datastores"], "verbs": ["create", "update", "patch"]}
DEPLOYMENTS = {**STORES, "resources": ["deployments"], "verbs": ["get", "create", "update", "patch"]}
FUNCTIONS = {**STORES, "resources": ["functions"]}
GET_STORES = {"apiGroups": ["millrace.dev"], "resources": ["datastores"], "verbs": ["get"]}


def core(verb: str, resource: str, *names: str) -> Object:
    """A rule of a Role on a resource of the core group."""
    found: Object = {"apiGroups": [""], "resources": [resource], "verbs": [verb]}
    return {**found, "resourceNames": list(names)} if names else found


def rendered(template: str) -> list[Object]:
    command = [
        tools.binary("helm"),
        "template",
        "millrace",
        ROOT / "helm" / "millrace",
        "--show-only",
        f"templates/{template}",
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


@dataclass
class Users:
    """Service accounts with the rights that a test gives them."""

    api: ApiServer
    made: int = 0

    def token(self, *rules: Object) -> str:
        """The token of a new user with these rights in the namespace, and no other."""
        self.made += 1
        name = f"user-{self.made}"
        meta = {"name": name, "namespace": NAMESPACE}
        rbac = "rbac.authorization.k8s.io"
        self.api.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta},
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta, "rules": list(rules)},
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "RoleBinding",
                "metadata": meta,
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}],
            },
        )
        return self.api.token(NAMESPACE, name)

    @contextmanager
    def client(self, *rules: Object) -> Iterator[Client]:
        """A client of such a user."""
        client = self.api.client(self.token(*rules))
        try:
            yield client
        finally:
            client.close()


@pytest.fixture(scope="module")
def users(api: ApiServer) -> Iterator[Users]:
    """With the policy in force; it is gone again for the tests of other files."""
    policy = rendered("admission.yaml")
    api.apply(*policy)
    found = Users(api)
    token = found.token(MILLRACE)

    def in_force() -> bool:
        client = api.client(token)
        try:
            client.request("POST", PATH, run("policy", serviceAccountName="x"), dryRun="All")
        except Refused as refused:
            return refused.status == 403 and "may not use" in refused.message
        finally:
            client.close()
        return False

    wait_for("the policy is in force", in_force, seconds=30, poll=0.2)
    yield found
    done = api.kubectl("delete", "-f", "-", stdin="\n---\n".join(map(json.dumps, policy)))
    assert done.returncode == 0, done.stderr


PATH = f"/apis/millrace.dev/v1alpha1/namespaces/{NAMESPACE}/jobruns"
DEPLOYMENT_PATH = f"/apis/millrace.dev/v1alpha1/namespaces/{NAMESPACE}/deployments"
FUNCTION_PATH = f"/apis/millrace.dev/v1alpha1/namespaces/{NAMESPACE}/functions"
STORE_PATH = f"/apis/millrace.dev/v1alpha1/namespaces/{NAMESPACE}/datastores"


def volume(**source: Any) -> Object:
    return {"volumes": [{"name": "v", **source}]}


KEY = {"name": "k", "key": "x"}
TOKEN = {"serviceAccountToken": {"path": "token"}}
GET, USE = "get", "use"
# What a run names, the right that its author needs for it, and a right that is not enough.
NAMED: dict[str, tuple[Object, Object, Object, str]] = {
    "a Secret's key as a variable": (
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": KEY}}]},
        core(GET, "secrets", "k"),
        core(GET, "secrets", "other"),
        "may not get all Secrets that spec names: k",
    ),
    "a Secret as a volume": (
        volume(secret={"secretName": "k"}),
        core(GET, "secrets", "k"),
        core("list", "secrets"),
        "may not get all Secrets that spec names: k",
    ),
    "a projected Secret": (
        volume(projected={"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "k"}}]}),
        core(GET, "secrets", "k"),
        core(GET, "configmaps"),
        "may not get all Secrets that spec.volumes project: v",
    ),
    "a Secret of a registry": (
        {"imagePullSecrets": [{"name": "k"}]},
        core(GET, "secrets"),
        core("create", "secrets"),
        "may not get all Secrets that spec names: k",
    ),
    "a claim": (
        volume(persistentVolumeClaim={"claimName": "k"}),
        core(USE, "persistentvolumeclaims", "k"),
        core(GET, "persistentvolumeclaims", "k"),
        "may not use all PersistentVolumeClaims that spec names: k",
    ),
    "a service account": (
        {"serviceAccountName": "k"},
        core(USE, "serviceaccounts", "k"),
        core(GET, "serviceaccounts", "k"),
        "may not use the ServiceAccount that the pod has: k",
    ),
    "the token of the account that is not named": (
        volume(projected={"sources": [TOKEN]}),
        core(USE, "serviceaccounts", "default"),
        core(USE, "serviceaccounts", "other"),
        "may not use the ServiceAccount that the pod has: default",
    ),
    "the store of an input": (
        {"inputs": [{"name": "i", "dataStore": {"name": "k", "path": "p"}}]},
        {**GET_STORES, "resourceNames": ["k"]},
        {**GET_STORES, "resourceNames": ["other"]},
        "may not get all DataStores that spec names: k",
    ),
    "the store of an output": (
        {"outputs": [{"name": "o", "dataStore": {"name": "k", "path": "p"}}]},
        GET_STORES,
        {**GET_STORES, "verbs": ["list"]},
        "may not get all DataStores that spec names: k",
    ),
    "the asset of an input": (
        {"inputs": [{"name": "i", "asset": "k@latest"}]},
        {**GET_STORES, "resources": ["dataassets"]},
        GET_STORES,
        "may not get DataAssets, which spec names: k@latest",
    ),
    "a volume that brings its own Secret": (
        volume(csi={"driver": "d", "nodePublishSecretRef": {"name": "k"}}),
        core("create", "pods"),
        core(GET, "secrets"),
        "may not create Pods, which volumes of this type ask for: v",
    ),
    "a claim that is made for the pod": (
        volume(ephemeral={"volumeClaimTemplate": {"spec": {}}}),
        core("create", "pods"),
        core(USE, "persistentvolumeclaims"),
        "may not create Pods, which volumes of this type ask for: v",
    ),
}


@pytest.mark.parametrize("what", NAMED)
def test_a_run_may_name_what_its_author_may_use(users: Users, what: str) -> None:
    spec, needed, not_enough, message = NAMED[what]
    obj = run("named", **spec)
    for rules in ([], [not_enough]):
        with users.client(MILLRACE, *rules) as client, pytest.raises(Refused) as refused:
            client.request("POST", PATH, obj, dryRun="All")
        assert (refused.value.status, message in refused.value.message) == (403, True), refused.value.message
        assert f"system:serviceaccount:{NAMESPACE}:user-{users.made} may not" in refused.value.message
    with users.client(MILLRACE, needed) as client:
        client.request("POST", PATH, obj, dryRun="All")


@pytest.mark.parametrize("what", NAMED)
def test_a_template_may_name_what_its_author_may_use(users: Users, what: str) -> None:
    spec, needed, not_enough, message = NAMED[what]
    obj = deployment("named", template=spec)
    with users.client(DEPLOYMENTS, not_enough) as client, pytest.raises(Refused) as refused:
        client.request("POST", DEPLOYMENT_PATH, obj, dryRun="All")
    assert (refused.value.status, message in refused.value.message) == (403, True), refused.value.message
    with users.client(DEPLOYMENTS, needed) as client:
        client.request("POST", DEPLOYMENT_PATH, obj, dryRun="All")


PLACE = {"name": "k", "path": "p"}
# The same for what only a Deployment names.
OF_A_DEPLOYMENT: dict[str, tuple[Object, Object, Object, str]] = {
    "the Secret with the address of a notification": (
        {"notifications": [{"on": ["Failed"], "urlSecretRef": KEY}]},
        core(GET, "secrets", "k"),
        core(GET, "secrets", "other"),
        "may not get all Secrets that spec names: k",
    ),
    "the Secret of a mapped input": (
        {"inputsMapping": [{"input": "i", "constant": 1}, {"input": "j", "secretRef": KEY}]},
        core(GET, "secrets", "k"),
        core(GET, "secrets", "other"),
        "may not get all Secrets that spec names: k",
    ),
    "the store of a mapped input": (
        {"inputsMapping": [{"input": "i", "dataStore": PLACE}]},
        {**GET_STORES, "resourceNames": ["k"]},
        {**GET_STORES, "resourceNames": ["other"]},
        "may not get all DataStores that spec names: k",
    ),
    "the store of a mapped output": (
        {"outputsMapping": [{"output": "o", "void": True}, {"output": "p", "dataStore": PLACE}]},
        {**GET_STORES, "resourceNames": ["k"]},
        {**GET_STORES, "resourceNames": ["other"]},
        "may not get all DataStores that spec names: k",
    ),
    "the asset of a mapped input": (
        {"inputsMapping": [{"input": "i", "asset": "k@latest"}]},
        {**GET_STORES, "resources": ["dataassets"]},
        GET_STORES,
        "may not get DataAssets, which spec names: k@latest",
    ),
}


@pytest.mark.parametrize("what", OF_A_DEPLOYMENT)
def test_a_deployment_may_name_what_its_author_may_use(users: Users, what: str) -> None:
    spec, needed, not_enough, message = OF_A_DEPLOYMENT[what]
    obj = deployment("named", **spec)
    with users.client(DEPLOYMENTS, not_enough) as client, pytest.raises(Refused) as refused:
        client.request("POST", DEPLOYMENT_PATH, obj, dryRun="All")
    assert (refused.value.status, message in refused.value.message) == (403, True), refused.value.message
    with users.client(DEPLOYMENTS, needed) as client:
        client.request("POST", DEPLOYMENT_PATH, obj, dryRun="All")


GET_ASSETS = {**GET_STORES, "resources": ["dataassets"]}


# The archive of a Function's code is read with the keys of its store, whatever its author may.
@pytest.mark.parametrize(
    ("uri", "needed", "not_enough", "message"),
    [
        (
            "k/paths/code.zip",
            [{**GET_STORES, "resourceNames": ["k"]}],
            [{**GET_STORES, "resourceNames": ["other"]}],
            "spec names: k",
        ),
        ("k:3", [GET_ASSETS], [GET_STORES], "may not get DataAssets, which spec names: k:3"),
        ("k@latest", [GET_ASSETS], [GET_STORES], "may not get DataAssets, which spec names: k@latest"),
        (
            "s3://bucket/code.zip",
            [GET_STORES, GET_ASSETS],
            [{**GET_STORES, "resourceNames": ["k"]}, GET_ASSETS],
            "is in: s3://bucket",
        ),
    ],
)
def test_a_function_may_name_what_its_author_may_use(
    users: Users, uri: str, needed: list[Object], not_enough: list[Object], message: str
) -> None:
    obj = function("named", source={"zip": {"uri": uri}})
    with users.client(FUNCTIONS, *not_enough) as client, pytest.raises(Refused) as refused:
        client.request("POST", FUNCTION_PATH, obj, dryRun="All")
    assert (refused.value.status, message in refused.value.message) == (403, True), refused.value.message
    with users.client(FUNCTIONS, *needed) as client:
        client.request("POST", FUNCTION_PATH, obj, dryRun="All")


@pytest.mark.parametrize(
    "source", [{"inline": "x = 1"}, {"zip": {"uri": "https://example.com/a/paths/code.zip", "sha256": "0" * 64}}]
)
def test_code_that_is_in_no_store_asks_for_nothing(users: Users, source: Object) -> None:
    with users.client(FUNCTIONS) as client:
        made = client.request("POST", FUNCTION_PATH, function("plain", source=source), dryRun="All")
    assert made["spec"]["source"] == source


def test_a_template_that_is_changed_is_looked_at_again(users: Users) -> None:
    users.api.admin.create("deployments", deployment("edited"))
    with users.client(DEPLOYMENTS) as client:
        client.merge("deployments", NAMESPACE, "edited", {"spec": {"concurrency": 3}})
        with pytest.raises(Refused) as refused:
            client.merge("deployments", NAMESPACE, "edited", {"spec": {"template": {"serviceAccountName": "k"}}})
    assert "may not use the ServiceAccount that the pod has: k" in refused.value.message


def test_a_run_may_be_one_of_a_deployment_that_its_author_may_get(users: Users) -> None:
    obj = run("of-a-deployment", functionRef=None, deploymentRef={"name": "k"})
    get = {**GET_STORES, "resources": ["deployments"]}
    with users.client(MILLRACE, {**get, "resourceNames": ["other"]}) as client, pytest.raises(Refused) as refused:
        client.request("POST", PATH, obj, dryRun="All")
    assert "may not get the Deployment that spec.deploymentRef names: k" in refused.value.message
    with users.client(MILLRACE, {**get, "resourceNames": ["k"]}) as client:
        client.request("POST", PATH, obj, dryRun="All")


def test_what_names_nothing_needs_no_right(users: Users) -> None:
    plain = run(
        "plain",
        environmentVariables={"A": "b"},
        env=[{"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        volumes=[{"name": "v", "emptyDir": {}}, {"name": "w", "projected": {"sources": [{"downwardAPI": {}}]}}],
        outputs=[{"name": "o", "href": "s3://b/k"}],
    )
    with users.client(MILLRACE) as client:
        assert client.request("POST", PATH, plain, dryRun="All")["spec"] == plain["spec"]


def test_a_right_in_another_namespace_is_none(users: Users) -> None:
    users.api.namespace("elsewhere")
    token = users.token(MILLRACE)
    user = {"kind": "ServiceAccount", "name": f"user-{users.made}", "namespace": NAMESPACE}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "admin", "namespace": "elsewhere"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin"},
        "subjects": [user],
    }
    users.api.apply(binding)
    client = users.api.client(token)
    with pytest.raises(Refused) as refused:
        client.request("POST", PATH, run("x", serviceAccountName="default"), dryRun="All")
    client.close()
    assert refused.value.status == 403


def test_who_may_get_all_secrets_may_name_many(users: Users) -> None:
    secrets = [{"name": f"V{i}", "valueFrom": {"secretKeyRef": {"name": f"s{i}", "key": "k"}}} for i in range(256)]
    with users.client(MILLRACE, core(GET, "secrets")) as client:
        client.request("POST", PATH, run("many", env=secrets), dryRun="All")
    with users.client(MILLRACE, core(GET, "secrets", "s1")) as client:
        with pytest.raises(Refused) as refused:
            client.request("POST", PATH, run("few", env=secrets[:3]), dryRun="All")
        assert refused.value.message.endswith("all Secrets that spec names: s0, s1, s2"), refused.value.message
        with pytest.raises(Refused) as refused:
            client.request("POST", PATH, run("many", env=secrets), dryRun="All")
        assert refused.value.status in (403, 422), "past its budget it refuses"


def test_fields_of_another_shape_are_refused_and_not_let_through(users: Users) -> None:
    with users.client(MILLRACE) as client:
        for spec in (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": "k"}}]},
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]},
            volume(secret={"secretName": ["k"]}),
            volume(secret="k"),
            volume(projected={"sources": {"secret": {"name": "k"}}}),
            volume(secret=None),
        ):
            with pytest.raises(Refused) as refused:
                client.request("POST", PATH, run("odd", **spec), dryRun="All")
            assert refused.value.status in (403, 422), (spec, refused.value)


def test_a_store_may_name_the_secret_that_its_author_may_get(users: Users) -> None:
    obj = store_spec(credentials={"secretRef": {"name": "k"}})
    obj["metadata"]["name"] = "with-a-secret"
    with users.client(STORES) as client, pytest.raises(Refused) as refused:
        client.request("POST", STORE_PATH, obj, dryRun="All")
    assert refused.value.status == 403
    assert "may not get all Secrets that spec names: k" in refused.value.message
    with users.client(STORES, core(GET, "secrets", "k")) as client:
        client.request("POST", STORE_PATH, obj, dryRun="All")
    with users.client(STORES) as client:
        client.request("POST", STORE_PATH, store("without-a-secret"), dryRun="All")


def test_a_store_on_a_claim_asks_for_the_right_to_use_it(users: Users) -> None:
    obj = on_claim("on-a-claim", claimName="k")
    for rules in ([], [core(GET, "persistentvolumeclaims", "k")], [core(USE, "persistentvolumeclaims", "other")]):
        with users.client(STORES, *rules) as client, pytest.raises(Refused) as refused:
            client.request("POST", STORE_PATH, obj, dryRun="All")
        assert "may not use all PersistentVolumeClaims that spec names: k" in refused.value.message
    with users.client(STORES, core(USE, "persistentvolumeclaims", "k")) as client:
        client.request("POST", STORE_PATH, obj, dryRun="All")


def test_a_store_with_a_secret_is_pointed_elsewhere_only_by_who_may_get_the_secret(users: Users) -> None:
    obj = store_spec(credentials={"secretRef": {"name": "k"}})
    obj["metadata"]["name"] = "guarded"
    users.api.admin.create("datastores", obj)
    with users.client(STORES) as client:
        for patch in (
            {"spec": {"s3": {"endpoint": "https://elsewhere.test"}}},
            {"spec": {"credentials": {"secretRef": {"name": "other"}}}},
        ):
            with pytest.raises(Refused) as refused:
                client.merge("datastores", NAMESPACE, "guarded", patch)
            assert refused.value.status == 403
        # Nothing of the spec changes, as with a garbage collector's write.
        client.merge("datastores", NAMESPACE, "guarded", {"metadata": {"labels": {"team": "a"}}})
        client.merge("datastores", NAMESPACE, "guarded", {"spec": {"credentials": None}})


def test_cancelling_and_labels_of_a_run_ask_for_nothing(users: Users) -> None:
    users.api.admin.create("jobruns", run("running", serviceAccountName="k"))
    with users.client(MILLRACE) as client:
        client.merge("jobruns", NAMESPACE, "running", {"metadata": {"labels": {"team": "a"}}})
        cancelled = client.merge("jobruns", NAMESPACE, "running", {"spec": {"cancel": True}})
        client.delete("jobruns", NAMESPACE, "running")
    assert (cancelled["metadata"]["labels"], cancelled["spec"]["cancel"]) == ({"team": "a"}, True)
    assert users.api.admin.find("jobruns", NAMESPACE, "running") is None


@pytest.mark.parametrize("how", [[], ["--server-side"]], ids=["client-side", "server-side"])
def test_apply_and_diff_by_one_who_may(users: Users, how: list[str]) -> None:
    token = users.token(MILLRACE, core(USE, "serviceaccounts", "k"))
    text = json.dumps(run(f"applied-by-a-user{len(how)}", serviceAccountName="k"))
    # Without the administrator's certificate: kubectl sends a token beside it, and the certificate wins.
    config = users.api.folder / "user.kubeconfig"
    config.write_text(json.dumps(kubeconfig(users.api, token)))
    for command, code in (("diff", 1), ("apply", 0), ("diff", 0), ("apply", 0)):
        done = users.api.kubectl(command, *how, "-f", "-", f"--kubeconfig={config}", stdin=text)
        assert done.returncode == code, (command, done.stdout, done.stderr)


def kubeconfig(api: ApiServer, token: str) -> Object:
    cluster = {"server": api.url, "certificate-authority": str(api.pki / "ca.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


def test_the_operator_writes_statuses_and_nothing_else_does(users: Users) -> None:
    users.api.admin.create("jobruns", run("told", serviceAccountName="k"))
    patch = {"status": {"phase": "Succeeded"}}
    roles = rendered("roles.yaml")
    assert [role["metadata"]["name"] for role in roles] == ["millrace-view", "millrace-edit"]
    for role in roles:
        with users.client(*role["rules"]) as client:
            for resource in ("dataassets", "datastores", "functions", "jobruns"):
                with pytest.raises(Refused) as refused:
                    client.merge(f"{resource}/status", NAMESPACE, "told", patch)
                assert refused.value.status == 403
    [_, editor] = roles
    operator = next(found for found in rendered("rbac.yaml") if found["kind"] == "ClusterRole")
    with users.client(*operator["rules"]) as client:
        client.merge("jobruns/status", NAMESPACE, "told", patch)
        with pytest.raises(Refused) as refused:
            client.merge("jobruns", NAMESPACE, "told", {"spec": {"cancel": True}})
    assert refused.value.status == 403
    with users.client(*editor["rules"]) as client, pytest.raises(Refused) as refused:
        client.merge("jobruns", NAMESPACE, "told", {"spec": {"retries": 3}})
    assert (refused.value.status, "retries is immutable" in refused.value.message) == (422, True)


def test_the_policy_has_no_complaint_of_the_api_server(users: Users) -> None:
    """A misspelt field of our kinds would be reported here."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/millrace-references"
    assert "expressionWarnings" not in json.dumps(users.api.admin.request("GET", path).get("status", {}))
