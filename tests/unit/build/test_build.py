"""Properties of manifests that golden files cannot show."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import DATA, SETTINGS, function, run, store
from millrace import protocol as p
from millrace.api.base import Metadata
from millrace.build.chore import probe_job
from millrace.build.job import DEADLINE_LIMIT, TooLarge, next_job, run_job
from millrace.build.parallel import next_shards, run_jobs
from millrace.build.plan import quantity
from millrace.build.pod import compact, escaped
from millrace.build.stores import AZURE_IDENTITY, AZURE_WITHOUT
from millrace.domain.labels import CHARGED
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Resolved
from millrace.domain.shards import Shards

Object = dict[str, Any]
KEYS = {"credentials": {"secretRef": {"name": "lake-keys"}}}
LAKE = store(**KEYS)
OUTPUT = {"name": "scores", "dataStore": {"name": "lake", "path": "out"}}

RUNS: dict[str, tuple[Object, Object]] = {
    "no data": ({}, {}),
    "inputs": ({"inputs": [{"name": "data", **DATA}]}, {}),
    "outputs": ({"outputs": [OUTPUT]}, {}),
    "inputs, outputs, scratch": ({"inputs": [{"name": "d", **DATA}], "outputs": [OUTPUT], "scratch": {"size": 10_000}}, {}),
    "a base image": ({}, {"baseImage": "base:1"}),
    "requirements": ({}, {"requirements": ["x==1"]}),
    "a zip": ({}, {"source": {"zip": {"uri": "lake/paths/heart.zip"}}}),
    "no logs": ({"inputs": [{"name": "data", **DATA}], "logs": "None"}, {}),
    "logs only": ({"logs": "Archive"}, {}),
}


def resolved(spec: Object, code: Object | None = None) -> Resolved:
    found = resolve(run(**spec), function(**(code or {})), {"lake": LAKE}, (), SETTINGS)
    assert isinstance(found, Resolved), found
    return found


def job(name: str, attempt: int = 1) -> Object:
    spec, code = RUNS[name]
    return run_job(resolved(spec, code), SETTINGS, attempt)


def containers(manifest: Object) -> dict[str, Object]:
    spec = manifest["spec"]["template"]["spec"]
    return {found["name"]: found for found in (*spec.get("initContainers", []), *spec["containers"])}


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("attempt", [2, 3, 11])
def test_a_further_attempts_job_is_the_one_that_would_be_made_now(name: str, attempt: int) -> None:
    previous = job(name)
    for number in range(2, attempt + 1):
        previous = next_job(previous, "score", number, number - 2)
    assert previous["metadata"]["annotations"].pop(CHARGED) == str(attempt - 2)
    assert previous == job(name, attempt)


@pytest.mark.parametrize("name", RUNS)
def test_pod_security_restricted_holds(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, field by field."""
    for manifest in (job(name), probe_job(LAKE, SETTINGS)):
        spec = manifest["spec"]["template"]["spec"]
        context = spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] != 0
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for found in containers(manifest).values():
            assert found["securityContext"]["allowPrivilegeEscalation"] is False
            assert found["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "ports" not in found
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "downwardAPI", "emptyDir"}


@pytest.mark.parametrize("name", RUNS)
def test_main_has_neither_credentials_nor_the_seal(name: str) -> None:
    main = containers(job(name))[p.MAIN]
    assert "secretKeyRef" not in json.dumps(main)
    mounts = {mount["name"]: mount for mount in main["volumeMounts"]}
    assert "seal" not in mounts
    for volume in ("in", "ctl", "source", "pod"):
        assert mounts.get(volume, {"readOnly": True})["readOnly"] is True
    for ours in (p.STAGE, p.COLLECT):
        found = containers(job(name)).get(ours, {})
        assert found.get("securityContext", {"readOnlyRootFilesystem": True})["readOnlyRootFilesystem"] is True


def secrets(container: Object) -> list[Object]:
    return [item["valueFrom"]["secretKeyRef"] for item in container["env"] if "valueFrom" in item]


