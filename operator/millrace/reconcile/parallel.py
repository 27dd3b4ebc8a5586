"""A run of several shards: plan -> shards, attempt by attempt -> merge. Each step is a Job that waits for the one before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from millrace import protocol as p
from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure, may_retry
from millrace.domain.clock import parse, render
from millrace.domain.names import job_name
from millrace.domain.reasons import Reason
from millrace.domain.shards import Cause, Settled, Shards, Step, numbers, ranges, settle
from millrace.observe.failure import of_pod
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.observe.run import logs_of, phase_of
from millrace.reconcile import waiting
from millrace.reconcile.attempts import failure_of, pause_seconds
from millrace.reconcile.attend import adopted, attend, end, succeed
from millrace.reconcile.outcome import Outcome, finish, progress, suspend, tell, wait
from millrace.reconcile.plan import CreateNextAttempt, LookForJob, Plan, StartJob
from millrace.reconcile.queueing import queue_up
from millrace.reconcile.refusal import refusal
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.start import hold

ORDER = [Phase.PENDING, Phase.STAGING, Phase.UPLOADING, Phase.RUNNING]  # of the pods that tell how far a run is


@dataclass(frozen=True)
class Survey:
    """How the shards of an attempt are: `failures` by shard, `pods` that are not over."""

    failures: dict[int, Failure]
    pods: tuple[PodFacts, ...]
    over: bool
    since: str  # when something last happened that the Job controller answers with a pod


def follow(s: RunSnapshot, jobs: list[JobFacts], shards: Shards) -> Plan:
    """The next step of a run whose shards have a Job."""
    job = jobs[-1]
    current_job = current(s, job)
    if current_job.kueue_queue and not current_job.ended and not current_job.over:
        # Where there is a LocalQueue `default` Kueue takes every Job, and would start shards that have no plan yet.
        why = f"Kueue has taken the Job (LocalQueue {current_job.kueue_queue}); it does not admit runs in shards"
        return end(s, current_job, Reason.PARALLEL_REJECTED, why)
    if current_job.step == Step.MERGE:
        return _attend_step(s, job, current_job, lambda pod: _merged(s, job, shards, pod))
    if current_job.step == Step.PLAN:
        return _attend_step(s, job, current_job, lambda pod: _planned(s, job, pod))
    if job.suspended and not job.ended:
        name = job_name(s.run.metadata.name, 1, Step.PLAN)
        return _missing(s, name)
    return adopted(s, job) or _shards(s, job, shards)


def current(s: RunSnapshot, job: JobFacts) -> JobFacts:
    """The Job that decides now: of a step, or that of the newest attempt at the shards, or of a run without any."""
    if job.shards is None:
        return job
    merge = step_job(s, Step.MERGE)
    if merge and (not merge.suspended or merge.ended):
        return merge
    plan = step_job(s, Step.PLAN)
    return plan if plan and job.suspended and not job.ended else job


def step_job(s: RunSnapshot, step: Step) -> JobFacts | None:
    """The newest attempt at a step."""
    return max((job for job in s.steps if job.step == step), key=lambda job: job.attempt, default=None)


def _missing(s: RunSnapshot, name: str) -> Plan:
    """A step's Job was made before that of the shards: when it is not there, somebody has deleted it."""
    if name not in s.learned.absent_jobs:
        return Plan((LookForJob(s.run.metadata.namespace, name, s.run.metadata.uid),))
    failure = Failure(Reason.JOB_DELETED, f"the Job {name} was deleted")
    return finish(s.run, Outcome(Phase.FAILED, failure), s.now)


def _attend_step(s: RunSnapshot, shards: JobFacts, job: JobFacts, done: Callable[[PodFacts | None], Plan]) -> Plan:
    pod = s.pods.get(job.uid)

    def go_on() -> Plan:
        return adopted(s, shards) or waiting.follow(s.run, job, pod, s.learned, s.now)

    def fail(failure: Failure) -> Plan:
        """User code is not at fault, so only what happened to the pod is made good by another one."""
        if s.run.spec.cancel:
            cancelled = replace(failure, reason=Reason.CANCELLED, message="spec.cancel was set")
            return finish(s.run, Outcome(Phase.CANCELLED, cancelled, pod=pod, job=shards), s.now)
        if s.left_alone or not may_retry(failure, job.attempt, 0, 0):
            return finish(s.run, Outcome(Phase.FAILED, failure, pod=pod, job=shards), s.now)
        meta = s.run.metadata
        return Plan((CreateNextAttempt(meta.namespace, job.name, meta.name, meta.uid, job.attempt + 1),), again=1)

    return attend(s, job, pod, succeed=lambda: done(pod), go_on=go_on, fail=fail)


