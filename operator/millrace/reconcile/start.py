"""The start of a run: its Job, or why there is none yet."""

from __future__ import annotations

from datetime import datetime

from millrace.api.base import delta
from millrace.api.jobrun import Phase
from millrace.build.job import TooLarge, run_job
from millrace.build.revision import authorities, bundle_digest, revision
from millrace.domain.attempts import Failure
from millrace.domain.clock import parse
from millrace.domain.conditions import find
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Resolved
from millrace.reconcile import waiting
from millrace.reconcile.outcome import Outcome, finish, progress, wait
from millrace.reconcile.plan import Action, Apply, Create, Plan
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.snapshot import RunSnapshot


def start(s: RunSnapshot, attempt: int) -> Plan:
    run = s.run
    if run.spec.cancel:
        return finish(s.run, Outcome(Phase.CANCELLED, Failure(Reason.CANCELLED, "cancelled before it was started")), s.now)
    found = resolve(run, s.function, s.stores, s.assets, s.settings)
    if isinstance(found, Resolved):
        found = refusal(s.learned, s.now) or found
    if isinstance(found, Obstacle):
        return hold(s, found)
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


def hold(s: RunSnapshot, obstacle: Obstacle) -> Plan:
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
