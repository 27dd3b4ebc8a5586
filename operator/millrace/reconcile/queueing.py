"""A run of a Deployment asks for a slot."""

from __future__ import annotations

from typing import Any

from millrace.api.base import delta
from millrace.api.jobrun import Phase
from millrace.domain.attempts import Failure
from millrace.domain.queue import Turn, position, turn
from millrace.domain.reasons import Reason
from millrace.domain.resolved import Resolved
from millrace.reconcile.outcome import Outcome, finish, queue
from millrace.reconcile.plan import Action, Plan
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.waiting import waiting_since

HOLD_SECONDS = 5  # a Job that was made wakes the next run; this is for one whose POST has no answer


def queue_up(s: RunSnapshot, resolved: Resolved | None = None, settled: tuple[Action, ...] = ()) -> Plan | None:
    """What a run does that may not start yet; None: it may.

    Of a run that was not queued before, `settled` keeps the revisions that are `resolved`: it will be run as it is now.
    """
    if s.line is None or s.deployment is None:
        return None
    run, name, spec = s.run, s.deployment.metadata.name, s.deployment.spec
    queued = run.status.phase is Phase.QUEUED
    decided = turn(s.line, spec.concurrency, spec.queue, new=not queued and run.status.job_name is None)
    full = f"{spec.queue.limit} runs of Deployment {name} wait already (spec.queue.maxLength)"
    match decided:
        case Turn.START:
            return None
        case Turn.HOLD:
            return Plan(again=HOLD_SECONDS)
        case Turn.REFUSED:
            return finish(run, Outcome(Phase.FAILED, Failure(Reason.QUEUE_FULL, full)), s.now)
        case Turn.SKIPPED:
            return finish(run, Outcome(Phase.CANCELLED, Failure(Reason.QUEUE_FULL, f"skipped: {full}")), s.now)
        case Turn.DISPLACED:
            why = f"a newer run of Deployment {name} took its place (spec.queue.whenFull: CancelOldest)"
            return finish(run, Outcome(Phase.CANCELLED, Failure(Reason.QUEUE_FULL, why)), s.now)
        case Turn.WAIT:
            pass
    deadline = waiting_since(run, s.now) + delta(run.spec.timeouts.queued)
    left = (deadline - s.now).total_seconds()
    if left <= 0:
        late = f"it waited for {run.spec.timeouts.queued} (timeouts.queued) for a slot of Deployment {name}"
        return finish(run, Outcome(Phase.FAILED, Failure(Reason.QUEUE_TIMEOUT, late)), s.now)
    if queued:
        return Plan(again=left)  # its position is told by the Deployment's own pass, sparingly
    known: dict[str, Any] = {}
    if resolved and s.origin:
        known = {
            "deploymentId": s.origin.uid,
            "deploymentRevision": s.origin.revision,
            "functionRevision": resolved.revision,
        }
    slots = f"{spec.concurrency} run" + ("s" if spec.concurrency > 1 else "")
    text = f"Deployment {name} runs {slots} at a time (spec.concurrency)"
    return Plan((*settled, *queue(run, position(s.line, spec.concurrency), text, known, s.now)), again=left)
