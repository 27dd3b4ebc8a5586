"""Whether a Deployment's queue is stuck: runs wait beside a free slot, and none has started for ten minutes.

The condition QueueStuck is the clock: Unknown from the first sight of it, True when the time is over. It is kept only where
somebody wants to be notified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from millrace.api.notification import Pending
from millrace.domain.clock import parse, render
from millrace.domain.conditions import Mark, find
from millrace.domain.notifications import STUCK, wanted
from millrace.domain.reasons import Reason

if TYPE_CHECKING:
    from millrace.reconcile.deployment import DeploymentSnapshot

CONDITION = "QueueStuck"


class Watched(NamedTuple):
    """What the condition says now, what is to be told, and when to look again (seconds)."""

    mark: Mark | None = None
    pending: Pending | None = None
    again: float | None = None


def watch_queue(s: DeploymentSnapshot) -> Watched:
    """The next tick of that clock."""
    known = find(s.deployment.status.conditions, CONDITION)
    runs, free = s.notices.waiting, s.deployment.spec.concurrency - s.running
    held = runs > 0 and free > 0 and CONDITION in wanted(s.deployment.spec.notifications)
    if known is None or known.status == "False":
        if not held:
            return Watched()
        return Watched(Mark(CONDITION, status=None, reason=Reason.QUEUED), again=STUCK.total_seconds() + 1)
    since = parse(known.last_transition_time)
    if not held or (s.notices.moved and parse(s.notices.moved) > since):
        return Watched(Mark(CONDITION, status=False, reason=Reason.VALID), again=0 if held else None)
    if known.status == "True":
        return Watched()
    left = (since + STUCK - s.now).total_seconds()
    if left >= 0:
        return Watched(again=left + 1)
    message = (
        f"is stuck: {runs} waiting, {free} of {s.deployment.spec.concurrency} slots free, no start since {render(since)}"
    )
    mark = Mark(CONDITION, status=True, reason=Reason.QUEUE_STUCK, message=message)
    return Watched(mark, Pending(transition="QueueStuck", time=render(since + STUCK), noted=render(s.now), message=message))
