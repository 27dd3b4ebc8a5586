"""JobRun: from what is seen to what is done next. Level-triggered: nothing depends on having seen a change happen.

start -> (Job, pod) -> over -> next attempt or end. All pure; times come in as `now`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from millrace.api.base import delta
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun, Phase
from millrace.build.job import TooLarge, run_job
from millrace.build.revision import authorities, bundle_digest, revision
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.clock import parse, render
from millrace.domain.conditions import find
from millrace.domain.names import job_name
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolve import Resolved, resolve
from millrace.domain.settings import Settings
from millrace.observe.failure import backstop, of_job, of_pod
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import waiting
from millrace.reconcile.assets import produce
from millrace.reconcile.outcome import Outcome, assets_of, finish, note, progress, tell, wait
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
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.status import patch

RETRY_SECONDS = 10  # before the second attempt; doubled for each that follows
RETRY_LIMIT = 300
LOOK_SECONDS = 5  # between two looks at what tells nobody of its changes


@dataclass(frozen=True)
class RunSnapshot:
    """A run and all that its reconciliation looks at. Jobs and pods are its own, by owner UID."""

    run: JobRun
    function: Function | None
    stores: Mapping[str, DataStore]
    assets: tuple[DataAsset, ...]  # of the assets that the run names
    asset_objects: frozenset[str]  # names of all DataAssets of the namespace, where the run names one
    jobs: tuple[JobFacts, ...]
    pods: Mapping[str, PodFacts]  # by UID of the Job
    orphans: tuple[PodFacts, ...]  # pods of the run whose Job is gone; looked for only where the run's Job is not there
    config_maps: frozenset[str]  # those of ours in the namespace
    bundle: str | None  # digest of the authorities that the namespace has
    ca_bundle: str | None  # the installation's
    learned: Learned
    settings: Settings
    now: datetime


def reconcile_run(s: RunSnapshot) -> Plan:
    """The next step of a run."""
    if s.run.metadata.deletion_timestamp:
        return NOTHING  # the garbage collector ends Jobs and pods
    if s.run.status.phase and s.run.status.phase.terminal:
        return _clean_up(s)
    jobs = sorted(s.jobs, key=lambda job: job.attempt)
    known = s.run.status.job_name
    if known and (not jobs or jobs[-1].attempt < (s.run.status.attempt or 1)):
        if known not in s.learned.absent_jobs:
            meta = s.run.metadata
            return Plan((LookForJob(meta.namespace, known, meta.uid),))
        return _job_gone(s, jobs, known)
    if not jobs:
        return _start(s, 1)
    return _follow(s, jobs)


def _start(s: RunSnapshot, attempt: int) -> Plan:
    run = s.run
    if run.spec.cancel:
        return finish(s.run, Outcome(Phase.CANCELLED, Failure(Reason.CANCELLED, "cancelled before it was started")), s.now)
    found = resolve(run, s.function, s.stores, s.assets, s.settings)
    if isinstance(found, Resolved):
        found = refusal(s.learned, s.now) or found
    if isinstance(found, Obstacle):
        return _wait(s, found)
    try:
        job = run_job(found, s.settings, attempt)
    except TooLarge as error:
        return finish(run, Outcome(Phase.FAILED, Failure(Reason.PAYLOAD_TOO_LARGE, str(error))), s.now)
    actions: list[Action] = []
    if found.revision not in s.config_maps:
        actions.append(Create(revision(found.function), tell=run.metadata.uid))
    if found.needs_authorities and s.ca_bundle and s.bundle != bundle_digest(s.ca_bundle):
        actions.append(Apply(authorities(run.metadata.namespace, s.ca_bundle)))
    started = progress(
        run,
        phase=Phase.PENDING,
        reason=Reason.STARTING,
        message="the Job was created",
        now=s.now,
        attempt=attempt,
        job_name=job["metadata"]["name"],
        revision=found.revision,
        profile=found.profile,
        assets=found.assets,
    )
    return Plan((*actions, Create(job), *started), again=waiting.NO_POD_SECONDS)


def _waiting_since(s: RunSnapshot) -> datetime:
    """Since when the run waits for its start; for a further attempt since the run was last told not to be started."""
    run = s.run
    if run.status.job_name is None:
        return parse(run.metadata.creation_timestamp)
    started = find(run.status.conditions, "Started")
    return parse(started.last_transition_time) if started and started.status == "False" else s.now


def _wait(s: RunSnapshot, obstacle: Obstacle) -> Plan:
    run = s.run
    if not obstacle.heals:
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, obstacle.message)), s.now)
    deadline = _waiting_since(s) + delta(run.spec.timeouts.queued)
    if s.now >= deadline:
        late = f"it waited for {run.spec.timeouts.queued} (timeouts.queued): {obstacle.message}"
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, late)), s.now)
    left = (deadline - s.now).total_seconds()
    soon = REFUSED_SECONDS if s.learned.refusal else left
    phase = Phase.BLOCKED if obstacle.known else Phase.PENDING
    return Plan(wait(run, phase, obstacle.reason, obstacle.message, s.now), again=min(left, soon))


def _job_gone(s: RunSnapshot, jobs: list[JobFacts], known: str) -> Plan:
    """Somebody has deleted the run's Job. Its pod may have minutes of grace; attempts never overlap."""
    pod = max(s.orphans, key=lambda found: (found.created, found.name), default=None)
    if pod and pod.phase == "Succeeded":
        return _succeed(s, pod, None)
    message = f"the Job {known} was deleted"
    if any(not found.over and not waiting.is_lost(found, s.now) for found in s.orphans):
        phase = s.run.status.phase or Phase.PENDING
        return Plan(note(s.run, phase, Reason.JOB_DELETED, f"{message}; its pod is not over yet", s.now), again=LOOK_SECONDS)
    failure = of_pod(pod) if pod and pod.over else Failure(Reason.JOB_DELETED, message, charged=False)
    return _after_failure(s, jobs, failure, pod)


