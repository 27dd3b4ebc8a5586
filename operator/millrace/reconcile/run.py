"""JobRun: from what is seen to what is done next. Level-triggered: nothing depends on having seen a change happen.

start -> (Job, pod) -> over -> next attempt or end. All pure; times come in as `now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta

from millrace.api.base import delta
from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure
from millrace.domain.clock import parse
from millrace.domain.reasons import Reason
from millrace.observe.failure import of_pod
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import waiting
from millrace.reconcile.announce import announce
from millrace.reconcile.assets import produce
from millrace.reconcile.attempts import after_failure, failure_of, over_since
from millrace.reconcile.outcome import Outcome, assets_of, awaiting, finish, note, origin_of_job, progress
from millrace.reconcile.plan import (
    NOTHING,
    Action,
    Delete,
    EndJob,
    LookForDeployment,
    LookForJob,
    Plan,
)
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.start import start
from millrace.reconcile.status import patch

LOOK_SECONDS = 5  # between two looks at what tells nobody of its changes


def reconcile_run(s: RunSnapshot) -> Plan:
    """The next step of a run, and what it has to tell of itself."""
    if s.run.metadata.deletion_timestamp:
        return NOTHING  # the garbage collector ends Jobs and pods
    if s.run.status.phase and s.run.status.phase.terminal:
        return _clean_up(s)
    return announce(s, _next_step(s))


def _next_step(s: RunSnapshot) -> Plan:
    jobs = sorted(s.jobs, key=lambda job: job.attempt)
    known = s.run.status.job_name
    if known and (not jobs or jobs[-1].attempt < (s.run.status.attempt or 1)):
        if known not in s.learned.absent_jobs:
            meta = s.run.metadata
            return Plan((LookForJob(meta.namespace, known, meta.uid),))
        return _job_gone(s, jobs, known)
    if s.left_alone and (end := _left_alone(s, jobs)):
        return end
    if not jobs:
        return start(s, 1)
    plan = _follow(s, jobs)
    return replace(plan, actions=(*plan.actions, *_withdrawn(s, jobs[:-1])))


def _withdrawn(s: RunSnapshot, jobs: Iterable[JobFacts]) -> Iterator[Delete]:
    """Jobs that nobody needs and Kueue would still admit: they would have quota, or stand in the way in its queue."""
    for job in jobs:
        held = job.kueue_queue and job.suspended and not job.over
        if held and not job.active and not job.terminating and not job.deleted:
            yield Delete("Job", s.run.metadata.namespace, job.name, job.uid)


def _left_alone(s: RunSnapshot, jobs: list[JobFacts]) -> Plan | None:
    """The run's Deployment was deleted: a run that is not over ends, one whose attempt is over goes its way."""
    meta, named, uid = s.run.metadata, s.run.spec.deployment_ref, str(s.run.status.deployment_id)
    assert named
    if s.learned.absent_deployment != uid:
        return Plan((LookForDeployment(meta.namespace, named.name, uid, meta.uid),))
    why = f"Deployment {named.name} was deleted"
    if not jobs:
        return finish(s.run, Outcome(Phase.FAILED, Failure(Reason.DEPLOYMENT_NOT_FOUND, why)), s.now)
    job = jobs[-1]
    pod = s.pods.get(job.uid)
    if job.ended or job.over or (pod and pod.over):
        return None
    return Plan((EndJob(meta.namespace, job.name, job.uid, Reason.DEPLOYMENT_NOT_FOUND, why),), again=waiting.LOST_SECONDS)


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
    return after_failure(s, jobs, failure, pod)


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
    failure = None if job.held_by_kueue else failure_of(s, job, pod)
    if failure is None:
        if s.run.status.job_name != job.name:
            return Plan(_adopt(s, job), again=1)
        if job.held_by_kueue:
            return waiting.follow_admission(s.run, job, pod, s.now)
        return waiting.follow(s.run, job, pod, s.learned, s.now)
    if job.ended and job.ended[0] == Reason.PREEMPTED:
        failure = failure if failure.charged else replace(failure, reason=job.ended[0], message=job.ended[1])
    elif job.ended:
        failure = replace(failure, reason=job.ended[0], message=job.ended[1], charged=False, again=False)
    return after_failure(s, jobs, failure, pod)


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
    if s.now >= over_since(job, pod, s.now) + delta(s.run.spec.timeouts.uploading):
        failure = Failure(obstacle.reason, message, charged=False, again=False)
        return finish(s.run, Outcome(Phase.FAILED, failure, pod=pod, job=job), s.now)
    return Plan(note(s.run, Phase.UPLOADING, obstacle.reason, message, s.now), again=REFUSED_SECONDS)


def _adopt(s: RunSnapshot, job: JobFacts) -> tuple[Action, ...]:
    """The Job was made, but the write that should say so did not go through."""
    return progress(
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


def _clean_up(s: RunSnapshot) -> Plan:
    """Deletes the Jobs of a finished run an hour after its end; what they proved is in the status."""
    seen = patch("JobRun", s.run.metadata, s.run.status.dump(), {})  # an edit changes nothing, but kstatus waits for us
    told = (*((seen,) if seen else ()), *_withdrawn(s, s.jobs))
    if not s.jobs:
        return Plan(told)
    finished = s.run.status.times.finished if s.run.status.times else None
    end = parse(finished) if finished else s.now
    left = (end + timedelta(seconds=s.settings.keep_pods_seconds) - s.now).total_seconds()
    if left > 0:
        return Plan(told, again=left)
    jobs = (Delete("Job", s.run.metadata.namespace, job.name, job.uid) for job in s.jobs if not job.deleted)
    return Plan((*told, *jobs))
