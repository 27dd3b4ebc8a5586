"""However a run ends: no false success, the right reason, and outputs as `when` says (promises 2, 3 and 5)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.cluster import Namespace, condition, function, job_run, kubectl
from support.server import runtime_image
from support.store import Bucket
from support.waiting import wait_for

PARTIAL = """
import os, pathlib, time
def main(**_):
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "partial.txt").write_text("so far")
    print("about to end", flush=True)
"""
ALWAYS = [{"name": "out", "dataStore": {"name": "store", "path": "res"}, "when": "Always"}]
ON_SUCCESS = [{"name": "out", "dataStore": {"name": "store", "path": "res"}}]
POLITE = (
    PARTIAL
    + """
    import signal, sys
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.1)
"""
)
WAITS = (
    PARTIAL
    + """
    while True:
        time.sleep(0.1)
"""
)


def logs(store: Bucket, run: str) -> bytes:
    """The archived log of main."""
    (key,) = [key for key in store.names(f"logs/{run}/") if key.endswith("/main.log")]
    return store.get(key)


def test_out_of_memory_keeps_partial_output_and_logs_and_is_called_so(namespace: Namespace, store: Bucket) -> None:
    eats = PARTIAL + "    hoard = []\n    while True:\n        hoard.append(bytearray(b'x' * 8_000_000))\n"
    namespace.apply(
        function("eats", eats),
        job_run("eats-1", "eats", outputs=ALWAYS, resources={"limits": {"memory": "96Mi"}}),
    )
    status = namespace.finished("eats-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "OOMKilled"), status
    assert status["failure"]["exitCode"] == 137
    assert store.unzip("res/out.zip") == {"partial.txt": b"so far"}
    assert b"about to end" in logs(store, "eats-1")


@pytest.mark.parametrize(
    ("when", "published"), [("OnSuccess", False), ("OnFailure", True), ("Always", True)], ids=lambda value: str(value)
)
def test_outputs_of_a_failed_run_are_published_as_when_says(
    namespace: Namespace, store: Bucket, when: str, published: bool
) -> None:
    namespace.apply(
        function("fails", PARTIAL + "    raise SystemExit(9)\n"),
        job_run("fails-1", "fails", outputs=[{**ALWAYS[0], "when": when}]),
    )
    status = namespace.finished("fails-1")
    assert (status["phase"], status["failure"]["exitCode"]) == ("Failed", 9)
    assert ("res/out.zip" in store.names()) == published
    assert not store.uploads("res/out.zip")


def test_an_evicted_pod_that_ends_politely_is_no_success_and_runs_again(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("polite", POLITE), job_run("polite-1", "polite", outputs=ON_SUCCESS))
    pod = namespace.main_running("polite-1")
    wait_for("user code runs", lambda: "about to end" in namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main"))
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod["metadata"]["name"], "namespace": namespace.name},
    }
    path = f"/api/v1/namespaces/{namespace.name}/pods/{pod['metadata']['name']}/eviction"
    kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    status = wait_for("a second attempt", lambda: (s := namespace.status("polite-1")).get("attempt") == 2 and s, seconds=90)
    assert status["phase"] not in {"Succeeded", "Failed"}
    assert "res/out.zip" not in store.names()
    namespace.patch("jr", "polite-1", {"spec": {"cancel": True}})
    assert namespace.finished("polite-1")["phase"] == "Cancelled"
    assert "res/out.zip" not in store.names()


def test_a_pod_that_gives_way_to_a_higher_priority_runs_again_for_free(namespace: Namespace, store: Bucket) -> None:
    """Each of the two asks for more than half of the node."""
    [node] = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    cpu = node["status"]["allocatable"]["cpu"]
    most = {"requests": {"cpu": f"{int((int(cpu[:-1]) if cpu.endswith('m') else int(cpu) * 1000) * 0.55)}m"}}
    low = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": namespace.name}, "value": -10}
    kubectl("apply", "-f", "-", stdin=json.dumps(low))
    try:
        code = (
            PARTIAL
            + """
    if os.environ["MILLRACE_RUN"] == "low" and os.environ["MILLRACE_ATTEMPT"] == "1":
        while True:
            time.sleep(0.1)
