"""Conditions: one place that writes them, so that transition times move only when the status does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from millrace.api.base import Condition
from millrace.domain.clock import render

MESSAGE_LIMIT = 1024


class Mark(NamedTuple):
    """What a condition should say."""

    type: str
    status: bool | None
    reason: str
    message: str = ""


_STATUS: dict[bool | None, Literal["True", "False", "Unknown"]] = {True: "True", False: "False", None: "Unknown"}


def merge(existing: Iterable[Condition], marks: Iterable[Mark], *, now: datetime, generation: int) -> list[Condition]:
    """The conditions after the marks: others are kept, order is stable, a transition time changes with the status."""
    found = {condition.type: condition for condition in existing}
    for mark in marks:
        status = _STATUS[mark.status]
        before = found.get(mark.type)
        since = before.last_transition_time if before and before.status == status else render(now)
        found[mark.type] = Condition(
            type=mark.type,
            status=status,
            reason=mark.reason,
            message=mark.message[:MESSAGE_LIMIT],
            observed_generation=generation,
            last_transition_time=since,
        )
    return list(found.values())


def find(conditions: Iterable[Condition], condition_type: str) -> Condition | None:
    """The condition of that type, if it is there."""
    return next((condition for condition in conditions if condition.type == condition_type), None)
