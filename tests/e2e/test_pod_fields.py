"""What a run's pod is made of: its owner, the fields that are passed through, images and revisions (rows A9, B1, B3, B12, B16)."""

from __future__ import annotations

import json

import pytest

from support.cluster import Namespace, Object, function, job_run
from support.images import image_of_root
from support.server import runtime_image
from support.store import Bucket, secret

STAT = """
import json, os, stat
def main():
    status = os.stat(os.environ["JOBS_PAYLOAD_FILE"])
    print(json.dumps({"mode": stat.S_IMODE(status.st_mode), "writable": os.access(os.environ["JOBS_PAYLOAD_FILE"], os.W_OK),
                      "mounted": open("/extra/word").read(), "cpu": os.environ["CPU"]}))
"""
FIELDS = {
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}
                ]
            }
        }
    },
}
RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}}


def test_the_job_is_the_runs_and_its_pod_has_every_field(namespace: Namespace) -> None:
    words = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "words"}, "data": {"word": "hello"}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "worker"}}
    cpu = {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}}
    namespace.apply(
        words,
        account,
        function("stat", STAT),
        job_run(
            "stat-1",
            "stat",
            **FIELDS,
            resources=RESOURCES,
            serviceAccountName="worker",
            volumes=[{"name": "extra", "configMap": {"name": "words"}}],
            volumeMounts=[{"name": "extra", "mountPath": "/extra"}],
            env=[cpu],
        ),
    )
    status = namespace.finished("stat-1")
    assert status["phase"] == "Succeeded", status
    [job] = namespace.list("jobs")
    [owner] = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("JobRun", "stat-1", True)
    assert owner["uid"] == namespace.run("stat-1")["metadata"]["uid"]
    [pod] = namespace.pods("stat-1")
    spec = pod["spec"]
    assert {name: spec[name] for name in ("nodeSelector", "affinity")} == {
        name: FIELDS[name] for name in ("nodeSelector", "affinity")
    }
    assert FIELDS["tolerations"][0] in spec["tolerations"]
    assert spec["serviceAccountName"] == "worker"
    [main] = spec["containers"]
    assert main["resources"] == RESOURCES
    said = json.loads(namespace.kubectl("logs", pod["metadata"]["name"]))
    assert said == {"mode": said["mode"], "writable": False, "mounted": "hello", "cpu": "10"}
    assert said["mode"] & 0o444 == 0o444, "every user can read it"


def test_a_prebuilt_image_runs_as_it_is(namespace: Namespace) -> None:
    code = "import sys\ndef main():\n    print(sys.version_info[:2])\n"
    namespace.apply(function("built", code, image=runtime_image()), job_run("built-1", "built"))
    status = namespace.finished("built-1")
    assert status["phase"] == "Succeeded", status
    [pod] = namespace.pods("built-1")
    assert pod["spec"]["containers"][0]["image"] == runtime_image()
    assert "(3, 13)" in namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")


def test_an_edit_makes_a_new_revision_and_each_run_has_the_code_of_its_own(namespace: Namespace) -> None:
    revisions = []
    for word in ("first", "second"):
        namespace.apply(function("edited", f"def main():\n    print('{word}')\n"), job_run(f"edited-{word}", "edited"))
        status = namespace.finished(f"edited-{word}")
        assert status["phase"] == "Succeeded", status
        revisions.append(status["functionRevision"])
        [pod] = namespace.pods(f"edited-{word}")
        assert namespace.kubectl("logs", pod["metadata"]["name"]) == f"{word}\n"
    assert len(set(revisions)) == 2
    assert namespace.get("fn", "edited")["status"]["revision"] == revisions[1]


OWNER = """
import os, pathlib, shutil
def main():
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "sub").mkdir()
    (out / "sub" / "whose.txt").write_text(f"{os.getuid()} {out.stat().st_uid}")
    shutil.copystat("/tmp", out)
    pathlib.Path("/tmp/beside.txt").write_text("not an output")
"""


@pytest.mark.parametrize(("user", "expected"), [(None, "65532"), (0, "0")], ids=["as ours", "as root"])
def test_an_image_of_root_writes_its_output_and_nothing_else_is_uploaded(
    namespace: Namespace, store: Bucket, user: int | None, expected: str
) -> None:
    context = {} if user is None else {"podSecurityContext": {"runAsUser": user, "runAsNonRoot": False}}
    if user == 0:
        namespace.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
    output = {"name": "out", "dataStore": {"name": "store", "path": "owned"}}
    namespace.apply(
        function("owner", OWNER, baseImage=image_of_root()),
        job_run("owner-1", "owner", outputs=[output], **context),
    )
    status = namespace.finished("owner-1")
    assert status["phase"] == "Succeeded", status
    members = store.unzip("owned/out.zip")
    assert set(members) == {"sub/whose.txt"}
    who, owner = members["sub/whose.txt"].decode().split()
    assert who == expected
    assert owner in (who, "0"), "a volume that the kubelet made is root's and the group's"


def test_priority_runtime_and_pull_secrets_reach_the_pod(namespace: Namespace) -> None:
    name = namespace.name
    made: list[Object] = [
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 7},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}, "handler": "runc"},
    ]
    namespace.apply(
        *made,
        secret("registry", user="x"),
        function("classed", "def main():\n    pass\n"),
        job_run(
            "classed-1",
            "classed",
            priorityClassName=name,
            runtimeClassName=name,
            imagePullSecrets=[{"name": "registry"}],
        ),
    )
    try:
        status = namespace.finished("classed-1")
        assert status["phase"] == "Succeeded", status
        [pod] = namespace.pods("classed-1")
        spec = pod["spec"]
        assert (spec["priorityClassName"], spec["priority"], spec["runtimeClassName"]) == (name, 7, name)
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
    finally:
        namespace.kubectl("delete", f"priorityclass/{name}", f"runtimeclass/{name}")