"""
        )
        namespace.apply(function("gives", code))
        namespace.apply(
            job_run("low", "gives", outputs=ON_SUCCESS, resources=most, priorityClassName=namespace.name, logs="None")
        )
        namespace.main_running("low")
        other = {**ON_SUCCESS[0], "dataStore": {"name": "store", "path": "high"}}
        namespace.apply(job_run("high", "gives", outputs=[other], resources=most))
        assert namespace.finished("high")["phase"] == "Succeeded"
        status = namespace.finished("low")
    finally:
        kubectl("delete", "priorityclass", namespace.name)
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2), status
    assert len(store.versions("res/out.zip")) == 1
    events = namespace.kubectl("get", "events", "-o", "jsonpath={.items[*].reason}")
    assert "Preempted" in events


def test_a_deleted_pod_is_no_success_and_the_attempt_is_not_charged(namespace: Namespace, store: Bucket) -> None:
    code = (
        PARTIAL
        + """
    if os.environ["MILLRACE_ATTEMPT"] == "1":
        while True:
            time.sleep(0.1)
"""
    )
    namespace.apply(function("again", code), job_run("again-1", "again", outputs=ON_SUCCESS))
    pod = namespace.main_running("again-1")
    namespace.delete("pod", pod["metadata"]["name"])
    status = namespace.finished("again-1")
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2), status
    assert len(store.versions("res/out.zip")) == 1


def test_cancel_ends_user_code_and_publishes_what_always_says(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("long", WAITS), job_run("long-1", "long", outputs=ALWAYS))
    pod = namespace.main_running("long-1")
    wait_for("user code runs", lambda: "about to end" in namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main"))
    namespace.patch("jr", "long-1", {"spec": {"cancel": True}})
    status = namespace.finished("long-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Cancelled", "Cancelled")
    assert store.unzip("res/out.zip") == {"partial.txt": b"so far"}
    assert namespace.pods("long-1") == [] or all(p["status"]["phase"] != "Running" for p in namespace.pods("long-1"))


def test_cancel_before_the_start_makes_no_pod(namespace: Namespace) -> None:
    namespace.apply(job_run("early", "missing"))
    assert namespace.phase("early", "Blocked")["reason"] == "FunctionNotFound"
    namespace.patch("jr", "early", {"spec": {"cancel": True}})
    assert namespace.finished("early")["phase"] == "Cancelled"
    assert namespace.list("jobs") == []


def test_the_deadline_of_user_code_does_not_end_the_upload(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("slow", WAITS),
        job_run("slow-1", "slow", outputs=ALWAYS, timeouts={"running": "10s"}),
    )
    status = namespace.finished("slow-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "DeadlineExceeded"), status
    assert store.unzip("res/out.zip") == {"partial.txt": b"so far"}


def test_scratch_is_full_before_the_kubelet_kills_and_partial_output_survives(namespace: Namespace, store: Bucket) -> None:
    fills = (
        PARTIAL
        + """
    with open("/tmp/filling", "wb") as file:
        while True:
            file.write(b"x" * 1_000_000)
            file.flush()
            time.sleep(0.02)