def _follow(s: RunSnapshot, jobs: list[JobFacts]) -> Plan:
    """The run has a Job: its newest attempt decides."""
    job = jobs[-1]
    pod = s.pods.get(job.uid)
    if pod and pod.phase == "Succeeded":
        return _succeed(s, pod, job)
    if job.complete:
        # What was published stands in the pod, and our sight of pods may be behind that of Jobs.
        if job.finished and s.now < parse(job.finished) + timedelta(seconds=waiting.LOST_SECONDS):
            return Plan(again=LOOK_SECONDS)
        return _succeed(s, pod, job)
    meta = s.run.metadata
    if s.run.spec.cancel and not job.ended and not job.over and not (pod and pod.over):
        end = EndJob(meta.namespace, job.name, job.uid, Reason.CANCELLED, "spec.cancel was set")
        return Plan((end,), again=waiting.LOST_SECONDS)
    failure = _failure(s, job, pod)
    if failure is None:
        if s.run.status.job_name != job.name:
            return Plan(_adopt(s, job), again=1)
        return waiting.follow(s.run, job, pod, s.learned, s.now)
    if job.ended:
        failure = replace(failure, reason=job.ended[0], message=job.ended[1], charged=False, again=False)
    return _after_failure(s, jobs, failure, pod)


def _succeed(s: RunSnapshot, pod: PodFacts | None, job: JobFacts | None) -> Plan:
    """Its outputs can be read; those that are assets get their versions first."""
    made: Mapping[str, str] = {}
    if pod and job and assets_of(s.run):
        found = produce(s.run, pod, job, s.assets, s.asset_objects, s.now)
        if not isinstance(found, dict):
            return _refused(s, pod, job) or Plan((found,), again=0)
        made = found
    return finish(s.run, Outcome(Phase.SUCCEEDED, pod=pod, job=job, versions=made), s.now)


def _refused(s: RunSnapshot, pod: PodFacts, job: JobFacts) -> Plan | None:
    """What the API server says against the version of an asset, if anything; it is tried again until timeouts.uploading."""
    obstacle = refusal(s.learned, s.now)
    if obstacle is None:
        return None
    message = f"the outputs are uploaded; the DataAsset is refused: {obstacle.message}"
    if s.now >= _over_since(job, pod, s.now) + delta(s.run.spec.timeouts.uploading):
        failure = Failure(obstacle.reason, message, charged=False, again=False)
        return finish(s.run, Outcome(Phase.FAILED, failure, pod=pod, job=job), s.now)
    return Plan(note(s.run, Phase.UPLOADING, obstacle.reason, message, s.now), again=REFUSED_SECONDS)


