"""Why attempts fail: over pods and Jobs that hack/record has recorded on a cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from millrace.observe.failure import obstacle_of, of_job, of_pod
from millrace.observe.job import read_job
from millrace.observe.pod import ContainerFacts, PodFacts, read_pod

RECORDED = Path(__file__).resolve().parents[2] / "fixtures" / "pods"


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text())
    return found


class End(NamedTuple):
    """What is expected: reason, container, exit code; whether it is charged, and whether another attempt may help."""

    reason: str
    container: str | None = None
    exit_code: int | None = None
    charged: bool = True
    again: bool = True


# file -> the failure that its pod tells of, and the one that the Job tells of once the pod is gone
ENDS: dict[str, tuple[End, End]] = {
    "user-error": (End("UserError", "main", 1), End("UserError", "main", 1)),
    "user-error-says-nothing": (End("UserError", "main", 3), End("UserError", "main", 3)),
    "oom": (End("OOMKilled", "main", 137), End("Killed", "main", 137)),
    "oom-and-collect-fails": (End("OOMKilled", "main", 137), End("Killed", "main", 137)),
    "oom-in-stage": (End("OOMKilled", "stage", 137), End("Killed", "stage", 137)),
    "handler-not-found": (
        End("HandlerNotFound", "main", 240, again=False),
        End("HandlerNotFound", "main", 240, again=False),
    ),
    "return-rejected": (
        End("ReturnRejected", "main", 239, again=False),
        End("ReturnRejected", "main", 239, again=False),
    ),
    "deadline": (End("DeadlineExceeded", "main", 243), End("DeadlineExceeded", "main", 243)),
    "scratch-watched": (End("ScratchFull", "main", 245), End("ScratchFull", "main", 245)),
    "stage-failed": (End("StageFailed", "stage", 248), End("StageFailed", "stage", 248)),
    "needs-build": (End("NeedsBuild", "stage", 247, again=False), End("NeedsBuild", "stage", 247, again=False)),
    "upload-failed": (End("UploadFailed", "collect", 242, again=False), End("UploadFailed", "collect", 242, again=False)),
    # The Job does not tell a container that never started from user code that exits with 128.
    "start-error": (End("StartError", "main", 128, again=False), End("UserError", "main", 128)),
    "evicted": (End("Evicted", "main", 244, charged=False), End("Evicted", charged=False)),
    "evicted-killed": (End("Evicted", "main", 137, charged=False), End("Evicted", charged=False)),
    "evicted-while-uploading": (End("Evicted", charged=False), End("Evicted", charged=False)),
    "deleted": (End("PodDeleted", "main", 244, charged=False), End("PodDeleted", "main", 244, charged=False)),
    "deleted-alone": (End("PodDeleted", "main", 244, charged=False), End("PodDeleted", "main", 244, charged=False)),
    "deleted-killed": (End("PodDeleted", "main", 137, charged=False), End("Killed", "main", 137)),
    "deleted-by-force": (End("PodDeleted", "main", 244, charged=False), End("PodDeleted", "main", 244, charged=False)),
    "deleted-while-staging": (End("PodDeleted", charged=False), End("PodDeleted", "stage", 143, charged=False)),
    "deleted-while-uploading": (End("PodDeleted", charged=False), End("Killed", "collect", 137)),
    "deleted-unscheduled": (End("PodDeleted", charged=False), End("PodDeleted", charged=False)),
    "scratch-limit": (End("ScratchFull"), End("Killed", "main", 137)),
    "ephemeral-storage-limit": (End("ScratchFull"), End("Killed", "main", 137)),
    "node-removed": (End("NodeLost", charged=False), End("Evicted", charged=False)),
}
# The kubelet may or may not know how the containers of a pod ended that it has ended itself, and so may the Job.
FULL = {"scratch-limit", "ephemeral-storage-limit"}
SUCCESSES = {"completed", "completed-alone", "deleted-says-0", "evicted-says-0"}
WAITING: dict[str, tuple[str, str] | None] = {
    "image-pull": ("ImagePull", "main: "),
    "image-pull-of-stage": ("ImagePull", "stage: "),
    "image-name-invalid": ("ImagePull", "main: "),
    "secret-key-missing": ("ConfigError", 'stage: secret "nobody" not found'),
    "unschedulable": ("Unschedulable", "0/1 nodes are available"),
    "volume-missing": None,  # stands in Events only
    "start-error-collect-waits": None,
    "running": None,
    "node-lost": None,
}
# Jobs that we have ended, or that are gone: reconcile tests read them.
ELSEWHERE = {"job-suspended", "job-deadline", "job-deleted", "start-error-ended-by-us", "quota-refused"}


@pytest.mark.parametrize("name", ENDS)
def test_a_pod_that_is_over_tells_why(name: str) -> None:
    pod = read_pod(recorded(name)["pod"])
    assert pod.phase == "Failed"
    found = of_pod(pod)
    assert End(found.reason, found.container, found.exit_code, found.charged, found.again) == ENDS[name][0]
    assert found.message, "a failure without a message cannot be acted on"


@pytest.mark.parametrize("name", ENDS)
def test_a_job_tells_why_once_its_pod_is_gone(name: str) -> None:
    job = read_job(recorded(name)["job"])
    assert job.over
    found = of_job(job)
    if name in FULL:
        assert found.reason in {"Killed", "PodDeleted"}
        return
    assert End(found.reason, found.container, found.exit_code, found.charged, found.again) == ENDS[name][1]
    assert found.message


@pytest.mark.parametrize("name", sorted(SUCCESSES))
def test_pods_that_exit_0_are_successes_to_kubernetes(name: str) -> None:
    """Also after SIGTERM: therefore the runtime ends with 244 then, whatever user code returns."""
    assert read_pod(recorded(name)["pod"]).phase == "Succeeded"
    assert read_job(recorded(name)["job"]).complete


@pytest.mark.parametrize("name", WAITING)
def test_a_pod_that_cannot_start_tells_what_it_waits_for(name: str) -> None:
    pod = read_pod(recorded(name)["pod"])
    assert not pod.over
    found, wanted = obstacle_of(pod), WAITING[name]
    if wanted is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == wanted[0]
        assert found[1].startswith(wanted[1])


def test_every_recorded_end_is_looked_at() -> None:
    files = {path.stem for path in RECORDED.glob("*.json")}
    assert files == set(ENDS) | SUCCESSES | set(WAITING) | ELSEWHERE


def pod(**changes: Any) -> PodFacts:
    """The recorded pod of a user error, with changes of its status."""
    found = recorded("user-error")["pod"]
    return read_pod({**found, "status": {**found["status"], **changes}})


def of_main(**terminated: Any) -> list[dict[str, Any]]:
    state = {"exitCode": 1, "finishedAt": "2026-01-31T08:00:10Z", "startedAt": "2026-01-31T08:00:00Z", **terminated}
    return [{"name": "main", "state": {"terminated": state}}]


def test_a_node_short_of_disk_is_a_disruption_and_no_fault_of_the_run() -> None:
    # Wording of the kubelet (pkg/kubelet/eviction/helpers.go): nodeLowMessageFmt and containerMessageFmt.
    message = (
        "The node was low on resource: ephemeral-storage. Threshold quantity: 1Gi, available: 0. "
        "Container main was using 2Gi, request is 0, has larger consumption of ephemeral-storage. "
    )
    found = of_pod(pod(reason="Evicted", message=message))
    assert (found.reason, found.charged) == ("Evicted", False)


@pytest.mark.parametrize("reason", ["OutOfcpu", "NodeAffinity", "NodeShutdown", "UnexpectedAdmissionError"])
def test_what_the_kubelet_refuses_is_not_charged(reason: str) -> None:
    found = of_pod(pod(reason=reason, message="Pod was rejected", containerStatuses=[]))
    assert (found.reason, found.charged, found.again) == (reason, False, True)


def test_user_code_that_ended_badly_before_the_eviction_is_charged() -> None:
    disrupted = [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
    found = of_pod(pod(conditions=disrupted))
    assert (found.reason, found.charged) == ("UserError", True)


@pytest.mark.parametrize("seen", [None, "ContainerStatusUnknown", "Unknown"])
@pytest.mark.parametrize("container", ["main", "collect"])
def test_a_node_that_went_down_is_to_blame_for_what_nobody_saw_end(container: str, seen: str | None) -> None:
    """Removed with its node, a pod has a container that runs for ever; after a restart of the node, one that ended unseen."""
    states: dict[str, object] = {"main": {"terminated": {"exitCode": 0, "reason": "Completed"}}, "collect": {"running": {}}}
    gone = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC", "message": "node not found"}]
    states[container] = {"terminated": {"exitCode": 255, "reason": seen}} if seen else {"running": {}}
    statuses = [{"name": name, "state": state} for name, state in states.items()]
    found = of_pod(pod(containerStatuses=statuses, conditions=[] if seen else gone))
    assert (found.reason, found.charged, found.again) == ("NodeLost", False, True)
    assert found.message


def test_lack_of_memory_stays_one_when_the_pod_is_deleted_meanwhile() -> None:
    found = recorded("oom")["pod"]
    deleted = {**found["metadata"], "deletionTimestamp": "2026-01-31T08:10:00Z"}
    assert of_pod(read_pod({**found, "metadata": deleted})).reason == "OOMKilled"


@pytest.mark.parametrize(
    "message",
    {
        "deeply nested": "[" * 4096,
        "no JSON": "Segmentation fault",
        "no object": '["reason"]',
        "a number that is too long": "9" * 4096,
        "wrong types": '{"reason": 7, "message": {"a": 1}, "logTail": [1]}',
        "lone surrogates": '{"message": "\\ud800"}',
        "nothing": "",
    }.values(),
    ids=lambda text: text[:12],
)
def test_whatever_user_code_writes_as_its_last_words_the_verdict_is_the_exit_code(message: str) -> None:
    found = of_pod(pod(containerStatuses=of_main(message=message)))
    assert (found.reason, found.exit_code) == ("UserError", 1)
    assert found.message
    assert len(found.message) <= 1024


def test_user_code_cannot_buy_free_attempts() -> None:
    """Only a code of process 1, the API server or the node makes a failure free; last words are user code's."""
    for reason in ("Evicted", "PodDeleted", "NodeLost", "Terminated"):
        assert of_pod(pod(containerStatuses=of_main(message=json.dumps({"reason": reason})))).charged


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"reason": "AccessDenied", "message": "host/bucket/in: refused"}, "AccessDenied: host/bucket/in: refused"),
        ({"reason": "StageFailed", "message": "staging took longer"}, "staging took longer"),
        ({"message": "said without a reason"}, "said without a reason"),
    ],
)
def test_a_failed_stage_says_the_store_s_reason_first(report: dict[str, str], message: str) -> None:
    stage = ContainerFacts("stage", exit_code=248, reason="Error", message=json.dumps(report))
    found = of_pod(PodFacts("p", "Failed", "2026-01-31T08:00:00Z", containers={"stage": stage}))
    assert (found.reason, found.message) == ("StageFailed", message)


@pytest.mark.parametrize(
    ("said", "reason", "message", "again"),
    [
        ("ChecksumMismatch", "ChecksumMismatch", "why", False),
        ("SourceRejected", "SourceRejected", "why", False),
        ("NotFound", "StageFailed", "NotFound: why", True),
    ],
)
def test_what_another_attempt_cannot_change_about_what_was_staged_is_a_reason_of_its_own(
    said: str, reason: str, message: str, again: bool
) -> None:
    stage = ContainerFacts("stage", exit_code=248, reason="Error", message=json.dumps({"reason": said, "message": "why"}))
    found = of_pod(PodFacts("p", "Failed", "2026-01-31T08:00:00Z", containers={"stage": stage}))
    assert (found.reason, found.message, found.again) == (reason, message, again)
