"""A run whose pod is not over: its phase, what holds it up, and the deadline of each phase. No wait without a reason."""

from __future__ import annotations

from datetime import datetime, timedelta

from millrace import protocol as p
from millrace.api.base import delta, seconds
from millrace.api.jobrun import JobRun, Phase
from millrace.domain.clock import parse
from millrace.domain.conditions import find
from millrace.domain.reasons import Reason
from millrace.observe.failure import START_FAILURES, obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.observe.run import phase_of
from millrace.reconcile.outcome import note, progress, wait
from millrace.reconcile.plan import EndJob, Learned, LookForEvents, Plan

NO_POD_SECONDS = 5  # a Job without a pod for so long is looked up in the Events
NO_CONTAINER_SECONDS = 20  # so is a pod on its node without a container; images are pulled meanwhile
LOST_SECONDS = 60  # a pod that is Terminating so long after its grace is on a node that does not answer
SETTLED_SECONDS = 2  # phases that are over sooner are not written; the kubelet's times have whole seconds
QUIET_SECONDS = 5  # nor are those of a run that is over sooner: it costs its POST and two writes of its status
SLACK_SECONDS = 60  # what the containers themselves have before we end a pod that is over its deadline
HOPELESS = {"InvalidImageName"}  # what waits for nothing
BLOCKING = {
    Reason.CONFIG_ERROR,
    Reason.VOLUME_NOT_MOUNTED,
    Reason.CLAIM_NOT_FOUND,
}  # what heals when somebody makes an object that is missing
UNDERWAY = {Reason.STARTING, Reason.RETRYING}  # reasons of a Pending run that nothing holds up


def waiting_since(run: JobRun, now: datetime) -> datetime:
    """Since when the run waits for its start; for a further attempt since the run was last told not to be started."""
    admitted = find(run.status.conditions, "Admitted")
    if admitted and admitted.status != "True":  # Unknown: it was suspended until now
        return parse(admitted.last_transition_time) if admitted.status == "False" else now
    if run.status.job_name is None:
        return parse(run.metadata.creation_timestamp)
    started = find(run.status.conditions, "Started")
    return parse(started.last_transition_time) if started and started.status == "False" else now


def is_lost(pod: PodFacts, now: datetime) -> bool:
    """Whether a pod was told to stop and its node does not answer. The deletion's time is the end of its grace."""
    return bool(pod.deleted) and not pod.over and now > parse(str(pod.deleted)) + timedelta(seconds=LOST_SECONDS)


def follow(
    run: JobRun, job: JobFacts, pod: PodFacts | None, learned: Learned, now: datetime, *, begun: bool = False
) -> Plan:
    """The next step of a run whose newest Job has not ended.

    `begun`: user code of another pod of it has started, so the run is Running, whatever the pod does that is furthest.
    """
    if job.ended:
        return _ending(run, job, job.ended, pod, now)
    if pod is None:
        return _without_pod(run, job, learned, now)
    main = pod.container(p.MAIN)
    if main.reason in START_FAILURES:
        # collect would wait for a main that never comes.
        return _end(run, job, Reason.START_ERROR, main.message)
    phase, since = phase_of(pod)
    age = (now - parse(since or pod.created or job.created)).total_seconds()
    obstacle = obstacle_of(pod)
    if any(container.waiting in HOPELESS for container in pod.containers.values()) and obstacle:
        return _end(run, job, *obstacle)
    if phase is Phase.PENDING:
        obstacle = obstacle or _told(pod, learned)
        if obstacle and (obstacle[0] in BLOCKING or "persistentvolumeclaim" in obstacle[1]):
            phase = Phase.BLOCKED
    limit, field, value = _limit(run, phase)
    if age > limit:
        text = f"{phase.value} took longer than timeouts.{field} ({value})"
        return _end(run, job, *((obstacle[0], f"{text}: {obstacle[1]}") if obstacle else (Reason.DEADLINE_EXCEEDED, text)))
    left = max(limit - age, 1)
    if pod.deleted:
        left = max(min(left, _until_lost(pod, now)), 1)
    phase = Phase.RUNNING if begun else phase
    if phase in {Phase.PENDING, Phase.BLOCKED}:
        return _pending(run, pod, phase, obstacle, learned, now=now, age=age, left=left)
    if obstacle and (begun or phase is Phase.UPLOADING):
        return Plan(note(run, phase, *obstacle, now), again=left)
    if phase is run.status.phase and run.status.reason is None:
        return Plan(again=left)
    quiet = max(SETTLED_SECONDS - age, QUIET_SECONDS - (now - parse(job.created)).total_seconds())
    if quiet > 0:
        return Plan(again=min(quiet, left))
    return Plan(progress(run, phase=phase, reason=phase.value, message="", now=now, pod=pod), again=left)