def _adopt(s: RunSnapshot, job: JobFacts) -> tuple[Action, ...]:
    """The Job was made, but the write that should say so did not go through."""
    return progress(
        s.run,
        phase=Phase.PENDING,
        reason=Reason.STARTING,
        message="the Job was created",
        now=s.now,
        attempt=job.attempt,
        job_name=job.name,
        revision=job.revision,
        profile=job.profile,
        assets=job.assets,
    )


def _failure(s: RunSnapshot, job: JobFacts, pod: PodFacts | None) -> Failure | None:
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


def _after_failure(s: RunSnapshot, jobs: list[JobFacts], failure: Failure, pod: PodFacts | None) -> Plan:
    run, meta = s.run, s.run.metadata
    newest = jobs[-1] if jobs else None
    attempt = max(run.status.attempt or 1, newest.attempt if newest else 1)
    current = newest if newest and newest.attempt == attempt else None
    if run.spec.cancel:
        cancelled = replace(failure, reason=Reason.CANCELLED, message="spec.cancel was set")
        return finish(run, Outcome(Phase.CANCELLED, cancelled, pod=pod, job=current), s.now)
    before = _charged_before(newest, attempt, s.pods)
    if not may_retry(failure, attempt, before, run.spec.retries):
        return finish(run, Outcome(Phase.FAILED, failure, pod=pod, job=current), s.now)
    if newest is None:
        return _start(s, attempt + 1)
    charged = before + failure.charged
    pause = min(RETRY_SECONDS * 2 ** (charged - 1), RETRY_LIMIT) if failure.charged else 0
    due = _over_since(newest, pod, s.now) + timedelta(seconds=pause)
    what = f"attempt {attempt} failed: {failure.reason}: {failure.message}"
    if s.now < due:
        text = f"{what}; the next follows at {render(due)}"
        return Plan(wait(run, Phase.PENDING, failure.reason, text, s.now), again=(due - s.now).total_seconds())
    if obstacle := refusal(s.learned, s.now):
        return _wait(s, obstacle._replace(message=f"{what}; the next is refused: {obstacle.message}"))
    following = attempt + 1
    started = progress(
        run,
        phase=Phase.PENDING,
        reason=Reason.RETRYING,
        message=what,
        now=s.now,
        attempt=following,
        job_name=job_name(meta.name, following),
        revision=newest.revision,
    )
    again = CreateNextAttempt(meta.namespace, newest.name, meta.name, meta.uid, following, charged)
    # The status will soon tell of this attempt only.
    return Plan((again, *started, tell(run, Reason.RETRYING, what, warning=True)), again=waiting.NO_POD_SECONDS)


def _charged_before(newest: JobFacts | None, attempt: int, pods: Mapping[str, PodFacts]) -> int:
    """How many attempts before this one were charged: its Job says so; where that is gone, the one before it tells."""
    if newest is None or newest.attempt == attempt:
        return newest.charged if newest else 0
    pod = pods.get(newest.uid)
    return newest.charged + (of_pod(pod) if pod and pod.over else of_job(newest)).charged


def _over_since(job: JobFacts, pod: PodFacts | None, now: datetime) -> datetime:
    ends = [facts.finished for facts in pod.containers.values() if facts.finished] if pod else []
    found = max(ends, default=job.finished)
    return parse(found) if found else now


def _clean_up(s: RunSnapshot) -> Plan:
    """Deletes the Jobs of a finished run an hour after its end; what they proved is in the status."""
    seen = patch("JobRun", s.run.metadata, s.run.status.dump(), {})  # an edit changes nothing, but kstatus waits for us
    told: tuple[Action, ...] = (seen,) if seen else ()
    if not s.jobs:
        return Plan(told)
    finished = s.run.status.times.finished if s.run.status.times else None
    end = parse(finished) if finished else s.now
    left = (end + timedelta(seconds=s.settings.keep_pods_seconds) - s.now).total_seconds()
    if left > 0:
        return Plan(told, again=left)
    jobs = (Delete("Job", s.run.metadata.namespace, job.name, job.uid) for job in s.jobs if not job.deleted)
    return Plan((*told, *jobs))
