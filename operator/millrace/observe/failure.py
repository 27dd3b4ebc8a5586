"""Why an attempt failed: one table from what pod and Job say to one reason. Fixtures are recorded from a cluster."""

from __future__ import annotations

import re
from dataclasses import replace

from millrace import protocol as p
from millrace.domain.attempts import Failure
from millrace.domain.reasons import Reason
from millrace.observe.job import JobFacts
from millrace.observe.pod import ContainerFacts, PodFacts

# Waiting reasons of a container that cannot start by itself, and what they are to the user.
WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL,
    "ImagePullBackOff": Reason.IMAGE_PULL,
    "InvalidImageName": Reason.IMAGE_PULL,
    "ErrImageNeverPull": Reason.IMAGE_PULL,
    "ImageInspectError": Reason.IMAGE_PULL,
    "CreateContainerConfigError": Reason.CONFIG_ERROR,
    "CreateContainerError": Reason.START_ERROR,
    "RunContainerError": Reason.START_ERROR,
}
START_FAILURES = {"StartError", "ContainerCannotRun"}  # in the words of the container runtime
OOM = "OOMKilled"  # also theirs
# Nobody saw it end: the node went down with it and is back (containerd says Unknown, with code 255; the kubelet the other).
UNSEEN = {"Unknown", "ContainerStatusUnknown"}

# Disruption reasons of Kubernetes (pod condition DisruptionTarget).
DISRUPTIONS = {
    "EvictionByEvictionAPI": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
    "PreemptionByScheduler": Reason.PREEMPTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
}

OWN_CODES = {
    p.EXIT_RETURN_REJECTED: Reason.RETURN_REJECTED,
    p.EXIT_HANDLER_NOT_FOUND: Reason.HANDLER_NOT_FOUND,
    p.EXIT_PARAMETER_MISMATCH: Reason.PARAMETER_MISMATCH,
    p.EXIT_UPLOAD_FAILED: Reason.UPLOAD_FAILED,
    p.EXIT_DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    p.EXIT_SCRATCH_FULL: Reason.SCRATCH_FULL,
    p.EXIT_REQUIREMENTS_FAILED: Reason.REQUIREMENTS_FAILED,
    p.EXIT_NEEDS_BUILD: Reason.NEEDS_BUILD,
    p.EXIT_STAGE_FAILED: Reason.STAGE_FAILED,
    p.EXIT_RUNTIME_ERROR: Reason.RUNTIME_ERROR,
}
# What another attempt cannot change.
FINAL = {
    Reason.HANDLER_NOT_FOUND,
    Reason.PARAMETER_MISMATCH,
    Reason.RETURN_REJECTED,
    Reason.REQUIREMENTS_FAILED,
    Reason.NEEDS_BUILD,
    Reason.UPLOAD_FAILED,
    Reason.START_ERROR,
    Reason.CHECKSUM_MISMATCH,
    Reason.SOURCE_REJECTED,
}
STAGES_OWN = {Reason.CHECKSUM_MISMATCH, Reason.SOURCE_REJECTED}  # that its exit code does not tell

SIGKILL, SIGTERM = 137, 143  # exit codes of processes that died of them
# How the kubelet words that a pod has used more disk than it may, in contrast to a node that is short of it.
OVER_LIMIT = "exceed"

_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')  # the scheduler's words
_EXIT_CODE = re.compile(r"Container (\S+) for pod \S+ failed with exit code (\d+)")


def _verdict(container: ContainerFacts, message: str) -> Failure:
    """Reason, message and what they mean for another attempt, of a container that has ended badly."""
    code, own = container.exit_code or 0, OWN_CODES.get(container.exit_code or 0)
    if container.reason == OOM or (container.name == p.MAIN and container.report().get("reason") == p.REASON_OOM_KILLED):
        return Failure(Reason.OOM_KILLED, message or f"{container.name} used more memory than its limit")
    if container.reason in START_FAILURES:
        return Failure(Reason.START_ERROR, message, again=False)
    if container.reason in UNSEEN:
        return Failure(Reason.NODE_LOST, f"the node went down while {container.name} ran", charged=False)
    if code == p.EXIT_TERMINATED or (code == SIGTERM and container.name != p.MAIN):
        return Failure(Reason.POD_DELETED, f"the pod was deleted while {container.name} ran", charged=False)
    if code == SIGKILL and not message:
        killed = f"{container.name} was killed (exit code 137): for lack of memory, or with its pod"
        return Failure(Reason.KILLED, killed)
    if code == p.EXIT_STAGE_FAILED and container.name == p.STAGE and container.report().get("reason") in STAGES_OWN:
        own = Reason(container.report()["reason"])
    reason = own or {p.MAIN: Reason.USER_ERROR, p.STAGE: Reason.STAGE_FAILED}.get(container.name, Reason.UPLOAD_FAILED)
    # User code is not run again for an upload that failed; for one that was killed it is, where the run has retries.
    again = container.name != p.COLLECT and reason not in FINAL
    return Failure(reason, message or f"{container.name} ended with exit code {code}", again=again)