def follow_admission(run: JobRun, job: JobFacts, pod: PodFacts | None, now: datetime) -> Plan:
    """The next step of a run whose Job Kueue holds: it waits; or its pod is ended, and the next attempt has another Job.

    An attempt has one pod, so that it publishes once: the Job must not be started again, as Kueue would do.
    """
    admitted = find(run.status.conditions, "Admitted")
    if pod or (admitted and admitted.status == "True"):
        return _end(run, job, Reason.PREEMPTED, f"Kueue has suspended the Job (LocalQueue {job.kueue_queue})")
    left = (waiting_since(run, now) + delta(run.spec.timeouts.queued) - now).total_seconds()
    if left <= 0:
        late = f"it waited for {run.spec.timeouts.queued} (timeouts.queued) for Kueue (LocalQueue {job.kueue_queue})"
        return _end(run, job, Reason.QUEUE_TIMEOUT, late)
    return Plan(again=left)


def _end(run: JobRun, job: JobFacts, reason: str, message: str) -> Plan:
    return Plan((EndJob(run.metadata.namespace, job.name, job.uid, reason, message[:512]),), again=LOST_SECONDS)


def _until_lost(pod: PodFacts, now: datetime) -> float:
    return (parse(str(pod.deleted)) - now).total_seconds() + LOST_SECONDS + 1


def _ending(run: JobRun, job: JobFacts, ended: tuple[str, str], pod: PodFacts | None, now: datetime) -> Plan:
    """We have ended the Job; its pod has its grace, ten minutes where outputs are uploaded."""
    left = max(_until_lost(pod, now), 1) if pod and pod.deleted else float(LOST_SECONDS)
    quiet = QUIET_SECONDS - (now - parse(job.created)).total_seconds()
    if quiet > 0:
        return Plan(again=min(quiet, left))
    return Plan(note(run, run.status.phase or Phase.PENDING, ended[0], f"being ended: {ended[1]}", now), again=left)


def _told(pod: PodFacts, learned: Learned) -> tuple[str, str] | None:
    """What the Events say of a pod on its node that has no container yet."""
    if learned.events is None or learned.events[0] != pod.uid or not learned.events[1]:
        return None
    begun = any(container.running or container.over for container in pod.containers.values())
    return None if begun else (learned.events[1], learned.events[2])


def _pending(
    run: JobRun,
    pod: PodFacts,
    phase: Phase,
    obstacle: tuple[str, str] | None,
    learned: Learned,
    *,
    now: datetime,
    age: float,
    left: float,
) -> Plan:
    """No container of the user's runs yet: what it waits for."""
    looks: tuple[LookForEvents, ...] = ()
    if obstacle_of(pod) is None and pod.scheduled and not pod.container(p.STAGE).over:
        seen = learned.events[3] if learned.events and learned.events[0] == pod.uid else 0
        if age > NO_CONTAINER_SECONDS and now.timestamp() - seen > NO_CONTAINER_SECONDS:
            looks = (LookForEvents(run.metadata.namespace, pod.name, pod.uid, run.metadata.uid),)
        left = min(left, (NO_CONTAINER_SECONDS - age if age < NO_CONTAINER_SECONDS else NO_CONTAINER_SECONDS) + 1)
    if obstacle:
        return Plan((*wait(run, phase, *obstacle, now), *looks), again=left)
    held = run.status.phase in {Phase.BLOCKED, Phase.QUEUED} or (
        run.status.phase is Phase.PENDING and run.status.reason not in UNDERWAY
    )
    if held:
        text = "the pod is being started"
        return Plan((*progress(run, phase=Phase.PENDING, reason=Reason.STARTING, message=text, now=now), *looks), again=left)
    return Plan(looks, again=left)


def _limit(run: JobRun, phase: Phase) -> tuple[float, str, str]:
    """The deadline of a phase in seconds, and the field under timeouts that sets it, with its value."""
    timeouts = run.spec.timeouts
    match phase:
        case Phase.STAGING:
            return seconds(timeouts.staging) + SLACK_SECONDS, "staging", timeouts.staging
        case Phase.RUNNING:
            return seconds(timeouts.running) + p.STOP_SECONDS + SLACK_SECONDS, "running", timeouts.running
        case Phase.UPLOADING:
            return seconds(timeouts.uploading) + SLACK_SECONDS, "uploading", timeouts.uploading
        case Phase.BLOCKED:
            return seconds(timeouts.queued), "queued", timeouts.queued
        case _:
            return seconds(timeouts.scheduling), "scheduling", timeouts.scheduling


def _without_pod(run: JobRun, job: JobFacts, learned: Learned, now: datetime) -> Plan:
    # One that was made suspended was made long ago, and the Job controller notes when it has seen that it is started.
    since = job.started or (None if job.may_wait else job.created)
    age = (now - parse(since)).total_seconds() if since else 0
    if age < NO_POD_SECONDS:
        return Plan(again=NO_POD_SECONDS - age + 0.1)
    look = LookForEvents(run.metadata.namespace, job.name, job.uid, run.metadata.uid)
    if learned.events is None or learned.events[0] != job.uid:
        return Plan((look,))
    _, reason, message, when = learned.events
    reason, message = (reason, message) if reason else (Reason.POD_NOT_CREATED, "the Job has no pod")
    limit, field, value = _limit(run, Phase.BLOCKED)
    if age > limit:
        return _end(run, job, reason, f"it waited for timeouts.{field} ({value}): {message}")
    looks = (look,) if now.timestamp() - when > 2 * NO_POD_SECONDS else ()
    return Plan((*wait(run, Phase.BLOCKED, reason, message, now), *looks), again=2 * NO_POD_SECONDS + 1)