def test_the_store_that_only_keeps_requirements_is_stages_alone_and_holds_up_no_pod() -> None:
    """A Secret or a ConfigMap that is not there must not keep a pod waiting that can do without."""
    safe = store("safe", **KEYS, caBundleRef={"configMap": "ca"})
    other = store("other", default=False, credentials={"secretRef": {"name": "other-keys"}})
    output = {**OUTPUT, "dataStore": {"name": "other", "path": "out"}}
    found = resolve(
        run(outputs=[output], logs="None"), function(requirements=["x"]), {"safe": safe, "other": other}, (), SETTINGS
    )
    assert isinstance(found, Resolved)
    manifest = run_job(found, SETTINGS, 1)
    stage, collect = (containers(manifest)[name] for name in (p.STAGE, p.COLLECT))
    assert {(ref["name"], ref.get("optional", False)) for ref in secrets(stage)} == {
        ("other-keys", False),
        ("lake-keys", True),
    }
    assert {ref["name"] for ref in secrets(collect)} == {"other-keys"}
    volumes = {volume["name"]: volume for volume in manifest["spec"]["template"]["spec"]["volumes"]}
    assert volumes["ca-1"]["configMap"]["optional"] is True
    assert "ca-1" not in {mount["name"] for mount in collect["volumeMounts"]}


def test_a_store_that_data_needs_is_waited_for_also_where_it_keeps_requirements() -> None:
    manifest = run_job(resolved({"inputs": [{"name": "data", **DATA}]}, {"requirements": ["x"]}), SETTINGS, 1)
    assert {ref.get("optional", False) for ref in secrets(containers(manifest)[p.STAGE])} == {False}


@pytest.mark.parametrize("name", RUNS)
def test_every_mount_has_its_volume_and_every_volume_a_mount(name: str) -> None:
    manifest = job(name)
    volumes = [volume["name"] for volume in manifest["spec"]["template"]["spec"]["volumes"]]
    assert len(volumes) == len(set(volumes))
    used = {mount["name"] for found in containers(manifest).values() for mount in found["volumeMounts"]}
    assert used <= set(volumes)
    assert set(volumes) <= used, "a volume that nobody mounts"
    for found in containers(manifest).values():
        paths = [mount["mountPath"] for mount in found["volumeMounts"]]
        assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("name", "names"),
    {
        "no data": ("no data", ["main"]),
        "no logs, but inputs": ("no logs", ["stage", "main"]),
        "requirements": ("requirements", ["stage", "main"]),
        "a base image": ("a base image", ["stage", "main"]),
        "outputs": ("outputs", ["stage", "main", "collect"]),
        "logs only": ("logs only", ["stage", "main", "collect"]),
    }.values(),
)
def test_containers(name: str, names: list[str]) -> None:
    assert list(containers(job(name))) == names


@pytest.mark.parametrize("name", RUNS)
def test_the_failure_policy_has_one_rule_for_each_class_and_never_ignores(name: str) -> None:
    manifest = job(name)
    rules = manifest["spec"]["podFailurePolicy"]["rules"]
    assert all(found["action"] == "FailJob" for found in rules)
    assert "onPodConditions" in rules[0], "a disruption is the first to match"
    named = [found["onExitCodes"]["containerName"] for found in rules[1:]]
    assert sorted(named) == sorted(containers(manifest))
    assert named[0] == p.MAIN, "what main says counts before collect"
    assert manifest["spec"]["backoffLimit"] == 0
    assert "ttlSecondsAfterFinished" not in manifest["spec"]


def expand(value: str, known: dict[str, str]) -> str:
    """The kubelet's expansion of $(NAME), as in k8s.io/kubernetes/third_party/forked/golang/expansion."""
    return re.sub(r"\$(\$|\(([^()]*)\))", lambda m: "$" if m[1] == "$" else known.get(m[2], m[0]), value)


@given(st.text("$()AB \\", max_size=20))
def test_values_of_variables_arrive_byte_for_byte(value: str) -> None:
    assert expand(escaped(value), {"A": "expanded", "AB": "expanded"}) == value


def sized(size: int) -> Resolved:
    return resolved({"parameters": {"text": "x" * size}})


def test_plan_and_payload_take_up_to_their_limit_and_not_a_byte_more() -> None:
    empty = run_job(sized(0), SETTINGS, 1)["spec"]["template"]["metadata"]["annotations"]
    room = p.PAYLOAD_LIMIT - sum(len(text.encode()) for text in empty.values())
    assert run_job(sized(room), SETTINGS, 1)
    with pytest.raises(TooLarge, match="DataStore"):
        run_job(sized(room + 1), SETTINGS, 1)


def test_the_limit_counts_bytes() -> None:
    with pytest.raises(TooLarge):
        run_job(resolved({"parameters": {"text": "ü" * 100_000}}), SETTINGS, 1)


