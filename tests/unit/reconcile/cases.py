"""Situations of a run, in plain words, and what is done in each. Property tests go over all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fixtures.objects import (
    DATA,
    REVISION,
    SETTINGS,
    at,
    condition,
    failed_job,
    function,
    job,
    over,
    pod,
    recorded_pod,
    run,
    running,
    snapshot,
    stamp,
    started_status,
    store,
    waiting_for,
)
from millrace.build.revision import bundle_digest
from millrace.domain.attempts import MAX_DISRUPTIONS
from millrace.domain.names import revision_name
from millrace.domain.settings import Profile
from millrace.reconcile.plan import (
    Action,
    Apply,
    Create,
    CreateNextAttempt,
    Delete,
    Emit,
    EndJob,
    Learned,
    LookForEvents,
    LookForJob,
    PatchStatus,
)
from millrace.reconcile.snapshot import RunSnapshot

HOUR, DAY = 3600, 86400
GPU = SETTINGS.model_copy(update={"profiles": {"gpu": Profile(resources={"limits": {"memory": "8Gi"}})}})
NEEDY = function(requirements=["x==1"])
NEEDY_REVISION = revision_name("heart", NEEDY.spec.dump())


TOLD = "Event Retrying"


def short(action: Action) -> str | None:
    """An action in a few words; None for a status write, which has its own columns."""
    match action:
        case PatchStatus():
            return None
        case Create(manifest) | Apply(manifest):
            return f"{type(action).__name__} {manifest['kind']} {manifest['metadata']['name']}"
        case CreateNextAttempt():
            return f"Next {action.attempt} from {action.previous}, {action.charged} charged"
        case EndJob():
            return f"End {action.name} {action.reason}"
        case Delete():
            return f"Delete {action.name}"
        case Emit():
            return f"Event {action.reason}"
        case LookForJob():
            return f"Look for {action.name}"
        case LookForEvents():
            return f"Look at events of {action.name}"


@dataclass(frozen=True)
class Case:
    """A situation; the phase and reason that are written (None: nothing is), other actions, what messages say."""

    seen: RunSnapshot
    phase: str | None = None
    reason: str | None = None
    does: tuple[str, ...] = ()
    says: str = ""
    again: tuple[float, float] | None = None


def started(spec: dict[str, Any] | None = None, **seen: Any) -> RunSnapshot:
    """A run whose first Job was made and stands in the status."""
    return snapshot(run(status=started_status(), **(spec or {})), jobs=seen.pop("jobs", (job(),)), **seen)


def second(spec: dict[str, Any] | None = None, **seen: Any) -> RunSnapshot:
    """A run in its second attempt."""
    status = started_status(2, reason="Retrying")
    return snapshot(run(status=status, **(spec or {"retries": 1})), **seen)


def ended(reason: str, message: str = "why", **changes: Any) -> Any:
    """A Job that we have suspended."""
    return job(ended=(reason, message), suspended=True, **changes)


EXIT_1 = pod(over(code=1, message={"reason": "UserError", "message": "boom", "logTail": "tail"}), phase="Failed")
EVICTED = replace(recorded_pod("evicted"), created=stamp(0))
DELETED = recorded_pod("deleted")
DONE = pod(over(), phase="Succeeded")
UPLOADED = recorded_pod("completed")
TERMINATING = {"deleted": stamp(30), "grace_seconds": 15}


def refused(status: int, message: str, when: float = 0) -> Learned:
    return Learned(refusal=(status, message, at(when).timestamp()))


def events(uid: str, reason: str, message: str, when: float) -> Learned:
    return Learned(events=(uid, reason, message, at(when).timestamp()))


QUOTA = 'pods "x" is forbidden: exceeded quota: none'

STARTING: dict[str, Case] = {
    "a new run": Case(snapshot(), "Pending", "Starting", ("Create Job score",)),
    "a new run whose function has no revision yet": Case(
        snapshot(config_maps=frozenset()), "Pending", "Starting", (f"Create ConfigMap {REVISION}", "Create Job score")
    ),
    "requirements and authorities of the installation": Case(
        snapshot(code=NEEDY, ca_bundle="PEM", config_maps=frozenset()),
        "Pending",
        "Starting",
        (f"Create ConfigMap {NEEDY_REVISION}", "Apply ConfigMap millrace-authorities", "Create Job score"),
    ),
    "a profile": Case(snapshot(run(profile="gpu"), settings=GPU), "Pending", "Starting", ("Create Job score",)),
    "no such profile": Case(
        snapshot(run(profile="gpu")), "Blocked", "ProfileNotFound", says="offered: none", again=(DAY, DAY)
    ),
    "requirements and authorities that the namespace has": Case(
        snapshot(code=NEEDY, ca_bundle="PEM", bundle=bundle_digest("PEM"), config_maps=frozenset({NEEDY_REVISION})),
        "Pending",
        "Starting",
        ("Create Job score",),
    ),
    "requirements and authorities that have changed since": Case(
        snapshot(code=NEEDY, ca_bundle="PEM", bundle=bundle_digest("OLD"), config_maps=frozenset({NEEDY_REVISION})),
        "Pending",
        "Starting",
        ("Apply ConfigMap millrace-authorities", "Create Job score"),
    ),
    "no function": Case(snapshot(code=None), "Blocked", "FunctionNotFound", says="Function heart", again=(DAY, DAY)),
    "no function, after its time": Case(
        snapshot(code=None, now=DAY), "Failed", "FunctionNotFound", ("Event FunctionNotFound",), says="24h (timeouts.queued)"
    ),
    "cancelled before its start": Case(snapshot(run(cancel=True)), "Cancelled", "Cancelled", ("Event Cancelled",)),
    "cancelled while it is blocked": Case(
        snapshot(run(cancel=True), code=None), "Cancelled", "Cancelled", ("Event Cancelled",)
    ),
    "a store that is being checked": Case(
        snapshot(run(inputs=[{"name": "data", **DATA}]), stores=(store(ready=None),)), "Pending", "DataStoreNotChecked"
    ),
    "a store that is not ready": Case(
        snapshot(
            run(inputs=[{"name": "data", **DATA}]),
            stores=(store(ready="False", reason="CredentialsMissing", message='secret "lake" not found'),),
        ),
        "Blocked",
        "DataStoreNotReady",
        says='CredentialsMissing: secret "lake" not found',
    ),
    "a parameter and an input of one name": Case(
        snapshot(run(inputs=[{"name": "data", **DATA}], parameters={"data": 1}), stores=(store(),)),
        "Failed",
        "ParameterMismatch",
        ("Event ParameterMismatch",),
    ),
    "parameters that do not fit into a pod": Case(
        snapshot(run(parameters={"text": "x" * 200_000})),
        "Failed",
        "PayloadTooLarge",
        ("Event PayloadTooLarge",),
        says="DataStore",
    ),
    "variables that etcd does not take": Case(
        snapshot(run(env=[{"name": f"V{n}", "value": "x" * 32_000} for n in range(40)])),
        "Failed",
        "PayloadTooLarge",
        ("Event PayloadTooLarge",),
        says="env",
    ),
    "a quota refuses the Job": Case(
        snapshot(learned=refused(403, QUOTA), now=1), "Blocked", "QuotaExceeded", says="exceeded quota", again=(10, 10)
    ),
    "a quota has refused the Job a while ago": Case(
        snapshot(learned=refused(403, QUOTA), now=11), "Pending", "Starting", ("Create Job score",)
    ),
    "a policy refuses the Job": Case(snapshot(learned=refused(403, "denied by policy"), now=1), "Blocked", "Forbidden"),
    "the API server finds the pod invalid": Case(
        snapshot(learned=refused(422, "spec.template.spec.volumes: Duplicate")),
        "Failed",
        "InvalidPodTemplate",
        ("Event InvalidPodTemplate",),
        says="volumes",
    ),
    "the Job's name is somebody else's": Case(
        snapshot(learned=Learned(taken="Job score")), "Failed", "NameTaken", ("Event NameTaken",), says="Job score"
    ),
    "the Job of a deleted run of that name is still there": Case(
        snapshot(learned=refused(409, "Job score of an earlier JobRun of that name is still there"), now=1),
        "Blocked",
        "NameTaken",
        says="earlier",
    ),
    "a run that is being deleted": Case(snapshot(run(meta={"deletionTimestamp": stamp(0)}))),
}

WAITING: dict[str, Case] = {
    "no pod yet": Case(started(now=2), again=(3, 3.2)),
    "no pod after five seconds": Case(started(now=6), does=("Look at events of score",)),
    "pods refused by a quota": Case(
        started(now=7, learned=events("job-1", "QuotaExceeded", QUOTA, 6)), "Blocked", "QuotaExceeded", says="exceeded"
    ),
    "pods refused by a quota for a while": Case(
        started(now=60, learned=events("job-1", "QuotaExceeded", QUOTA, 6)),
        "Blocked",
        "QuotaExceeded",
        ("Look at events of score",),
    ),
    "pods refused by a quota for timeouts.queued": Case(
        started(now=24 * HOUR + 1, learned=events("job-1", "QuotaExceeded", QUOTA, 24 * HOUR)),
        does=("End score QuotaExceeded",),
    ),
    "no pod and no event": Case(
        started(now=7, learned=events("job-1", "", "", 6)), "Blocked", "PodNotCreated", says="the Job has no pod"
    ),
    "no pod, and what is known is of the attempt before": Case(
        second(now=60, jobs=(failed_job(), job(2, created=50)), learned=events("job-1", "QuotaExceeded", QUOTA, 6)),
        does=("Look at events of score-2",),
    ),
    "the pod is being created": Case(started(now=3, pods={1: pod(waiting_for(), phase="Pending")})),
    "the pod cannot be scheduled": Case(
        started(now=3, pods={1: pod(phase="Pending", scheduled=False, unschedulable="0/1 nodes are available")}),
        "Pending",
        "Unschedulable",
        says="0/1 nodes",
    ),
    "the pod cannot be scheduled for an hour": Case(
        started(now=HOUR + 1, pods={1: pod(phase="Pending", scheduled=False, unschedulable="0/1 nodes are available")}),
        does=("End score Unschedulable",),
    ),
    "an image cannot be pulled while collect runs": Case(
        started(now=9, pods={1: pod(waiting_for(reason="ImagePullBackOff", message="no such image"), running("collect"))}),
        "Pending",
        "ImagePull",
        says="main: no such image",
    ),
    "an image name that can never be pulled": Case(
        started(now=9, pods={1: pod(waiting_for(reason="InvalidImageName", message="couldn't parse"), phase="Pending")}),
        does=("End score ImagePull",),
    ),
    "a Secret's key is missing": Case(
        started(now=9, pods={1: replace(recorded_pod("secret-key-missing"), created=stamp(0))}),
        "Blocked",
        "ConfigError",
        says='secret "nobody" not found',
    ),
    "a Secret's key is missing for longer than timeouts.scheduling": Case(
        started(now=2 * HOUR, pods={1: replace(recorded_pod("secret-key-missing"), created=stamp(0))}),
        "Blocked",
        "ConfigError",
    ),
    "a Secret's key is missing for timeouts.queued": Case(
        started(now=DAY + 1, pods={1: replace(recorded_pod("secret-key-missing"), created=stamp(0))}),
        does=("End score ConfigError",),
        says="timeouts.queued (24h)",
    ),
    "a claim is not there": Case(
        started(
            now=9,
            pods={
                1: pod(
                    phase="Pending",
                    scheduled=False,
                    unschedulable='0/1 nodes are available: persistentvolumeclaim "models" not found.',
                )
            },
        ),
        "Blocked",
        "ClaimNotFound",
        says="PersistentVolumeClaim models does not exist",
    ),
    "a volume is not there": Case(
        started(now=30, pods={1: pod(waiting_for(), phase="Pending")}), does=("Look at events of score-x7k2p",)
    ),
    "a volume is not there, says an Event": Case(
        started(
            now=31,
            pods={1: pod(waiting_for(), phase="Pending")},
            learned=events("pod-uid", "VolumeNotMounted", 'configmap "ca" not found', 30),
        ),
        "Blocked",
        "VolumeNotMounted",
        says='configmap "ca" not found',
    ),
    "a volume was not there, but staging has begun": Case(
        snapshot(
            run(status=started_status(phase="Blocked", reason="VolumeNotMounted")),
            now=50,
            jobs=(job(),),
            pods={1: pod(running("stage", 40), phase="Pending")},
            learned=events("pod-uid", "VolumeNotMounted", 'configmap "ca" not found', 45),
        ),
        "Staging",
    ),
    "the quota has healed and the pod is being created": Case(
        snapshot(
            run(status=started_status(phase="Blocked", reason="QuotaExceeded")),
            now=20,
            jobs=(job(),),
            pods={1: pod(waiting_for(), phase="Pending", created=18)},
        ),
        "Pending",
        "Starting",
    ),
    "main cannot start and collect waits for it": Case(
        started(now=9, pods={1: recorded_pod("start-error-collect-waits")}), does=("End score StartError",)
    ),
    "staging has begun just now": Case(
        started(now=7, pods={1: pod(running("stage", 6), phase="Pending")}), again=(0.9, 1.1)
    ),
    "staging goes on": Case(started(now=8, pods={1: pod(running("stage", 1), phase="Pending")}), "Staging"),
    "staging takes too long": Case(
        started(now=2 * HOUR + 70, pods={1: pod(running("stage", 1), phase="Pending")}),
        does=("End score DeadlineExceeded",),
    ),
    "staging took longer than timeouts.scheduling and main is about to start": Case(
        snapshot(
            run(status=started_status(phase="Staging", reason=None)),
            now=1.5 * HOUR + 1,
            jobs=(job(),),
            pods={1: pod(over("stage", until=1.5 * HOUR), waiting_for(reason="PodInitializing"), phase="Pending")},
        )
    ),
    "user code runs, in its first seconds": Case(started(now=4, pods={1: pod(running(since=1))}), again=(0.9, 1.1)),
    "user code runs": Case(started(now=6, pods={1: pod(running(since=1))}), "Running", again=(259_000, 260_000)),
    "user code runs longer than process 1 lets it": Case(
        started({"timeouts": {"running": "1m"}}, now=60 + 80, pods={1: pod(running(since=1))}),
        does=("End score DeadlineExceeded",),
    ),
    "outputs are uploaded": Case(
        snapshot(
            run(status=started_status(phase="Running", reason=None)),
            now=20,
            jobs=(job(),),
            pods={1: pod(over(until=15), running("collect"))},
        ),
        "Uploading",
    ),
    "collect has no image when outputs should be uploaded": Case(
        snapshot(
            run(status=started_status(phase="Running", reason=None)),
            now=20,
            jobs=(job(),),
            pods={1: pod(over(until=15), waiting_for("collect", "ImagePullBackOff", "gone"))},
        ),
        "Uploading",
        "ImagePull",
    ),
    "uploading takes too long": Case(
        started(now=2 * HOUR + 80, pods={1: pod(over(until=10), running("collect"))}),
        does=("End score DeadlineExceeded",),
    ),
    "the status does not know the Job yet": Case(snapshot(jobs=(job(),), now=1), "Pending", "Starting"),
    "the status does not know the second Job yet": Case(
        snapshot(run(status=started_status(), retries=1), jobs=(failed_job(), job(2, created=40)), now=41),
        "Pending",
        "Starting",
    ),
    "a pod that is being ended by somebody": Case(
        snapshot(
            run(status=started_status(phase="Running", reason=None)),
            now=31,
            jobs=(job(),),
            pods={1: pod(running(), **TERMINATING)},
        ),
        again=(59, 61),
    ),
}

CANCELLING: dict[str, Case] = {
    "cancelled before its pod is there": Case(started({"cancel": True}, now=2), does=("End score Cancelled",)),
    "cancelled while its pod waits": Case(
        started({"cancel": True}, now=2, pods={1: pod(waiting_for(), phase="Pending")}), does=("End score Cancelled",)
    ),
    "cancelled while user code runs": Case(
        started({"cancel": True}, now=20, pods={1: pod(running())}), does=("End score Cancelled",)
    ),
    "cancelled while outputs are uploaded": Case(
        started({"cancel": True}, now=20, pods={1: pod(over(), running("collect"))}), does=("End score Cancelled",)
    ),
    "cancelled, and its pod has its grace": Case(
        started({"cancel": True}, now=31, jobs=(ended("Cancelled"),), pods={1: pod(running(), **TERMINATING)}),
        "Pending",
        "Cancelled",
        again=(59, 61),
    ),
    "cancelled, and its pod is over": Case(
        started({"cancel": True}, now=31, jobs=(ended("Cancelled", active=0),), pods={1: DELETED}),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "cancelled, and its pod is gone": Case(
        started({"cancel": True}, now=31, jobs=(ended("Cancelled", active=0),)),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "cancelled, and its node does not answer": Case(
        started({"cancel": True}, now=95, jobs=(ended("Cancelled"),), pods={1: pod(running(), **TERMINATING)}),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "cancelled when all was done": Case(
        started({"cancel": True}, now=31, pods={1: DONE}), "Succeeded", None, ("Event Succeeded",)
    ),
    "told to stop when all was done": Case(
        started({"cancel": True}, now=31, jobs=(ended("Cancelled"),), pods={1: replace(DONE, **TERMINATING)}),
        "Succeeded",
        None,
        ("Event Succeeded",),
    ),
    "cancelled when it had failed": Case(
        started({"cancel": True, "retries": 3}, now=31, jobs=(failed_job(),), pods={1: EXIT_1}),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "cancelled when it had failed and its pod is gone": Case(
        started({"cancel": True, "retries": 3}, now=31, jobs=(failed_job(),)), "Cancelled", "Cancelled", ("Event Cancelled",)
    ),
    "cancelled between two attempts": Case(
        started({"cancel": True, "retries": 3}, now=12, jobs=(failed_job(when=10),), pods={1: EXIT_1}),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
}

ENDING: dict[str, Case] = {
    "done": Case(started(now=12, pods={1: DONE}), "Succeeded", None, ("Event Succeeded",)),
    "done and uploaded": Case(started(now=120, pods={1: UPLOADED}), "Succeeded", None, ("Event Succeeded",)),
    "the Job is complete, the pod not over as far as we see": Case(
        started(now=12, jobs=(job(active=0, complete=True, finished=stamp(11)),), pods={1: pod(running())}), again=(5, 5)
    ),
    "the Job is complete, its pod not seen": Case(
        started(now=12, jobs=(job(active=0, complete=True, finished=stamp(11)),)), again=(5, 5)
    ),
    "the Job was complete long ago, its pod is gone": Case(
        started(now=HOUR, jobs=(job(active=0, complete=True, finished=stamp(11)),)), "Succeeded", None, ("Event Succeeded",)
    ),
    "user code failed": Case(started(now=12, pods={1: EXIT_1}), "Failed", "UserError", ("Event UserError",), says="boom"),
    "main was out of memory while collect failed": Case(
        started(now=120, pods={1: recorded_pod("oom-and-collect-fails")}), "Failed", "OOMKilled", ("Event OOMKilled",)
    ),
    "the upload failed, and it has retries": Case(
        started({"retries": 3}, now=120, pods={1: recorded_pod("upload-failed")}),
        "Failed",
        "UploadFailed",
        ("Event UploadFailed",),
        says="AccessDenied",
    ),
    "the handler was not found, and it has retries": Case(
        started({"retries": 3}, now=120, pods={1: recorded_pod("handler-not-found")}),
        "Failed",
        "HandlerNotFound",
        ("Event HandlerNotFound",),
    ),
    "main could not start, and was ended": Case(
        started(
            {"retries": 3},
            now=120,
            jobs=(ended("StartError", "no python3", active=0),),
            pods={1: recorded_pod("start-error-ended-by-us")},
        ),
        "Failed",
        "StartError",
        ("Event StartError",),
        says="no python3",
    ),
    "ended for its deadline, and its pod is gone": Case(
        started({"retries": 3}, now=90, jobs=(ended("DeadlineExceeded", "Staging took longer", active=0),)),
        "Failed",
        "DeadlineExceeded",
        ("Event DeadlineExceeded",),
        says="Staging took longer",
    ),
    "ended, and its pod is not over yet": Case(
        started(now=40, jobs=(ended("DeadlineExceeded", "Staging took longer"),), pods={1: pod(running(), **TERMINATING)}),
        "Pending",
        "DeadlineExceeded",
        says="being ended: Staging took longer",
    ),
    "the Job's own deadline ended it": Case(
        started(
            {"retries": 3},
            now=120,
            jobs=(failed_job(reason="DeadlineExceeded", message="too long"),),
            pods={1: recorded_pod("job-deadline")},
        ),
        "Failed",
        "DeadlineExceeded",
        ("Event DeadlineExceeded",),
    ),
    "the Job's own deadline ended it, and its pod is gone": Case(
        started({"retries": 3}, now=120, jobs=(failed_job(reason="DeadlineExceeded", message="too long"),)),
        "Failed",
        "DeadlineExceeded",
        ("Event DeadlineExceeded",),
    ),
    "the Job failed, but its pod is not over": Case(
        started(
            now=31, jobs=(job(failed=("PodFailurePolicy", "…"), terminating=1),), pods={1: pod(running(), **TERMINATING)}
        ),
        "Running",
    ),
}

RETRYING: dict[str, Case] = {
    "user code failed, a retry is left": Case(
        started({"retries": 1}, now=12, jobs=(failed_job(when=10),), pods={1: EXIT_1}),
        "Pending",
        "UserError",
        says="attempt 1 failed: UserError: boom; the next follows at 2026-01-31T08:00:20Z",
        again=(8, 8),
    ),
    "user code failed, the pause is over": Case(
        started({"retries": 1}, now=20, jobs=(failed_job(when=10),), pods={1: EXIT_1}),
        "Pending",
        "Retrying",
        ("Next 2 from score, 1 charged", TOLD),
        says="attempt 1 failed: UserError: boom",
    ),
    "the second failure doubles the pause": Case(
        second(
            {"retries": 2},
            now=50,
            jobs=(failed_job(), failed_job(2, when=40, charged=1)),
            pods={1: EXIT_1, 2: pod(over(code=1, until=40), phase="Failed")},
        ),
        "Pending",
        "UserError",
        says="attempt 2 failed",
        again=(10, 10),
    ),
    "all retries are used": Case(
        second(now=50, jobs=(failed_job(), failed_job(2, when=40, charged=1)), pods={1: EXIT_1, 2: EXIT_1}),
        "Failed",
        "UserError",
        ("Event UserError",),
    ),
    "the first pod was deleted and is gone, and its Job names an exit code": Case(
        second(now=51, jobs=(failed_job(), failed_job(2, when=40)), pods={2: EXIT_1}),
        "Pending",
        "Retrying",
        ("Next 3 from score-2, 1 charged", TOLD),
    ),
    "all retries are used, and the second Job is gone": Case(
        second(now=50, jobs=(failed_job(),), learned=Learned(absent_jobs=frozenset({"score-2"}))),
        "Pending",
        "Retrying",
        ("Next 3 from score, 1 charged", TOLD),
    ),
    "all retries are used, and the first Job is gone": Case(
        second(now=50, jobs=(failed_job(2, when=40, charged=1),), pods={2: EXIT_1}),
        "Failed",
        "UserError",
        ("Event UserError",),
    ),
    "evicted": Case(
        started(now=60, jobs=(failed_job(message="Pod a has condition DisruptionTarget"),), pods={1: EVICTED}),
        "Pending",
        "Retrying",
        ("Next 2 from score, 0 charged", TOLD),
        says="attempt 1 failed: Evicted",
    ),
    "evicted, and its pod is gone": Case(
        started(now=60, jobs=(failed_job(message="Pod a has condition DisruptionTarget matching FailJob rule at index 0"),)),
        "Pending",
        "Retrying",
        ("Next 2 from score, 0 charged", TOLD),
    ),
    "deleted by somebody": Case(
        started(now=60, jobs=(failed_job(),), pods={1: DELETED}),
        "Pending",
        "Retrying",
        ("Next 2 from score, 0 charged", TOLD),
    ),
    "evicted the tenth time": Case(
        snapshot(
            run(status=started_status(MAX_DISRUPTIONS)),
            now=900,
            jobs=tuple(failed_job(n, message="has condition DisruptionTarget") for n in range(1, MAX_DISRUPTIONS + 1)),
        ),
        "Pending",
        "Retrying",
        (f"Next {MAX_DISRUPTIONS + 1} from score-{MAX_DISRUPTIONS}, 0 charged", TOLD),
    ),
    "evicted too often": Case(
        snapshot(
            run(status=started_status(MAX_DISRUPTIONS + 1)),
            now=900,
            jobs=tuple(failed_job(n, message="has condition DisruptionTarget") for n in range(1, MAX_DISRUPTIONS + 2)),
        ),
        "Failed",
        "Evicted",
        ("Event Evicted",),
    ),
    "the node does not answer": Case(
        started(now=91, pods={1: pod(running(), **TERMINATING)}),
        "Pending",
        "Retrying",
        ("Next 2 from score, 0 charged", TOLD),
        says="NodeLost",
    ),
    "the node may still answer": Case(started(now=89, pods={1: pod(running(), **TERMINATING)}), "Running", again=(1, 3)),
    "the node was lost before, and the second attempt is done": Case(
        second(
            now=200,
            jobs=(job(), job(2, created=91)),
            pods={1: pod(running(), **TERMINATING), 2: DONE},
        ),
        "Succeeded",
        None,
        ("Event Succeeded",),
    ),
    "the next attempt is refused by a quota": Case(
        started({"retries": 1}, now=21, jobs=(failed_job(when=10),), pods={1: EXIT_1}, learned=refused(403, QUOTA, 20)),
        "Blocked",
        "QuotaExceeded",
        says="attempt 1 failed: UserError: boom; the next is refused",
        again=(10, 10),
    ),
    "the next attempt's name is somebody else's": Case(
        started({"retries": 1}, now=21, jobs=(failed_job(when=10),), pods={1: EXIT_1}, learned=Learned(taken="Job score-2")),
        "Failed",
        "NameTaken",
        ("Event NameTaken",),
        says="attempt 1 failed: UserError: boom",
    ),
    "the next attempt was refused for longer than timeouts.queued": Case(
        snapshot(
            run(
                status={
                    **started_status(phase="Blocked", reason="QuotaExceeded"),
                    "conditions": [condition("Started", "False", "QuotaExceeded", seconds=20)],
                },
                retries=1,
                timeouts={"queued": "1h"},
            ),
            now=20 + HOUR,
            jobs=(failed_job(when=10),),
            pods={1: EXIT_1},
            learned=refused(403, QUOTA, 15 + HOUR),
        ),
        "Failed",
        "QuotaExceeded",
        ("Event QuotaExceeded",),
        says="1h (timeouts.queued)",
    ),
}

ABSENT = Learned(absent_jobs=frozenset({"score"}))
GONE: dict[str, Case] = {
    "the Job is not in the store": Case(started(jobs=(), now=20), does=("Look for score",)),
    "the second Job is not in the store": Case(second(jobs=(failed_job(),), now=20), does=("Look for score-2",)),
    "the Job was deleted": Case(started(jobs=(), now=20, learned=ABSENT), "Pending", "Starting", ("Create Job score-2",)),
    "the Job was deleted, its pod has its grace": Case(
        started(jobs=(), now=20, learned=ABSENT, orphans=(pod(running(), **TERMINATING),)),
        "Pending",
        "JobDeleted",
        says="not over yet",
        again=(5, 5),
    ),
    "the Job was deleted, its pod and node are lost": Case(
        started(jobs=(), now=95, learned=ABSENT, orphans=(pod(running(), **TERMINATING),)),
        "Pending",
        "Starting",
        ("Create Job score-2",),
    ),
    "the Job was deleted, its pod is over": Case(
        started(jobs=(), now=60, learned=ABSENT, orphans=(DELETED,)), "Pending", "Starting", ("Create Job score-2",)
    ),
    "the Job was deleted without its pod, which is done": Case(
        started(jobs=(), now=120, learned=ABSENT, orphans=(UPLOADED,)), "Succeeded", None, ("Event Succeeded",)
    ),
    "the Job was deleted without its pod, which failed": Case(
        started(jobs=(), now=120, learned=ABSENT, orphans=(EXIT_1,)), "Failed", "UserError", ("Event UserError",)
    ),
    "the Job was deleted, and it is cancelled": Case(
        started({"cancel": True}, jobs=(), now=20, learned=ABSENT), "Cancelled", "Cancelled", ("Event Cancelled",)
    ),
    "the Job was deleted, and the function too": Case(
        snapshot(run(status=started_status(phase="Running", reason=None)), now=2 * DAY, learned=ABSENT, code=None),
        "Blocked",
        "FunctionNotFound",
    ),
    "Jobs were deleted too often": Case(
        snapshot(
            run(status=started_status(MAX_DISRUPTIONS + 1)),
            now=20,
            learned=Learned(absent_jobs=frozenset({f"score-{MAX_DISRUPTIONS + 1}"})),
        ),
        "Failed",
        "JobDeleted",
        ("Event JobDeleted",),
    ),
    "the Job is being deleted with its pod": Case(
        started(now=31, jobs=(job(deleted=True),), pods={1: pod(running(), **TERMINATING)}), "Running"
    ),
    "the Job is being deleted and its pod is over": Case(
        started(now=60, jobs=(job(deleted=True, active=0),), pods={1: DELETED}),
        "Pending",
        "Retrying",
        ("Next 2 from score, 0 charged", TOLD),
    ),
}


def finished(phase: str = "Succeeded", **changes: Any) -> dict[str, Any]:
    """Status of a run that ended at second 30."""
    return {**started_status(phase=phase), "times": {"admitted": stamp(0), "finished": stamp(30)}, **changes}


FINISHED: dict[str, Case] = {
    "finished, its Job is kept for an hour": Case(
        snapshot(run(status=finished()), now=60, jobs=(job(),)), again=(HOUR - 30, HOUR - 30)
    ),
    "finished an hour ago": Case(snapshot(run(status=finished()), now=HOUR + 30, jobs=(job(),)), does=("Delete score",)),
    "finished an hour ago, two attempts": Case(
        snapshot(run(status=finished("Failed")), now=HOUR + 30, jobs=(job(), job(2))),
        does=("Delete score", "Delete score-2"),
    ),
    "finished, nothing is left": Case(snapshot(run(status=finished()), now=DAY)),
    "succeeded, and cancelled afterwards": Case(snapshot(run(status=finished(), cancel=True), now=60)),
    "failed, and its pod succeeds after all": Case(
        snapshot(run(status=finished("Failed")), now=60, jobs=(job(),), pods={1: DONE}), again=(HOUR - 30, HOUR - 30)
    ),
    "cancelled, and its function is gone": Case(snapshot(run(status=finished("Cancelled")), now=60, code=None)),
}

CASES = {**STARTING, **WAITING, **CANCELLING, **ENDING, **RETRYING, **GONE, **FINISHED}
assert len(CASES) == sum(map(len, (STARTING, WAITING, CANCELLING, ENDING, RETRYING, GONE, FINISHED)))
