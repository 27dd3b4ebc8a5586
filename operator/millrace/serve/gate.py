"""How many calls of the handler go on at a time, how many wait, and for how long both have."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from millrace.serve.problems import Problem

QUEUE_FACTOR = 10  # requests that wait, for each that may go on
RETRY = (b"retry-after", b"1")


class Gate:
    """At most `limit` at a time; of those beyond, QUEUE_FACTOR times as many wait, first come first served.

    `busy`: seconds of calls so far, summed over those that went on at the same time, so that its growth over that of the
    clock is how many went on on average, whoever looks and however often.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = monotonic) -> None:
        self.limit = limit
        self.inside = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._clock, self._since, self._busy = clock, clock(), 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def busy(self) -> float:
        """See the class."""
        return self._busy + (self.inside + len(self._waiting)) * (self._clock() - self._since)

    def full(self) -> Problem:
        """What a request is told for whom there is no place any more."""
        return Problem(503, f"{self.limit} requests go on and {len(self._waiting)} wait: try again", RETRY)

    def try_enter(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.inside >= self.limit:
            return False
        self._count()
        self.inside += 1
        return True

    def queue(self) -> asyncio.Future[None]:
        """A place in the queue, done when it is one inside. Raises Problem where the queue is full."""
        if len(self._waiting) >= self.limit * QUEUE_FACTOR:
            raise self.full()
        self._count()
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        return place

    def give_up(self, place: asyncio.Future[None]) -> None:
        """Leave the queue, or give back what came meanwhile."""
        if place.done():
            self.leave()
        else:
            self._count()
            self._waiting.remove(place)

    def leave(self) -> None:
        """Free a place for who waits longest."""
        self._count()
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.inside -= 1

    def _count(self) -> None:
        now = self._clock()
        self._busy += (self.inside + len(self._waiting)) * (now - self._since)
        self._since = now
