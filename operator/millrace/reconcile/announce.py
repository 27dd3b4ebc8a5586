"""What a run has to tell of itself goes into its status with the transition itself, so it is neither lost nor told early.

Its Deployment's pass tells it (reconcile/notify.py).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from millrace.api.jobrun import JobRun, JobRunStatus, Phase
from millrace.api.notification import NotificationStatus
from millrace.domain.clock import parse
from millrace.domain.conditions import find
from millrace.domain.labels import SCHEDULED_AT
from millrace.domain.notifications import LATE, of_run, wanted
from millrace.domain.reasons import Reason
from millrace.reconcile.outcome import tell
from millrace.reconcile.plan import Action, PatchStatus, Plan
from millrace.reconcile.snapshot import RunSnapshot
from millrace.reconcile.status import patch

WAITING = {None, Phase.PENDING, Phase.BLOCKED, Phase.QUEUED}


def announce(s: RunSnapshot, plan: Plan) -> Plan:
    """The plan of a run that is not over, with the transitions that it makes or that time has made."""
    asked = wanted(s.deployment.spec.notifications) if s.deployment else frozenset()
    if not asked:
        return plan
    write = next((action for action in plan.actions if isinstance(action, PatchStatus) and action.kind == "JobRun"), None)
    after = _after(s.run, write)
    due = _due(after)
    known = after.status.notifications or NotificationStatus()
    noted = {each.transition for each in known.pending} | {each.transition for each in known.told}
    new = [each for each in of_run(after, due, s.now) if each.transition in asked - noted]
    if new:
        pending = known.model_copy(update={"pending": [*known.pending, *new]})
        plan = _with(s, plan, write, {"notifications": pending.dump()})
        if late := next((each for each in new if each.transition == "Late"), None):
            event = tell(s.run, Reason.LATE, late.message or "", warning=True)
            plan = replace(plan, actions=(*plan.actions, event))
    elif due and "Late" in asked - noted:
        left = max((due + LATE - s.now).total_seconds(), 0) + 1
        plan = replace(plan, again=left if plan.again is None else min(plan.again, left))
    return plan


def _due(run: JobRun) -> datetime | None:
    """When it should have started, was queued or was given its Job; None: it has started once, or is suspended."""
    begun = run.status.times is not None and run.status.times.started is not None
    if run.status.phase not in WAITING or begun or (run.status.attempt or 1) > 1:
        return None
    due = parse(run.metadata.annotations.get(SCHEDULED_AT, run.metadata.creation_timestamp))
    admitted = find(run.status.conditions, "Admitted")
    if admitted and admitted.status == "Unknown":
        return None
    return max(due, parse(admitted.last_transition_time)) if admitted else due


def _after(run: JobRun, write: PatchStatus | None) -> JobRun:
    """The run as the write leaves it."""
    if write is None:
        return run
    status = run.status.dump()
    for key, value in write.status.items():
        both = isinstance(value, dict) and isinstance(status.get(key), dict)
        status[key] = {**status[key], **value} if both else value
    return run.model_copy(update={"status": JobRunStatus.model_validate(status)})


def _with(s: RunSnapshot, plan: Plan, write: PatchStatus | None, status: dict[str, Any]) -> Plan:
    """The plan whose write says that, too."""
    if write is None:
        found = patch("JobRun", s.run.metadata, s.run.status.dump(), status)
        return replace(plan, actions=(*plan.actions, *((found,) if found else ())))
    wider = replace(write, status={**write.status, **status})
    actions: tuple[Action, ...] = tuple(wider if action is write else action for action in plan.actions)
    return replace(plan, actions=actions)
