"""A run whose pod is not over: its phase, what holds it up, and the deadline of each phase. No wait without a reason."""

from __future__ import annotations

from datetime import datetime

from millrace import protocol as p
from millrace.api.base import seconds
from millrace.api.jobrun import JobRun, Phase
from millrace.domain.clock import parse
from millrace.observe.failure import START_FAILURES, obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.observe.run import phase_of
from millrace.reconcile.outcome import progress, wait
from millrace.reconcile.plan import EndJob, Learned, LookForEvents, Plan

NO_POD_SECONDS = 5  # a Job without a pod for so long is looked up in the Events
LOST_SECONDS = 60  # a pod that is Terminating so long after its grace is on a node that does not answer
SETTLED_SECONDS = 2  # phases that are over sooner are not written; the kubelet's times have whole seconds
SLACK_SECONDS = 60  # what the containers themselves have before we end a pod that is over its deadline


def follow(run: JobRun, job: JobFacts, pod: PodFacts | None, learned: Learned, now: datetime) -> Plan:
    """The next step of a run whose newest Job has not ended."""
    if pod is None:
        return _without_pod(run, job, learned, now)
    main = pod.container(p.MAIN)
    if main.reason in START_FAILURES and not job.ended:
        # collect would wait for a main that never comes.
        return Plan((EndJob(run.metadata.namespace, job.name, "StartError", main.message[:512]),), again=LOST_SECONDS)
    phase, since = phase_of(pod)
    began = parse(since) if since else parse(pod.created or job.created)
    age = (now - began).total_seconds()
    obstacle = obstacle_of(pod)
    limit = _limit(run, phase)
    if age > limit and not job.ended:
        reason, message = obstacle or ("DeadlineExceeded", f"{phase.value} took longer than {limit:.0f}s")
        return Plan((EndJob(run.metadata.namespace, job.name, reason, message[:512]),), again=LOST_SECONDS)
    left = limit - age if not job.ended else LOST_SECONDS
    if pod.deleted:
        left = min(left, (parse(pod.deleted) - now).total_seconds() + LOST_SECONDS + 1)
    if obstacle and phase is Phase.PENDING:
        return Plan(wait(run, phase, *obstacle, now), again=max(left, 1))
    if phase is run.status.phase:
        return Plan(again=max(left, 1))
    if age < SETTLED_SECONDS or phase is Phase.PENDING:
        return Plan(again=max(SETTLED_SECONDS - age, 0.1) if phase is not Phase.PENDING else max(left, 1))
    written = progress(run, phase=phase, reason=phase.value, message="", now=now, pod=pod)
    return Plan(written, again=max(left, 1))


def _limit(run: JobRun, phase: Phase) -> float:
    timeouts = run.spec.timeouts
    match phase:
        case Phase.STAGING:
            return seconds(timeouts.staging) + SLACK_SECONDS
        case Phase.RUNNING:
            return seconds(timeouts.running) + p.STOP_SECONDS + SLACK_SECONDS
        case Phase.UPLOADING:
            return seconds(timeouts.uploading) + SLACK_SECONDS
        case _:
            return seconds(timeouts.scheduling)


def _without_pod(run: JobRun, job: JobFacts, learned: Learned, now: datetime) -> Plan:
    age = (now - parse(job.created)).total_seconds()
    limit = seconds(run.spec.timeouts.scheduling)
    if age < NO_POD_SECONDS:
        return Plan(again=NO_POD_SECONDS - age + 0.1)
    meta = run.metadata
    look = LookForEvents(meta.namespace, job.name, job.uid, meta.uid)
    if learned.events is None:
        return Plan((look,))
    reason, message, when = learned.events
    if age > limit and not job.ended:
        return Plan((EndJob(meta.namespace, job.name, reason, message[:512]),), again=LOST_SECONDS)
    looks = (look,) if now.timestamp() - when > 2 * NO_POD_SECONDS else ()
    return Plan((*wait(run, Phase.BLOCKED, reason, message, now), *looks), again=2 * NO_POD_SECONDS + 1)