def _planned(s: RunSnapshot, job: JobFacts, pod: PodFacts | None) -> Plan:
    """The input is sliced: the shards may start."""
    if s.run.spec.cancel:
        cancelled = Failure(Reason.CANCELLED, "spec.cancel was set")
        return finish(s.run, Outcome(Phase.CANCELLED, cancelled, pod=pod, job=job), s.now)
    start = StartJob(s.run.metadata.namespace, job.name, job.uid)
    told = progress(s.run, phase=Phase.STAGING, reason="Staging", message="the input is sliced", now=s.now, pod=pod)
    # Told first: once the shards have started nobody looks at this pod any more.
    return Plan((*told, start), again=waiting.NO_POD_SECONDS)


def _shards(s: RunSnapshot, job: JobFacts, shards: Shards) -> Plan:
    """The shards are at work, or over."""
    run, meta, seen = s.run, s.run.metadata, _survey(s, job, shards)
    if not seen.over:
        if run.spec.cancel and not job.ended and not job.over:
            return end(s, job, Reason.CANCELLED, "spec.cancel was set")
        furthest = max(seen.pods, key=lambda pod: (ORDER.index(phase_of(pod)[0]), pod.created, pod.name), default=None)
        begun = any(pod.container(p.MAIN).started for pod in s.shard_pods)
        since = seen.since if job.started else None
        return waiting.follow(run, replace(job, started=since), furthest, s.learned, s.now, begun=begun)
    settled = settle(shards, job.attempt, seen.failures, run.spec.retries)
    if run.spec.cancel:
        cancelled = Failure(Reason.CANCELLED, "spec.cancel was set")
        return finish(run, _outcome(s, Phase.CANCELLED, job, shards, settled, seen, cancelled), s.now)
    if settled.again and not s.left_alone:
        return _again(s, job, settled, settled.again, seen)
    if len(_lost(settled, seen)[0]) > shards.tolerated:
        return finish(run, _outcome(s, Phase.FAILED, job, shards, settled, seen, _failure(shards, settled, seen)), s.now)
    merge = step_job(s, Step.MERGE)
    if merge is None:
        if any(not output.href for output in run.spec.outputs):
            return _missing(s, job_name(meta.name, 1, Step.MERGE))
        return succeed(s, _outcome(s, Phase.SUCCEEDED, job, shards, settled, seen))
    start = StartJob(meta.namespace, merge.name, merge.uid)
    told = progress(run, phase=Phase.UPLOADING, reason="Uploading", message="the parts are being listed", now=s.now)
    return Plan((*told, start), again=waiting.NO_POD_SECONDS)


def _survey(s: RunSnapshot, job: JobFacts, shards: Shards) -> Survey:
    """What the Job and its pods say; a pod that is over is believed before the Job counts it."""
    done, failed = numbers(job.completed), numbers(job.failed_indexes)
    newest = {pod.position: pod for pod in sorted(s.shard_pods, key=lambda pod: (pod.created, pod.name))}
    closed = failure_of(s, job, None)
    if closed and job.ended:
        closed = Failure(*job.ended, charged=False, again=False)
    failures: dict[int, Failure] = {}
    at_work: list[PodFacts] = []
    waits = False
    for position, shard in enumerate(shards.mine):
        pod = newest.get(position)
        if position in done or (pod and pod.phase == "Succeeded"):
            continue
        if pod and pod.over:
            failures[shard] = Failure(*job.ended, charged=False, again=False) if job.ended else of_pod(pod)
        elif pod and waiting.is_lost(pod, s.now):
            why = f"node {pod.node} does not answer: the pod was not ended in time"
            failures[shard] = Failure(Reason.NODE_LOST, why, charged=False)
        elif pod:
            at_work.append(pod)
        elif position in failed:
            failures[shard] = Failure(Reason.POD_DELETED, "the pod is gone", charged=False)
        elif closed:
            failures[shard] = closed
        else:
            waits = True
    ends = [each.finished for pod in s.shard_pods for each in pod.containers.values() if each.finished]
    since = max([job.started or job.created, *ends])
    return Survey(failures, tuple(at_work), over=not at_work and not waits, since=since)


