"""An attempt that has failed: why, and what follows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.clock import parse, render
from millrace.domain.names import job_name
from millrace.domain.reasons import Reason
from millrace.observe.failure import backstop, of_job, of_pod
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import waiting
from millrace.reconcile.outcome import Outcome, awaiting, finish, progress, suspend, tell, wait
from millrace.reconcile.plan import CreateNextAttempt, Plan
from millrace.reconcile.queueing import queue_up
from millrace.reconcile.refusal import refusal
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.start import hold, start

RETRY_SECONDS = 10  # before the second attempt; doubled for each that follows
RETRY_LIMIT = 300


def failure_of(s: RunSnapshot, job: JobFacts, pod: PodFacts | None) -> Failure | None:
    """Why the attempt has failed; None while it has not."""
    if pod is not None:
        if pod.over:
            found = of_pod(pod)
            late = job.failed is not None and job.failed[0] == "DeadlineExceeded" and not found.charged
            return backstop(job.failed[1]) if late and job.failed else found
        if waiting.is_lost(pod, s.now):
            return Failure(
                Reason.NODE_LOST, f"node {pod.node} does not answer: the pod was not ended in time", charged=False
            )
        return None
    if job.failed and not job.active and not job.terminating:
        return of_job(job)
    if job.suspended and not job.active and not job.terminating:
        return Failure(Reason.POD_DELETED, "the pod was ended", charged=False)
    if job.deleted:
        return Failure(Reason.JOB_DELETED, f"the Job {job.name} was deleted", charged=False)
    return None


def after_failure(s: RunSnapshot, jobs: list[JobFacts], failure: Failure, pod: PodFacts | None) -> Plan:
    """Another attempt, when its time has come, or the end."""
    run, meta = s.run, s.run.metadata
    newest = jobs[-1] if jobs else None
    attempt = max(run.status.attempt or 1, newest.attempt if newest else 1)
    current = newest if newest and newest.attempt == attempt else None
    if run.spec.cancel:
        cancelled = replace(failure, reason=Reason.CANCELLED, message="spec.cancel was set")
        return finish(run, Outcome(Phase.CANCELLED, cancelled, pod=pod, job=current), s.now)
    before = _charged_before(newest, attempt, s.pods)
    if s.left_alone or not may_retry(failure, attempt, before, run.spec.retries):
        return finish(run, Outcome(Phase.FAILED, failure, pod=pod, job=current), s.now)
    if newest is None:
        return start(s, attempt + 1)
    charged = before + failure.charged
    due = over_since(newest, pod, s.now) + timedelta(seconds=pause_seconds(charged if failure.charged else 0))
    what = f"attempt {attempt} failed: {failure.reason}: {failure.message}"
    if s.now < due:
        text = f"{what}; the next follows at {render(due)}"
        return Plan(wait(run, Phase.PENDING, failure.reason, text, s.now), again=(due - s.now).total_seconds())
    if run.spec.suspend:
        return Plan(suspend(run, s.now))
    if waits := queue_up(s):
        return waits
    if obstacle := refusal(s.learned, s.now):
        return hold(s, obstacle._replace(message=f"{what}; the next is refused: {obstacle.message}"))
    following = attempt + 1
    started = progress(
        run,
        **awaiting(newest.kueue_queue, Reason.RETRYING, what),
        now=s.now,
        attempt=following,
        job_name=job_name(meta.name, following),
        revision=newest.revision,
    )
    again = CreateNextAttempt(meta.namespace, newest.name, meta.name, meta.uid, following, charged)
    # The status will soon tell of this attempt only.
    return Plan((again, *started, tell(run, Reason.RETRYING, what, warning=True)), again=waiting.NO_POD_SECONDS)


def pause_seconds(charged: int) -> int:
    """What lies between a failed attempt and the next, when so many were charged; none after a disruption."""
    return min(RETRY_SECONDS * 2 ** (charged - 1), RETRY_LIMIT) if charged else 0


def _charged_before(newest: JobFacts | None, attempt: int, pods: Mapping[str, PodFacts]) -> int:
    """How many attempts before this one were charged: its Job says so; where that is gone, the one before it tells."""
    if newest is None or newest.attempt == attempt:
        return newest.charged if newest else 0
    pod = pods.get(newest.uid)
    return newest.charged + (of_pod(pod) if pod and pod.over else of_job(newest)).charged


def over_since(job: JobFacts, pod: PodFacts | None, now: datetime) -> datetime:
    """When the attempt ended."""
    ends = [facts.finished for facts in pod.containers.values() if facts.finished] if pod else []
    found = max(ends, default=job.finished)
    return parse(found) if found else now
