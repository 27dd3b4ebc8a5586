"""The start of a run: its Job, or why there is none yet."""

from __future__ import annotations

from dataclasses import replace

from millrace.api.base import delta
from millrace.api.jobrun import Phase
from millrace.build.job import TooLarge
from millrace.build.parallel import run_jobs
from millrace.build.revision import authorities, bundle_digest, revision, revision_of_deployment
from millrace.domain.attempts import Failure
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Resolved
from millrace.domain.shards import lacks_earlier, rejected_by_kueue
from millrace.reconcile import waiting
from millrace.reconcile.outcome import Outcome, awaiting, finish, progress, suspend, wait
from millrace.reconcile.plan import Action, Apply, Create, Plan
from millrace.reconcile.queueing import queue_up
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.snapshot import RunSnapshot


def start(s: RunSnapshot, attempt: int) -> Plan:
    """Makes the Job of an attempt, when there is nothing in its way."""
    run = s.run
    if run.spec.cancel:
        return finish(s.run, Outcome(Phase.CANCELLED, Failure(Reason.CANCELLED, "cancelled before it was started")), s.now)
    if run.spec.deployment_ref and s.deployment is None:
        missing = f"Deployment {run.spec.deployment_ref.name} does not exist in this namespace"
        return hold(s, Obstacle(Reason.DEPLOYMENT_NOT_FOUND, missing))
    if run.spec.suspend:
        return Plan(suspend(run, s.now))
    if run.status.phase is Phase.QUEUED and (waits := queue_up(s)):
        return waits
    if s.unmade:
        return hold(s, s.unmade)
    found = resolve(run, s.function, s.stores, s.assets, s.settings, s.mapped)
    if isinstance(found, Resolved):
        found = refusal(s.learned, s.now) or found
    if isinstance(found, Obstacle):
        return hold(s, found)
    of_deployment = s.deployment.spec.queue.kueue_queue if s.deployment else None
    queue = run.spec.kueue_queue or of_deployment
    if rejected := rejected_by_kueue(run, queue) or lacks_earlier(run, s.earlier):
        return hold(s, rejected)
    found = replace(found, origin=s.origin, kueue_queue=queue, earlier=s.earlier[0] if s.earlier else None)
    try:
        jobs = run_jobs(found, s.settings, attempt)
    except TooLarge as error:
        return finish(run, Outcome(Phase.FAILED, Failure(Reason.PAYLOAD_TOO_LARGE, str(error))), s.now)
    actions: list[Action] = []
    if found.revision not in s.config_maps:
        actions.append(Create(revision(found.function), tell=run.metadata.uid))
    if s.deployment and found.origin and found.origin.revision not in s.config_maps:
        actions.append(Create(revision_of_deployment(s.deployment), tell=run.metadata.uid))
    if waits := queue_up(s, found, tuple(actions)):
        return waits
    if found.needs_authorities and s.ca_bundle and s.bundle != bundle_digest(s.ca_bundle):
        actions.append(Apply(authorities(run.metadata.namespace, s.ca_bundle)))
    started = progress(
        run,
        **awaiting(found.kueue_queue, Reason.STARTING, "the Job was created"),
        now=s.now,
        attempt=attempt,
        job_name=jobs[-1]["metadata"]["name"],
        revision=found.revision,
        profile=found.profile,
        origin={"deploymentId": found.origin.uid, "deploymentRevision": found.origin.revision} if found.origin else None,
        assets=found.assets,
    )
    return Plan((*actions, *map(Create, jobs), *started), again=waiting.NO_POD_SECONDS)


def hold(s: RunSnapshot, obstacle: Obstacle) -> Plan:
    """The run waits for something that is not there, or ends where that cannot heal or has lasted too long."""
    run = s.run
    if not obstacle.heals:
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, obstacle.message)), s.now)
    deadline = waiting.waiting_since(run, s.now) + delta(run.spec.timeouts.queued)
    if s.now >= deadline:
        late = f"it waited for {run.spec.timeouts.queued} (timeouts.queued): {obstacle.message}"
        return finish(run, Outcome(Phase.FAILED, Failure(obstacle.reason, late)), s.now)
    left = (deadline - s.now).total_seconds()
    soon = REFUSED_SECONDS if s.learned.refusal or s.unmade else left
    phase = Phase.BLOCKED if obstacle.known else Phase.PENDING
    return Plan(wait(run, phase, obstacle.reason, obstacle.message, s.now), again=min(left, soon))
