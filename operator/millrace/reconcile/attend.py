"""A Job that was made: it goes on, it has succeeded, or it has failed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from millrace.api.base import delta
from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure
from millrace.domain.clock import parse
from millrace.domain.reasons import Reason
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import waiting
from millrace.reconcile.assets import produce
from millrace.reconcile.attempts import failure_of, over_since
from millrace.reconcile.outcome import Outcome, assets_of, awaiting, finish, note, origin_of_job, progress
from millrace.reconcile.plan import EndJob, Plan
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.snapshot import RunSnapshot

LOOK_SECONDS = 5  # between two looks at what tells nobody of its changes


def attend(
    s: RunSnapshot,
    job: JobFacts,
    pod: PodFacts | None,
    *,
    succeed: Callable[[], Plan],
    go_on: Callable[[], Plan],
    fail: Callable[[Failure], Plan],
) -> Plan:
    """What follows of a Job and its pod; a run that is to be cancelled has it ended."""
    if pod and pod.phase == "Succeeded":
        return succeed()
    if job.complete:
        # What was published stands in the pod, and our sight of pods may be behind that of Jobs.
        if job.finished and s.now < parse(job.finished) + timedelta(seconds=waiting.LOST_SECONDS):
            return Plan(again=LOOK_SECONDS)
        return succeed()
    if s.run.spec.cancel and not job.ended and not job.over and not (pod and pod.over):
        return end(s, job, Reason.CANCELLED, "spec.cancel was set")
    failure = None if job.held_by_kueue else failure_of(s, job, pod)
    if failure is None:
        return go_on()
    if job.ended and job.ended[0] == Reason.PREEMPTED:
        failure = failure if failure.charged else replace(failure, reason=job.ended[0], message=job.ended[1])
    elif job.ended:
        failure = replace(failure, reason=job.ended[0], message=job.ended[1], charged=False, again=False)
    return fail(failure)


def end(s: RunSnapshot, job: JobFacts, reason: Reason, message: str) -> Plan:
    """Ends a Job; what has become of its pod is looked at when it is over."""
    return Plan((EndJob(s.run.metadata.namespace, job.name, job.uid, reason, message),), again=waiting.LOST_SECONDS)


def succeed(s: RunSnapshot, outcome: Outcome) -> Plan:
    """Its outputs can be read; those that are assets get their versions first."""
    pod, job = outcome.pod, outcome.job
    if pod and job and assets_of(s.run):
        found = produce(s.run, pod, job, s.assets, s.asset_objects, s.now)
        if not isinstance(found, dict):
            return _refused(s, pod, job) or Plan((found,), again=0)
        outcome = replace(outcome, versions=found)
    return finish(s.run, outcome, s.now)


def _refused(s: RunSnapshot, pod: PodFacts, job: JobFacts) -> Plan | None:
    """What the API server says against the version of an asset, if anything; it is tried again until timeouts.uploading."""
    obstacle = refusal(s.learned, s.now)
    if obstacle is None:
        return None
    message = f"the outputs are uploaded; the DataAsset is refused: {obstacle.message}"
    if s.now >= over_since(job, pod, s.now) + delta(s.run.spec.timeouts.uploading):
        failure = Failure(obstacle.reason, message, charged=False, again=False)
        return finish(s.run, Outcome(Phase.FAILED, failure, pod=pod, job=job), s.now)
    return Plan(note(s.run, Phase.UPLOADING, obstacle.reason, message, s.now), again=REFUSED_SECONDS)


def adopted(s: RunSnapshot, job: JobFacts) -> Plan | None:
    """The Job was made, but the write that should say so did not go through; None where it did."""
    if s.run.status.job_name == job.name:
        return None
    started = progress(
        s.run,
        **awaiting(job.kueue_queue if job.held_by_kueue else None, Reason.STARTING, "the Job was created"),
        now=s.now,
        attempt=job.attempt,
        job_name=job.name,
        revision=job.revision,
        profile=job.profile,
        origin=origin_of_job(job),
        assets=job.assets,
    )
    return Plan(started, again=1)