@pytest.mark.parametrize(
    ("uploading", "data", "grace"),
    {
        "nothing to upload": ("2h", False, 20),
        "a long upload": ("2h", True, 615),
        "a short upload": ("30s", True, 45),
    }.values(),
)
def test_the_grace_period_is_for_user_code_and_for_collect(uploading: str, data: bool, grace: int) -> None:
    spec: Object = {"timeouts": {"uploading": uploading}, **({"outputs": [OUTPUT]} if data else {})}
    manifest = run_job(resolved(spec), SETTINGS, 1)
    assert manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == grace


@pytest.mark.parametrize("running", ["1s", "72h", "999999999d"])
def test_the_jobs_own_deadline_is_behind_all_others_and_within_bounds(running: str) -> None:
    manifest = run_job(resolved({"timeouts": {"running": running}}), SETTINGS, 1)
    plan = json.loads(manifest["spec"]["template"]["metadata"]["annotations"][p.PLAN_ANNOTATION])
    deadline = manifest["spec"]["activeDeadlineSeconds"]
    assert plan["limits"]["running"] < deadline <= DEADLINE_LIMIT


def test_shards_have_time_for_their_rounds_and_a_further_attempt_no_more() -> None:
    alone = run_job(resolved({}), SETTINGS, 1)["spec"]["activeDeadlineSeconds"]
    first = run_jobs(resolved({"parallel": {"shards": 8, "parallelism": 3}}), SETTINGS, 1)[-1]
    assert first["spec"]["activeDeadlineSeconds"] == 3 * alone
    again = next_shards(first, "score", 2, Shards(count=8, only=[0, 1, 2, 3]))
    assert again["spec"]["activeDeadlineSeconds"] == 3 * alone
    long = run_jobs(resolved({"parallel": {"shards": 8, "parallelism": 3}, "timeouts": {"running": "9999d"}}), SETTINGS, 1)
    assert long[-1]["spec"]["activeDeadlineSeconds"] <= DEADLINE_LIMIT


@pytest.mark.parametrize(
    ("text", "size"),
    {
        "bytes": ("1024", 1024),
        "binary": ("10Gi", 10 * 1024**3),
        "decimal": ("1.5G", 1_500_000_000),
        "kilo": ("1k", 1000),
        "milli": ("1500m", 1),
        "a number": (7, 7),
    }.values(),
)
def test_quantities(text: Any, size: int) -> None:
    assert quantity(text) == size


def test_json_texts_are_the_same_for_the_same_value() -> None:
    assert compact({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'


def test_a_run_of_a_longest_name_has_labels_that_kubernetes_takes() -> None:
    found = resolved({})
    named = found.run.model_copy(update={"metadata": Metadata(**{**dict(found.run.metadata), "name": "a." * 126 + "z"})})
    manifest = run_job(Resolved(**{**vars(found), "run": named}), SETTINGS, 110)
    for value in (*manifest["metadata"]["labels"].values(), manifest["metadata"]["name"]):
        assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", value)


def test_a_further_attempt_asks_for_the_identity_as_the_first_did() -> None:
    lake = store(s3=None, azureBlob={"account": "lakes", "container": "data"})
    found = resolve(run(inputs=[{"name": "data", **DATA}]), function(), {"lake": lake}, (), SETTINGS)
    assert isinstance(found, Resolved)
    first = run_job(found, SETTINGS, 1)
    first["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "job-1"
    metadata = next_job(first, "score", 2, 0)["spec"]["template"]["metadata"]
    assert metadata["labels"][AZURE_IDENTITY] == "true"
    assert "batch.kubernetes.io/controller-uid" not in metadata["labels"]
    assert metadata["annotations"][AZURE_WITHOUT] == "main"


def test_the_store_of_the_code_is_stages_alone() -> None:
    """The keys of the store of a zip source are in no container but stage, and main cannot write to its source."""
    code = {"source": {"zip": {"uri": "lake/paths/heart.zip"}}}
    vault = store("vault", default=False, credentials={"secretRef": {"name": "vault-keys"}})
    found = resolve(
        run(outputs=[{"name": "scores", "dataStore": {"name": "vault", "path": "out"}}]),
        function(**code),
        {"lake": LAKE, "vault": vault},
        (),
        SETTINGS,
    )
    assert isinstance(found, Resolved), found
    # The logs go to the default store, which would be the code's: not here.
    parts = containers(run_job(replace(found, logs_store=None), SETTINGS, 1))
    holders = {name for name, part in parts.items() if "lake-keys" in json.dumps(part)}
    assert holders == {"stage"}
    mounts = {name: {m["name"]: m for m in part["volumeMounts"]} for name, part in parts.items()}
    assert mounts["main"]["source"]["readOnly"]
    assert "readOnly" not in mounts["stage"]["source"]
    assert "source" not in mounts["collect"]
