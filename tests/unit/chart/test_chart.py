"""The chart as Helm renders it: rights, settings, security and what its schema refuses."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from millrace.domain.settings import Settings

REPO = Path(__file__).resolve().parents[3]
CHART = REPO / "helm" / "millrace"
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

KINDS = ("dataasset", "datastore", "deployment", "function", "jobrun")

# The whole of what the operator may do. A line more is a decision.
RULES = {
    ("", "configmaps"): "create delete get list patch watch",
    ("", "events"): "create list",
    ("", "pods"): "get list watch",
    ("batch", "cronjobs"): "create delete get list patch watch",
    ("batch", "jobs"): "create delete get list patch watch",
    ("millrace.dev", "dataassets"): "create get list watch",
    ("millrace.dev", "dataassets/status"): "patch",
    ("millrace.dev", "datastores"): "get list watch",
    ("millrace.dev", "datastores/status"): "patch",
    ("millrace.dev", "deployments"): "get list watch",
    ("millrace.dev", "deployments/status"): "patch",
    ("millrace.dev", "functions"): "get list watch",
    ("millrace.dev", "functions/status"): "patch",
    ("millrace.dev", "jobruns"): "create delete get list watch",
    ("millrace.dev", "jobruns/status"): "patch",
}


@pytest.fixture(scope="session")
def helm():
    found = subprocess.run([REPO / "hack" / "cluster", "tool", "helm"], check=True, capture_output=True, text=True)
    return found.stdout.strip()


@pytest.fixture
def template(helm):
    def run(values=None, release="millrace"):
        command = [helm, "template", release, CHART, "--namespace=millrace-system", "--values=-"]
        return subprocess.run(command, input=json.dumps(values or {}), capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def render(template):
    """The manifests for these values: {(kind, name): manifest}."""

    def run(values=None, release="millrace"):
        done = template(values, release)
        assert done.returncode == 0, done.stderr
        found = [document for document in yaml.safe_load_all(done.stdout) if document]
        named = {(each["kind"], each["metadata"]["name"]): each for each in found}
        assert all(each["metadata"].get("namespace", "millrace-system") for each in found)
        return named

    return run


def settings(manifests):
    return yaml.safe_load(manifests["ConfigMap", "millrace-operator"]["data"]["config.yaml"])


def pod(manifests):
    return manifests["Deployment", "millrace-operator"]["spec"]["template"]["spec"]


def rules(manifest):
    return {
        (group, resource): " ".join(rule["verbs"])
        for rule in manifest["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_rights_are_exactly_these(render):
    manifests = render()
    assert rules(manifests["ClusterRole", "millrace-operator"]) == RULES
    assert [name for kind, name in manifests if kind in ("Role", "RoleBinding")] == ["millrace-operator-lease"] * 2
    assert manifests["ClusterRoleBinding", "millrace-operator"]["subjects"] == [
        {"kind": "ServiceAccount", "name": "millrace-operator", "namespace": "millrace-system"}
    ]


def test_the_lease_is_the_releases_own(render):
    manifests = render({"namespaces": ["a"]})
    role = manifests["Role", "millrace-operator-lease"]
    assert role["metadata"]["namespace"] == "millrace-system"
    create, one = role["rules"]
    assert (create["resources"], create["verbs"]) == (["leases"], ["create"])
    assert (one["resources"], one["resourceNames"], one["verbs"]) == (["leases"], ["millrace-operator"], ["get", "update"])
    (container,) = pod(manifests)["containers"]
    assert {"name": "MILLRACE_LEASE", "value": "millrace-system/millrace-operator"} in container["env"]
    identity = {"fieldRef": {"fieldPath": "metadata.name"}}
    assert {"name": "POD_NAME", "valueFrom": identity} in container["env"]


def test_replicas(render):
    one, two = render(), render({"replicas": 2})
    assert [found["Deployment", "millrace-operator"]["spec"]["replicas"] for found in (one, two)] == [1, 2]
    assert ("PodDisruptionBudget", "millrace-operator") not in one, "it would forbid to drain the node"
    budget = two["PodDisruptionBudget", "millrace-operator"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == two["Deployment", "millrace-operator"]["spec"]["selector"]


def test_no_right_on_secrets(render):
    assert not [resource for _, resource in rules(render()["ClusterRole", "millrace-operator"]) if "secret" in resource]


def test_named_namespaces_have_a_role_each_and_nothing_is_cluster_wide(template):
    found = list(yaml.safe_load_all(template({"namespaces": ["a", "b"], "crds": {"install": False}}).stdout))
    assert {each["kind"] for each in found} == {"ConfigMap", "Deployment", "Role", "RoleBinding", "ServiceAccount"}
    roles = [each["metadata"] | {"rules": rules(each)} for each in found if each["kind"] == "Role"]
    named = {role["namespace"]: role["rules"] for role in roles if role["name"] == "millrace-operator"}
    assert named == {"a": RULES, "b": RULES}
    (config,) = [each for each in found if each["kind"] == "ConfigMap"]
    assert yaml.safe_load(config["data"]["config.yaml"])["namespaces"] == ["a", "b"]


@pytest.mark.parametrize("value", ["aggregateRoles", "admissionPolicy"])
@pytest.mark.parametrize(
    ("namespaces", "wanted", "made"),
    [([], None, True), (["a"], None, False), ([], False, False), (["a"], True, True)],
    ids=["everywhere", "named namespaces", "not wanted", "wanted all the same"],
)
def test_what_is_cluster_wide_is_made_where_it_is_allowed(render, value, namespaces, wanted, made):
    kinds = {
        "aggregateRoles": [("ClusterRole", "millrace-view"), ("ClusterRole", "millrace-edit")],
        "admissionPolicy": [
            ("ValidatingAdmissionPolicy", "millrace-references"),
            ("ValidatingAdmissionPolicyBinding", "millrace-references"),
        ],
    }
    manifests = render({"namespaces": namespaces, value: wanted})
    assert [key in manifests for key in kinds[value]] == [made, made]


def test_the_admission_policy_denies_where_it_fails_or_cannot_tell(render):
    manifests = render()
    policy = manifests["ValidatingAdmissionPolicy", "millrace-references"]["spec"]
    binding = manifests["ValidatingAdmissionPolicyBinding", "millrace-references"]["spec"]
    assert (policy["failurePolicy"], binding["validationActions"]) == ("Fail", ["Deny"])
    assert "matchResources" not in binding


def test_viewers_read_and_editors_write_but_no_status(render):
    manifests = render()
    view, edit = (manifests["ClusterRole", f"millrace-{name}"] for name in ("view", "edit"))
    aggregated = {
        key.rpartition("/")[2]: name
        for name, role in (("view", view), ("edit", edit))
        for key in role["metadata"]["labels"]
        if key.startswith("rbac.authorization.k8s.io/")
    }
    assert aggregated == {"aggregate-to-view": "view", "aggregate-to-edit": "edit", "aggregate-to-admin": "edit"}
    assert rules(view) == {("millrace.dev", "*"): "get list watch"}
    assert rules(edit) == {
        **{("millrace.dev", f"{kind}s"): "create update patch delete deletecollection" for kind in KINDS},
        ("", "serviceaccounts"): "use",
        ("", "persistentvolumeclaims"): "use",
    }


def test_the_operators_pod_is_reached_at_its_port_and_reaches_the_api_server_and_dns(render):
    assert not [kind for kind, _ in render() if kind == "NetworkPolicy"]
    manifests = render({"networkPolicy": {"enabled": True, "apiServerPorts": [8443]}})
    spec = manifests["NetworkPolicy", "millrace-operator"]["spec"]
    labels = manifests["Deployment", "millrace-operator"]["spec"]["template"]["metadata"]["labels"]
    assert spec["podSelector"]["matchLabels"].items() <= labels.items()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    assert [(port["port"], port["protocol"]) for rule in spec["egress"] for port in rule["ports"]] == [
        (8443, "TCP"),
        (53, "UDP"),
        (53, "TCP"),
    ]


def test_prometheus_finds_the_operators_pod(render):
    assert not [kind for kind, _ in render() if kind in ("Service", "ServiceMonitor")]
    values = {"serviceMonitor": {"enabled": True, "interval": "15s", "labels": {"release": "prometheus"}}}
    manifests = render(values)
    service = manifests["Service", "millrace-operator"]
    monitor = manifests["ServiceMonitor", "millrace-operator"]
    labels = manifests["Deployment", "millrace-operator"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (port,) = service["spec"]["ports"]
    assert monitor["spec"]["endpoints"] == [{"port": port["name"], "path": "/metrics", "interval": "15s"}]
    (container,) = pod(manifests)["containers"]
    assert port["targetPort"] in [each["name"] for each in container["ports"]]


def test_the_settings_are_the_operators_own(render):
    found = settings(render())
    assert set(found) == {field.alias or name for name, field in Settings.model_fields.items()}
    read = Settings.model_validate(found)
    assert read.stage_image == "localhost/millrace/stage:0.1.0"
    assert read.python_versions == {
        "3.13": "localhost/millrace/runtime-3.13:0.1.0",
        "3.11": "localhost/millrace/runtime-3.11:0.1.0",
    }
    assert (read.keep_pods_seconds, read.run_as_user, read.index_url, read.ca_bundle_file) == (3600, 65532, None, None)
    assert read.collect_resources == {"requests": {"cpu": "50m", "memory": "48Mi"}, "limits": {"memory": "96Mi"}}


@pytest.mark.parametrize(("value", "seconds"), [("0s", 0), ("90s", 90), ("15m", 900), ("1h", 3600), ("30d", 2592000)])
def test_durations_are_seconds(render, value, seconds):
    assert settings(render({"runs": {"keepPods": value}}))["keepPodsSeconds"] == seconds


def test_values_of_runs_reach_the_settings(render):
    manifests = render(
        {
            "runs": {
                "imagePullSecrets": ["pull"],
                "runAsUser": None,
                "indexUrl": "https://pypi.example/simple",
                "caBundle": AUTHORITY,
                "httpsInputs": {"allow": ["10.0.0.0/8", ".intra.example"], "maxSize": "1Gi"},
                "stage": {"resources": {"limits": {"memory": "1Gi"}}},
                "chores": {"resources": {"limits": {"memory": "2Gi"}}},
            },
            "profiles": {"gpu": {"resources": {"limits": {"nvidia.com/gpu": 1}}, "nodeSelector": {"gpu": "a100"}}},
        }
    )
    read = Settings.model_validate(settings(manifests))
    assert read.image_pull_secrets == ["pull"]
    assert read.run_as_user is None
    assert read.index_url == "https://pypi.example/simple"
    assert read.https_inputs.dump() == {"allow": ["10.0.0.0/8", ".intra.example"], "deny": [], "maxSize": "1Gi"}
    assert read.stage_resources["limits"] == {"memory": "1Gi"}
    assert read.chore_resources["limits"] == {"memory": "2Gi"}
    assert read.profiles["gpu"].resources == {"limits": {"nvidia.com/gpu": 1}}
    assert read.profiles["gpu"].node_selector == {"gpu": "a100"}
    assert manifests["ConfigMap", "millrace-operator-ca"]["data"] == {"ca.crt": AUTHORITY}
    (mount,) = [mount for mount in pod(manifests)["containers"][0]["volumeMounts"] if mount["name"] == "config"]
    (volume,) = [volume for volume in pod(manifests)["volumes"] if volume["name"] == "config"]
    (item,) = volume["projected"]["sources"][1]["configMap"]["items"]
    assert f"{mount['mountPath']}/{item['path']}" == read.ca_bundle_file


def test_the_operator_does_not_start_with_a_network_that_is_none():
    images = {"stage_image": "s", "python_versions": {}}
    for wrong in ({"allow": ["10.1.2.3/8"]}, {"deny": ["10.0.0.0/33"]}, {"deny": ["files.example"]}):
        with pytest.raises(ValueError, match=r"10\.|files"):
            Settings.model_validate({**images, "httpsInputs": wrong})


def test_images(render):
    digest = "sha256:" + "0123456789abcdef" * 4
    manifests = render(
        {
            "images": {"registry": "registry.example:5000/team/", "operator": {"tag": "t1", "digest": digest}},
            "pythonVersions": {"3.11": None, "3.12": {"image": "python.example/python:3.12"}},
        }
    )
    assert pod(manifests)["containers"][0]["image"] == f"registry.example:5000/team/operator:t1@{digest}"
    assert settings(manifests)["stageImage"] == "registry.example:5000/team/stage:0.1.0"
    assert settings(manifests)["pythonVersions"] == {
        "3.13": "registry.example:5000/team/runtime-3.13:0.1.0",
        "3.12": "python.example/python:3.12",
    }


def test_values_of_the_operators_pod(render):
    manifests = render(
        {
            "logLevel": "debug",
            "imagePullSecrets": [{"name": "pull"}],
            "images": {"pullPolicy": "Always"},
            "resources": {"limits": {"memory": "1Gi"}},
            "serviceAccount": {"annotations": {"a": "b"}},
            "podAnnotations": {"c": "d"},
            "priorityClassName": "system-cluster-critical",
            "nodeSelector": {"e": "f"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {"g": "h"}},
        }
    )
    found, container = pod(manifests), pod(manifests)["containers"][0]
    annotations = manifests["Deployment", "millrace-operator"]["spec"]["template"]["metadata"]["annotations"]
    assert {"name": "MILLRACE_LOG_LEVEL", "value": "debug"} in container["env"]
    assert container["imagePullPolicy"] == "Always"
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}
    assert manifests["ServiceAccount", "millrace-operator"]["metadata"]["annotations"] == {"a": "b"}
    assert annotations["c"] == "d"
    assert found["imagePullSecrets"] == [{"name": "pull"}]
    assert found["priorityClassName"] == "system-cluster-critical"
    assert (found["nodeSelector"], found["tolerations"]) == ({"e": "f"}, [{"operator": "Exists"}])
    assert found["affinity"] == {"nodeAffinity": {"g": "h"}}


def test_the_pod_is_restricted(render):
    found = pod(render())
    assert found["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert found["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_a_change_of_the_settings_makes_a_new_pod(render):
    def checksum(values):
        template = render(values)["Deployment", "millrace-operator"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum({}) == checksum({})
    assert checksum({}) != checksum({"runs": {"keepPods": "2h"}})


def test_everything_carries_the_labels_and_the_name_of_the_release(render):
    manifests = render({"networkPolicy": {"enabled": True}, "serviceMonitor": {"enabled": True}}, release="other")
    for (kind, name), manifest in manifests.items():
        if kind == "CustomResourceDefinition":
            continue
        assert name.startswith("other-millrace-")
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/name"] == "millrace"
        assert labels["app.kubernetes.io/component"] == "operator"
        assert labels["app.kubernetes.io/instance"] == "other"


def test_the_definitions_are_the_generated_ones_and_are_kept(render):
    manifests = render()
    files = sorted((REPO / "crds").glob("*.yaml"))
    assert files
    for path in files:
        generated = yaml.safe_load(path.read_text())
        rendered = manifests["CustomResourceDefinition", generated["metadata"]["name"]]
        assert rendered["metadata"]["annotations"].pop("helm.sh/resource-policy") == "keep"
        generated["metadata"].setdefault("annotations", {})
        assert rendered == generated


def test_without_the_definitions(render):
    assert not [kind for kind, _ in render({"crds": {"install": False}}) if kind == "CustomResourceDefinition"]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"replicas": -1}, "/replicas"),
        ({"images": {"operator": {"tga": "x"}}}, "/images/operator"),
        ({"images": {"operator": {"tag": 123}}}, "/images/operator/tag"),
        ({"pythonVersions": {"3.12": {}}}, "/pythonVersions"),
        ({"pythonVersions": {"python3": {"image": "x"}}}, "/pythonVersions"),
        ({"runs": {"keepPods": "1w"}}, "/runs/keepPods"),
        ({"runs": {"keepPods": "010m"}}, "/runs/keepPods"),
        ({"runs": {"runAsUser": 0}}, "/runs/runAsUser"),
        ({"runs": {"caBundle": "/etc/ssl/certs/ca-certificates.crt"}}, "/runs/caBundle"),
        ({"runs": {"indexUrl": "pypi.example"}}, "/runs/indexUrl"),
        ({"runs": {"httpsInputs": {"allow": ["https://files.example"]}}}, "/runs/httpsInputs/allow/0"),
        ({"runs": {"httpsInputs": {"deny": ["files.example"]}}}, "/runs/httpsInputs/deny/0"),
        ({"runs": {"httpsInputs": {"maxSize": "1 GB"}}}, "/runs/httpsInputs/maxSize"),
        ({"runs": {"stage": {"resources": {"limits": {"memory": "64MB"}}}}}, "/runs/stage/resources/limits/memory"),
        ({"resources": {"limit": {}}}, "/resources"),
        ({"logLevel": "loud"}, "/logLevel"),
        ({"namespaces": ["UPPER"]}, "/namespaces/0"),
        ({"tolerations": [{"op": "Exists"}]}, "/tolerations/0"),
        ({"profiles": {"Small": {"resources": {}}}}, "/profiles"),
        ({"profiles": {"small": {"limits": {}}}}, "/profiles/small"),
        ({"profiles": {"small": {"resources": {"limits": {"memory": "1 GB"}}}}}, "/profiles/small/resources/limits/memory"),
        ({"networkPolicy": {"enabled": True, "apiServerPorts": []}}, "/networkPolicy/apiServerPorts"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
        ({"admissionPolicy": "yes"}, "/admissionPolicy"),
        ({"aggregateRoles": {}}, "/aggregateRoles"),
    ],
)
def test_the_schema_refuses_and_names_the_place(template, values, place):
    done = template(values)
    assert done.returncode != 0
    assert place in done.stderr


def test_every_value_has_an_effect_or_is_refused():
    """A value of values.yaml that no template reads would be a promise that is not kept."""
    texts = "".join(path.read_text() for path in (CHART / "templates").iterdir())

    def unread(values, path=""):
        for key, value in values.items():
            if path + key in ("images.operator", "images.stage", "pythonVersions"):
                continue  # the helper millrace.image reads what is in them
            if isinstance(value, dict) and value and key != "resources":
                yield from unread(value, f"{path}{key}.")
            elif f".{key}" not in texts:
                yield path + key

    assert not list(unread(yaml.safe_load((CHART / "values.yaml").read_text())))
