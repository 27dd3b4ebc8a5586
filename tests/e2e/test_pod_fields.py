"""What a run's pod is made of: its owner, the fields that are passed through, images and revisions (rows A9, B1, B3, B12, B16)."""

from __future__ import annotations

import json

from support.cluster import Namespace, function, job_run
from support.faulty_store import runtime_image

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
