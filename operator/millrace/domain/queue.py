"""The queue of a Deployment: who is started next, who waits, who must go. Slots are counted, never stored."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from millrace.api.deployment import Queue

NEAR = 10  # positions up to this one are told exactly


class Place(NamedTuple):
    """A run's place in the queue: what sorts first is started first."""

    rank: int  # the priority, negated
    created: str  # RFC 3339 in UTC, which sorts as text
    name: str


class Line(NamedTuple):
    """The queue of a Deployment as one of its runs sees it."""

    running: int  # others that hold a slot
    ahead: int  # waiting ones that are started before it
    waiting: int  # all that wait, itself too
    lower: int  # of these, those with a lower priority
    older: int  # of these, those with its priority that are ahead of it
    held: bool = False  # one that is started before it is being started right now, or is about to be


class Turn(StrEnum):
    """What becomes of a run that asks for a slot."""

    START = "Start"
    HOLD = "Hold"  # for a moment: Jobs are made one after the other, in the queue's order
    WAIT = "Wait"
    REFUSED = "Refused"  # the queue is full, which is an error
    SKIPPED = "Skipped"  # the queue is full, and new ones go
    DISPLACED = "Displaced"  # the queue is full, and it is the oldest


def position(line: Line, concurrency: int) -> int:
    """The run's place among those that have to wait, from 1; 0 or less: it may start."""
    return line.ahead + 1 - max(concurrency - line.running, 0)


def turn(line: Line, concurrency: int, queue: Queue, *, new: bool) -> Turn:
    """Whether the run starts, waits, or goes. `new`: it does not wait yet; who waits is not refused any more."""
    place = position(line, concurrency)
    if place <= 0:
        return Turn.HOLD if line.held else Turn.START
    if queue.limit is None:
        return Turn.WAIT
    if queue.when_full == "CancelOldest":
        # The oldest go, of those with the lowest priority.
        excess = line.waiting - max(concurrency - line.running, 0) - queue.limit
        return Turn.DISPLACED if line.lower + line.older < excess else Turn.WAIT
    if new and place > queue.limit:
        return Turn.SKIPPED if queue.when_full == "SkipNew" else Turn.REFUSED
    return Turn.WAIT


def is_stale(told: int, actual: int) -> bool:
    """Whether a position that was told is worth another write: near the head each change is, else half and double are."""
    return told != actual and (actual <= NEAR or max(told, actual) >= 2 * min(told, actual))