"""
    )
    namespace.apply(function("fills", fills), job_run("fills-1", "fills", outputs=ALWAYS, scratch={"size": "64Mi"}))
    status = namespace.finished("fills-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ScratchFull"), status
    assert store.unzip("res/out.zip") == {"partial.txt": b"so far"}


def test_retries_are_charged_for_failures_of_user_code_only(namespace: Namespace) -> None:
    code = "import os, sys\ndef main():\n    sys.exit(0 if os.environ['MILLRACE_ATTEMPT'] == '2' else 5)\n"
    namespace.apply(function("flaky", code), job_run("flaky-1", "flaky", retries=1), job_run("flaky-0", "flaky"))
    assert namespace.finished("flaky-0")["failure"]["exitCode"] == 5
    status = namespace.finished("flaky-1")
    assert (status["phase"], status["attempt"]) == ("Succeeded", 2)
    assert sorted(job["metadata"]["name"] for job in namespace.list("jobs")) == ["flaky-0", "flaky-1", "flaky-1-2"]


def test_an_image_without_python_ends_as_start_error(namespace: Namespace) -> None:
    images = json.loads(kubectl("get", "--raw", "/api/v1/nodes"))["items"][0]["status"]["images"]
    pause = next(name for image in images for name in image["names"] if "pause" in name and "sha256" not in name)
    namespace.apply(function("bare", "def main():\n    pass\n", image=pause), job_run("bare-1", "bare"))
    status = namespace.finished("bare-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "StartError"), status
    assert "python3" in status["failure"]["message"]


def waiting_reason(namespace: Namespace, run: str, reason: str) -> dict[str, Any]:
    """Status of a run that waits, with that reason."""
    return wait_for(
        f"{run} waits with {reason}", lambda: (s := namespace.status(run)).get("reason") == reason and s, seconds=30
    )


def test_an_image_that_cannot_be_pulled_has_its_reason_at_once_and_ends_at_its_deadline(namespace: Namespace) -> None:
    namespace.apply(
        function("gone", "def main():\n    pass\n", image="localhost/nothing/there:1"),
        job_run("gone-1", "gone", timeouts={"scheduling": "20s"}),
    )
    status = waiting_reason(namespace, "gone-1", "ImagePull")
    assert "localhost/nothing/there:1" in json.dumps(condition(status, "Started"))
    assert namespace.finished("gone-1")["failure"]["reason"] == "ImagePull"


def test_a_node_selector_that_nothing_matches_is_unschedulable(namespace: Namespace) -> None:
    namespace.apply(
        function("nowhere", "def main():\n    pass\n"), job_run("nowhere-1", "nowhere", nodeSelector={"no": "node"})
    )
    assert waiting_reason(namespace, "nowhere-1", "Unschedulable")


def test_a_quota_blocks_and_the_run_starts_when_there_is_room(namespace: Namespace) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": "0"}},
    }
    namespace.apply(quota)
    wait_for("the quota counts", lambda: namespace.get("quota", "none").get("status", {}).get("hard"))
    namespace.apply(function("small", "def main():\n    pass\n"), job_run("small-1", "small"))
    assert "exceeded quota" in json.dumps(waiting_reason(namespace, "small-1", "QuotaExceeded"))
    namespace.delete("quota", "none")
    assert namespace.finished("small-1")["phase"] == "Succeeded"


def test_a_run_is_never_made_of_somebody_elses_job(namespace: Namespace) -> None:
    """Though it has a run's labels, and its pod succeeds and reports in the words of ours."""
    labels = {"app.kubernetes.io/managed-by": "millrace", "millrace.dev/component": "run", "millrace.dev/jobrun": "taken"}
    report = json.dumps({"outputs": [{"name": "out", "uri": "s3://elsewhere/out.zip", "bytes": 1, "files": 1}]})
    container = {
        "name": "main",
        "image": runtime_image(),
        "command": ["python3", "-c", f"open('/dev/termination-log', 'w').write({report!r})"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    restricted = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"restartPolicy": "Never", "securityContext": restricted, "containers": [container]}
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "taken", "labels": labels},
        "spec": {"template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    namespace.apply(foreign, function("mine", "def main():\n    pass\n"))
    namespace.kubectl("wait", "job/taken", "--for=condition=Complete", "--timeout=60s", seconds=70)
    before = namespace.get("job", "taken")
    namespace.apply(job_run("taken", "mine"))
    status = namespace.finished("taken")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "NameTaken")
    assert "outputs" not in status
    after = namespace.get("job", "taken")
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])
    assert "ownerReferences" not in after["metadata"]


def test_a_long_name_is_cut_and_runs(namespace: Namespace) -> None:
    name = "very-long-" + "x" * 233 + "-name-here"
    assert len(name) == 253
    namespace.apply(function(name, "def main():\n    pass\n"), job_run(name, name))
    assert namespace.finished(name)["phase"] == "Succeeded"
    (job,) = namespace.list("jobs")
    assert len(job["metadata"]["name"]) <= 63