def _again(s: RunSnapshot, job: JobFacts, settled: Settled, shards: Shards, seen: Survey) -> Plan:
    """Another attempt at the shards that have failed, when its time has come."""
    run, meta = s.run, s.run.metadata
    first = seen.failures[shards.only[0]]
    which = f"shard{'s' if len(shards.only) > 1 else ''} {ranges(shards.only)}"
    what = f"attempt {job.attempt} failed at {which}: {first.reason}: {first.message}"
    due = parse(seen.since) + timedelta(seconds=pause_seconds(settled.pause))
    if s.now < due:
        text = f"{what}; the next follows at {render(due)}"
        return Plan(wait(run, Phase.PENDING, first.reason, text, s.now), again=(due - s.now).total_seconds())
    if run.spec.suspend:
        return Plan(suspend(run, s.now))
    if waits := queue_up(s):
        return waits
    if obstacle := refusal(s.learned, s.now):
        return hold(s, obstacle._replace(message=f"{what}; the next is refused: {obstacle.message}"))
    following = job.attempt + 1
    again = CreateNextAttempt(meta.namespace, job.name, meta.name, meta.uid, following, shards=shards)
    started = progress(
        run,
        phase=Phase.PENDING,
        reason=Reason.RETRYING,
        message=what,
        now=s.now,
        attempt=following,
        job_name=job_name(meta.name, following),
        revision=job.revision,
    )
    return Plan((again, *started, tell(run, Reason.RETRYING, what, warning=True)), again=waiting.NO_POD_SECONDS)


def _lost(settled: Settled, seen: Survey) -> tuple[list[int], Cause | None]:
    """The shards that have no part in the outputs, and why the first of them to fail did."""
    lost = sorted({*settled.failed, *seen.failures})
    if settled.cause or not lost:
        return lost, settled.cause
    first = seen.failures[lost[0]]
    return lost, Cause(shard=lost[0], reason=first.reason, message=first.message)


def _failure(shards: Shards, settled: Settled, seen: Survey) -> Failure:
    """Why the run has failed: the first shard that did, and how many did."""
    lost, cause = _lost(settled, seen)
    assert cause
    first = seen.failures.get(cause.shard, Failure(cause.reason, cause.message))
    which = (
        f"{len(lost)} of {shards.count} shards failed ({ranges(lost)}), {shards.tolerated} may (parallel.maxFailedShards)"
    )
    return replace(first, message=f"shard {cause.shard}: {first.message}; {which}")


def _outcome(
    s: RunSnapshot,
    phase: Phase,
    job: JobFacts,
    shards: Shards,
    settled: Settled,
    seen: Survey,
    failure: Failure | None = None,
) -> Outcome:
    """How the run ended; its pod is that of the shard to blame."""
    pod, (_, cause) = None, _lost(settled, seen)
    if cause and failure and cause.shard in shards.mine:
        position = shards.mine.index(cause.shard)
        pod = next((pod for pod in s.shard_pods if pod.position == position), None)
    status = _told(s, shards, settled, seen)
    where, folder = next(filter(None, map(logs_of, s.shard_pods)), None), f"/logs/{s.run.metadata.name}/"
    if where and job.places:
        # Those of all shards; finish() prefers the one's to blame.
        status |= {"logs": where.rpartition(folder)[0] + folder, "logsStore": job.places["logs"]}
    return Outcome(phase, failure, pod=pod, job=job, status=status)


def _told(s: RunSnapshot, shards: Shards, settled: Settled, seen: Survey) -> dict[str, Any]:
    """What the status says of shards."""
    mains = [pod.container(p.MAIN) for pod in s.shard_pods]
    started = [main.started for main in mains if main.started]
    exited = [main.finished for main in mains if main.finished]
    known = s.run.status.times.dump() if s.run.status.times else {}
    times = {"started": min([*started, *([known["started"]] if "started" in known else [])], default=None)}
    times["exited"] = max(exited, default=None)
    lost, cause = _lost(settled, seen)
    warnings = []
    if cause:
        why = f"shard {cause.shard}: {cause.reason}: {cause.message}"
        warnings = [f"{len(lost)} of {shards.count} shards failed ({ranges(lost)}): {why}"[:512]]
    return {
        "shards": {"count": shards.count, "failed": lost},
        "times": {key: value for key, value in times.items() if value},
        **({"warnings": warnings} if warnings else {}),
    }


def _merged(s: RunSnapshot, job: JobFacts, shards: Shards, pod: PodFacts | None) -> Plan:
    """The manifests are there: the outputs can be read."""
    seen = _survey(s, job, shards)
    settled = settle(shards, job.attempt, seen.failures, s.run.spec.retries)
    return succeed(s, Outcome(Phase.SUCCEEDED, pod=pod, job=job, status=_told(s, shards, settled, seen)))
