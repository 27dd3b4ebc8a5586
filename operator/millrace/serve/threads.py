"""Threads for handlers that are no coroutines.

What asyncio's executor does costs more than a small handler: a future of its own kind, a lock and a wake-up of the loop for
each call. Here calls go through one queue of the C library's, and the loop is woken once for all that ended meanwhile.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Call = tuple["asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """At most `most` threads, made when they are needed. All but the threads themselves belongs to the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int) -> None:
        self._loop, self._most = loop, most
        self._calls: SimpleQueue[Call] = SimpleQueue()
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        self._woken = False
        self._going_on = 0
        self._threads = 0

    def call(self, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """What the function returns, or raises, in another thread."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._going_on += 1
        if self._going_on > self._threads < self._most:
            self._threads += 1
            threading.Thread(target=self._work, daemon=True, name=f"handler-{self._threads}").start()
        self._calls.put((future, function, arguments))
        return future

    def _work(self) -> None:
        while True:
            future, function, arguments = self._calls.get()
            result = raised = None
            try:
                result = function(*arguments)
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                raised = error
            self._ended.append((future, result, raised))
            del future, function, arguments, result, raised  # else they live until the next call
            if not self._woken:
                self._woken = True
                try:
                    self._loop.call_soon_threadsafe(self._finish)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    return

    def _finish(self) -> None:
        self._woken = False  # before the look: what ends after it wakes the loop again
        while self._ended:
            future, result, raised = self._ended.popleft()
            self._going_on -= 1
            if future.done():
                continue
            if raised is None:
                future.set_result(result)
            elif isinstance(raised, StopIteration):  # which no future takes
                future.set_exception(RuntimeError("the handler raised StopIteration"))
            else:
                future.set_exception(raised)