def _of_container(container: ContainerFacts) -> Failure:
    """The failure of a container that has ended with another code than 0."""
    report = container.report()
    message = str(report.get("message") or ("" if report else container.message))
    data = container.name == p.STAGE and container.exit_code == p.EXIT_STAGE_FAILED
    if data and report.get("reason") not in (None, Reason.STAGE_FAILED, *STAGES_OWN):
        message = f"{report['reason']}: {message}"  # the data plane's own word, as in those of collect and of stores
    message = message[:1024]
    return replace(
        _verdict(container, message),
        container=container.name,
        exit_code=container.exit_code,
        log_tail=str(report["logTail"]) if report.get("logTail") else None,
    )


def _stopped(pod: PodFacts) -> bool:
    """Whether user code or the upload was not yet over when the pod was told to stop."""
    main, collect = pod.container(p.MAIN), pod.container(p.COLLECT)
    if main.over and main.exit_code != p.EXIT_TERMINATED:
        # Process 1 says how user code ended; only when it was killed itself, it says nothing.
        killed = main.exit_code in {SIGKILL, SIGTERM} and main.reason != OOM and not main.report()
        # A node that is gone says nothing more of collect: to the API it still runs.
        return killed or (main.exit_code == 0 and collect.exit_code != 0)
    return True


def _disrupted(pod: PodFacts) -> Failure:
    """The failure of a pod that was told to stop too early; it is not charged."""
    main = pod.container(p.MAIN)
    found = _of_container(main) if main.failed else Failure("")
    if pod.disruption:
        reason, message = pod.disruption
        return replace(
            found, reason=DISRUPTIONS.get(reason, Reason.EVICTED), message=message[:1024] or reason, charged=False
        )
    moment = "before user code ran"
    if main.started:
        moment = "while the outputs were uploaded" if main.exit_code == 0 else "while user code ran"
    return replace(found, reason=Reason.POD_DELETED, message=f"the pod was deleted {moment}", charged=False)


def of_pod(pod: PodFacts) -> Failure:
    """The failure of a pod that is over and has failed: the first cause wins, main before stage before collect."""
    if pod.reason == "Evicted":
        full = OVER_LIMIT in pod.message
        return Failure(Reason.SCRATCH_FULL if full else Reason.EVICTED, pod.message[:1024], charged=full)
    main = pod.container(p.MAIN)
    if (pod.disruption or pod.deleted) and _stopped(pod):
        return _disrupted(pod)
    for name in (p.MAIN, p.STAGE, p.COLLECT):
        if pod.container(name).failed:
            return _of_container(pod.container(name))
    # The kubelet has refused it (OutOfcpu, NodeAffinity, NodeShutdown...), or it vanished with its node.
    return Failure(pod.reason or Reason.POD_FAILED, pod.message[:1024] or "the pod failed", charged=main.started is not None)


def backstop(message: str) -> Failure:
    """The failure of a Job that its own deadline has ended: all phases together took too long, whoever is to blame."""
    return Failure(Reason.DEADLINE_EXCEEDED, message, again=False)


def of_job(job: JobFacts) -> Failure:
    """The failure of a Job whose pod is gone: what its condition says."""
    reason, message = job.failed or ("", "")
    if reason == "DeadlineExceeded":
        return backstop(message)
    if "DisruptionTarget" in message:
        return Failure(Reason.EVICTED, message, charged=False)
    if found := _EXIT_CODE.search(message):
        return _of_container(ContainerFacts(name=found[1], exit_code=int(found[2]), reason="Error"))
    return Failure(Reason.POD_DELETED, f"the pod is gone: {message}" if message else "the pod is gone", charged=False)


def obstacle_of(pod: PodFacts) -> tuple[str, str] | None:
    """What keeps a pod from starting (reason and message), if anything does."""
    if pod.unschedulable is not None and not pod.scheduled:
        if claim := _CLAIM.search(pod.unschedulable):
            return Reason.CLAIM_NOT_FOUND, f"PersistentVolumeClaim {claim[1]} does not exist in this namespace"
        return Reason.UNSCHEDULABLE, pod.unschedulable
    for container in pod.containers.values():
        if container.waiting in WAITING:
            return WAITING[container.waiting], f"{container.name}: {container.message or container.waiting}"
    return None
