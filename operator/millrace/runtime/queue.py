"""A keyed queue: each key is worked on by one worker at a time, asked for often is done once, and failures back off."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_SECONDS = 0.25
BACKOFF_LIMIT = 30.0
SPARE_TIMERS = 1024


class KeyedQueue(Generic[K]):
    """Semantics of client-go's work queue: add while waiting is nothing, add while in work is one more pass.

    First come, first served; but what can wait comes `later` than what cannot.
    """

    def __init__(self) -> None:
        self._ready: asyncio.PriorityQueue[tuple[bool, int, K]] = asyncio.PriorityQueue()
        self._waiting: dict[K, bool] = {}  # whether it comes later
        self._in_work: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._due: dict[K, float] = {}
        self._held: dict[K, float] = {}
        self._timers: list[tuple[float, int, K]] = []
        self._count = 0
        self._wake: asyncio.Event = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._in_work)

    def add(self, key: K, *, later: bool = False) -> None:
        """Asks for a pass, now; later where the last one was told to come back later."""
        held = self._held.get(key)
        if held is not None:
            left = held - asyncio.get_running_loop().time()
            if left > 0:
                self.add_after(key, left)
                return
            del self._held[key]
        if key in self._in_work:
            self._again.add(key)
        elif key not in self._waiting or self._waiting[key] > later:
            self._waiting[key] = later
            self._count += 1
            self._ready.put_nowait((later, self._count, key))

    def add_after(self, key: K, seconds: float) -> None:
        """Asks for a pass later; the earliest wish counts."""
        due = asyncio.get_running_loop().time() + max(seconds, 0)
        if self._due.get(key, float("inf")) <= due:
            return
        self._due[key] = due
        self._count += 1
        heapq.heappush(self._timers, (due, self._count, key))
        if len(self._timers) > 2 * len(self._due) + SPARE_TIMERS:
            # Mostly wishes that were overtaken: a waiting run wishes anew at each pass, for hours ahead.
            self._timers = [timer for timer in self._timers if self._due.get(timer[2]) == timer[0]]
            heapq.heapify(self._timers)
        self._wake.set()

    async def get(self) -> K:
        """The next key; done() or failed() must follow."""
        while True:
            later, _, key = await self._ready.get()
            if self._waiting.get(key) == later:  # else it was brought forward, and has been here
                break
        del self._waiting[key]
        self._in_work.add(key)
        self._due.pop(key, None)
        return key

    def done(self, key: K) -> None:
        """The pass went well."""
        self._failures.pop(key, None)
        self._release(key)

    def failed(self, key: K, at_least: float = 0) -> float:
        """The pass failed: another follows after a back-off, which is returned in seconds.

        An event may bring it forward, but not to less than `at_least` seconds.
        """
        count = self._failures[key] = self._failures.get(key, 0) + 1
        pause = max(min(BACKOFF_SECONDS * float(1 << min(count - 1, 16)), BACKOFF_LIMIT), at_least)
        self._again.discard(key)
        if at_least:
            self._held[key] = asyncio.get_running_loop().time() + at_least
        self._release(key)
        self.add_after(key, pause)
        return pause

    def _release(self, key: K) -> None:
        self._in_work.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    async def run_timers(self) -> None:
        """Moves keys whose time has come; runs for ever."""
        loop = asyncio.get_running_loop()
        while True:
            while self._timers and self._timers[0][0] <= loop.time():
                due, _, key = heapq.heappop(self._timers)
                if self._due.get(key) == due:
                    del self._due[key]
                    self.add(key)
            self._wake.clear()
            left = self._timers[0][0] - loop.time() if self._timers else None
            # Not asyncio.wait_for: before Python 3.12 it forgets that it was cancelled when it is woken at the same time
            # (python/cpython#86296), and who waits for the end of this task waits for ever.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._wake.wait()
