"""JobRun: from what is seen to what is done next. Level-triggered: nothing depends on having seen a change happen.

start -> (Job, pod) -> over -> next attempt or end. All pure; times come in as `now`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from millrace.api.base import delta
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun, Phase
from millrace.build.job import TooLarge, run_job
from millrace.build.pod import AUTHORITIES
from millrace.build.revision import authorities, revision
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.clock import parse
from millrace.domain.names import job_name
from millrace.domain.resolve import Obstacle, Resolved, resolve
from millrace.domain.settings import Settings
from millrace.observe.failure import of_job, of_pod
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import waiting
from millrace.reconcile.outcome import Outcome, finish, progress, wait
from millrace.reconcile.plan import (
    NOTHING,
    Action,
    Apply,
    Create,
    CreateNextAttempt,
    Delete,
    EndJob,
    Learned,
    LookForJob,
    Plan,
)

RETRY_SECONDS = 10  # before the second attempt; doubled for each that follows
RETRY_LIMIT = 300
REFUSED_SECONDS = 10  # between two POSTs that a quota refuses


@dataclass(frozen=True)
class RunSnapshot:
    """A run and all that its reconciliation looks at. Jobs and pods are its own, by owner UID."""

    run: JobRun
    function: Function | None
    stores: Mapping[str, DataStore]
    jobs: tuple[JobFacts, ...]
    pods: Mapping[str, PodFacts]  # by UID of the Job
    config_maps: frozenset[str]  # those of ours in the namespace
    ca_bundle: str | None
    learned: Learned
    settings: Settings
    now: datetime


def reconcile_run(s: RunSnapshot) -> Plan:
    """The next step of a run."""
    if s.run.metadata.deletion_timestamp:
        return NOTHING  # the garbage collector ends Jobs and pods
    if s.run.status.phase and s.run.status.phase.terminal:
        return _clean_up(s)
    jobs = sorted((job for job in s.jobs if not job.deleted), key=lambda job: job.attempt)
    known = s.run.status.job_name
    if known and (not jobs or jobs[-1].attempt < (s.run.status.attempt or 1)):
        if known not in s.learned.absent_jobs:
            meta = s.run.metadata
            return Plan((LookForJob(meta.namespace, known, meta.uid),))
        return _after_failure(s, jobs, Failure("JobDeleted", f"the Job {known} was deleted", charged=False), None)
    if not jobs:
        return _start(s, 1)
    return _follow(s, jobs)


def _start(s: RunSnapshot, attempt: int) -> Plan:
    run = s.run
    if run.spec.cancel:
        return finish(s.run, Outcome(Phase.CANCELLED, Failure("Cancelled", "cancelled before it was started")), s.now)
    found = resolve(run, s.function, s.stores, s.settings)
    if isinstance(found, Resolved):
        found = _refusal(s) or found
    if isinstance(found, Obstacle):
        return _wait(s, found)
    try:
        job = run_job(found, s.settings, attempt)
    except TooLarge as error:
        return finish(run, Outcome(Phase.FAILED, Failure("PayloadTooLarge", str(error))), s.now)
    actions: list[Action] = []
    if found.revision not in s.config_maps:
        actions.append(Create(revision(found.function)))
    if found.function.spec.requirements and s.ca_bundle and AUTHORITIES not in s.config_maps:
        actions.append(Apply(authorities(run.metadata.namespace, s.ca_bundle)))
    started = progress(
        run,
        phase=Phase.PENDING,
        reason="Starting",
        message="the Job was created",
        now=s.now,
        attempt=attempt,
        job_name=job["metadata"]["name"],
        revision=found.revision,
    )
    return Plan((*actions, Create(job), *started), again=waiting.NO_POD_SECONDS)


def _refusal(s: RunSnapshot) -> Obstacle | None:
    """What the API server said when the Job was posted before."""
    if s.learned.taken:
        return Obstacle(
            "NameTaken",
            f"{s.learned.taken} exists and is not of this run; remove it or give the run another name",
            heals=False,
        )
    if s.learned.refusal is None:
        return None
    status, message, when = s.learned.refusal
    if status == 422 or (status == 400):
        return Obstacle("InvalidPodTemplate", message, heals=False)
    if s.now.timestamp() - when < REFUSED_SECONDS:
        return Obstacle("QuotaExceeded" if "exceeded quota" in message else "Forbidden", message)
    return None


def _wait(s: RunSnapshot, obstacle: Obstacle) -> Plan:
    run = s.run
    deadline = parse(run.metadata.creation_timestamp) + delta(run.spec.timeouts.queued)
    if not obstacle.heals:
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, obstacle.message)), s.now)
    if s.now >= deadline:
        late = f"it waited for {run.spec.timeouts.queued} (timeouts.queued): {obstacle.message}"
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, late)), s.now)
    left = (deadline - s.now).total_seconds()
    soon = REFUSED_SECONDS if s.learned.refusal else left
    phase = Phase.BLOCKED if obstacle.known else Phase.PENDING
    return Plan(wait(run, phase, obstacle.reason, obstacle.message, s.now), again=min(left, soon))


def _follow(s: RunSnapshot, jobs: list[JobFacts]) -> Plan:
    """The run has a Job: its newest attempt decides."""
    job = jobs[-1]
    pod = s.pods.get(job.uid)
    if job.complete or (pod and pod.phase == "Succeeded"):
        return finish(s.run, Outcome(Phase.SUCCEEDED, pod=pod, attempt=job.attempt), s.now)
    if s.run.spec.cancel and not job.ended and not (pod and pod.over):
        meta = s.run.metadata
        return Plan((EndJob(meta.namespace, job.name, "Cancelled", "spec.cancel was set"),), again=waiting.LOST_SECONDS)
    failure = _failure(s, job, pod)
    if failure is None:
        return waiting.follow(s.run, job, pod, s.learned, s.now)
    if job.ended:
        failure = replace(failure, reason=job.ended[0], message=job.ended[1], charged=False, again=False)
    return _after_failure(s, jobs, failure, pod)


def _failure(s: RunSnapshot, job: JobFacts, pod: PodFacts | None) -> Failure | None:
    """Why the attempt has failed; None while it has not."""
    if pod is not None:
        if pod.over:
            return of_pod(pod)
        if pod.deleted and s.now > parse(pod.deleted) + timedelta(seconds=waiting.LOST_SECONDS):
            return Failure("NodeLost", f"node {pod.node} does not answer: the pod was not ended in time", charged=False)
        return None
    if job.failed and not job.active and not job.terminating:
        return of_job(job)
    if job.suspended and not job.active and not job.terminating:
        return Failure("PodDeleted", "the pod was ended", charged=False)
    return None


def _after_failure(s: RunSnapshot, jobs: list[JobFacts], failure: Failure, pod: PodFacts | None) -> Plan:
    run = s.run
    attempt = max(run.status.attempt or 1, jobs[-1].attempt if jobs else 1)
    if failure.reason == "Cancelled" or run.spec.cancel:
        cancelled = replace(failure, reason="Cancelled", message="spec.cancel was set")
        return finish(run, Outcome(Phase.CANCELLED, cancelled, pod=pod, attempt=attempt), s.now)
    earlier = [_past_failure(job, s.pods.get(job.uid)) for job in jobs if job.attempt < attempt]
    if not may_retry([*earlier, failure], run.spec.retries):
        return finish(run, Outcome(Phase.FAILED, failure, pod=pod, attempt=attempt), s.now)
    if not jobs:
        return _start(s, attempt + 1)
    charged = sum(found.charged for found in (*earlier, failure))
    pause = min(RETRY_SECONDS * 2 ** (charged - 1), RETRY_LIMIT) if failure.charged else 0
    left = pause - (s.now - _over_since(jobs[-1], pod, s.now)).total_seconds()
    if left > 0:
        message = f"attempt {attempt} failed: {failure.reason}: {failure.message}; the next follows in {int(left) + 1}s"
        return Plan(wait(run, Phase.PENDING, failure.reason, message, s.now), again=left)
    meta = run.metadata
    following = attempt + 1
    started = progress(
        run,
        phase=Phase.PENDING,
        reason="Retrying",
        message=f"attempt {attempt} failed: {failure.reason}: {failure.message}",
        now=s.now,
        attempt=following,
        job_name=job_name(meta.name, following),
    )
    again = CreateNextAttempt(meta.namespace, jobs[-1].name, meta.name, following)
    return Plan((again, *started), again=waiting.NO_POD_SECONDS)


def _past_failure(job: JobFacts, pod: PodFacts | None) -> Failure:
    return of_pod(pod) if pod and pod.over else of_job(job)


def _over_since(job: JobFacts, pod: PodFacts | None, now: datetime) -> datetime:
    ends = [facts.finished for facts in pod.containers.values() if facts.finished] if pod else []
    found = max(ends, default=job.finished)
    return parse(found) if found else now


def _clean_up(s: RunSnapshot) -> Plan:
    """Deletes the Jobs of a finished run an hour after its end; what they proved is in the status."""
    if not s.jobs:
        return NOTHING
    finished = s.run.status.times.finished if s.run.status.times else None
    end = parse(finished) if finished else s.now
    left = (end + timedelta(seconds=s.settings.keep_pods_seconds) - s.now).total_seconds()
    if left > 0:
        return Plan(again=left)
    return Plan(tuple(Delete("Job", s.run.metadata.namespace, job.name, job.uid) for job in s.jobs if not job.deleted))
