"""JobRun: from what is seen to what is done next. Level-triggered: nothing depends on having seen a change happen.

start -> (Job, pod) -> over -> next attempt or end. All pure; times come in as `now`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure
from millrace.domain.clock import parse
from millrace.domain.reasons import Reason
from millrace.observe.failure import of_pod
from millrace.observe.job import JobFacts
from millrace.reconcile import parallel, waiting
from millrace.reconcile.announce import announce
from millrace.reconcile.attempts import after_failure
from millrace.reconcile.attend import LOOK_SECONDS, adopted, attend, end, succeed
from millrace.reconcile.outcome import Outcome, finish, note
from millrace.reconcile.plan import NOTHING, Delete, LookForDeployment, LookForJob, Plan
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.start import start
from millrace.reconcile.status import patch


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
    if s.left_alone and (ends := _left_alone(s, jobs)):
        return ends
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
    job = parallel.current(s, jobs[-1])
    pod = None if job.shards else s.pods.get(job.uid)
    if job.ended or job.over or (pod and pod.over):
        return None
    return end(s, job, Reason.DEPLOYMENT_NOT_FOUND, why)


def _job_gone(s: RunSnapshot, jobs: list[JobFacts], known: str) -> Plan:
    """Somebody has deleted the run's Job. Its pod may have minutes of grace; attempts never overlap."""
    alone = () if s.run.spec.parallel else s.orphans  # one shard's pod says nothing of the others
    pod = max(alone, key=lambda found: (found.created, found.name), default=None)
    if pod and pod.phase == "Succeeded":
        return succeed(s, Outcome(Phase.SUCCEEDED, pod=pod))
    message = f"the Job {known} was deleted"
    if any(not found.over and not waiting.is_lost(found, s.now) for found in s.orphans):
        phase = s.run.status.phase or Phase.PENDING
        return Plan(note(s.run, phase, Reason.JOB_DELETED, f"{message}; its pod is not over yet", s.now), again=LOOK_SECONDS)
    failure = of_pod(pod) if pod and pod.over else Failure(Reason.JOB_DELETED, message, charged=False)
    return after_failure(s, [] if s.run.spec.parallel else jobs, failure, pod)


def _follow(s: RunSnapshot, jobs: list[JobFacts]) -> Plan:
    """The run has a Job: its newest attempt decides."""
    job = jobs[-1]
    if job.shards:
        return parallel.follow(s, jobs, job.shards)
    pod = s.pods.get(job.uid)

    def go_on() -> Plan:
        if plan := adopted(s, job):
            return plan
        if job.held_by_kueue:
            return waiting.follow_admission(s.run, job, pod, s.now)
        return waiting.follow(s.run, job, pod, s.learned, s.now)

    def fail(failure: Failure) -> Plan:
        return after_failure(s, jobs, failure, pod)

    return attend(
        s, job, pod, succeed=lambda: succeed(s, Outcome(Phase.SUCCEEDED, pod=pod, job=job)), go_on=go_on, fail=fail
    )


def _clean_up(s: RunSnapshot) -> Plan:
    """Deletes the Jobs of a finished run an hour after its end; what they proved is in the status."""
    seen = patch("JobRun", s.run.metadata, s.run.status.dump(), {})  # an edit changes nothing, but kstatus waits for us
    jobs = (*s.jobs, *s.steps)
    told = (*((seen,) if seen else ()), *_withdrawn(s, jobs))
    if not jobs:
        return Plan(told)
    finished = s.run.status.times.finished if s.run.status.times else None
    end = parse(finished) if finished else s.now
    left = (end + timedelta(seconds=s.settings.keep_pods_seconds) - s.now).total_seconds()
    if left > 0:
        return Plan(told, again=left)
    gone = (Delete("Job", s.run.metadata.namespace, job.name, job.uid) for job in jobs if not job.deleted)
    return Plan((*told, *gone))
