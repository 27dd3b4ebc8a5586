"""What is asked for often while it waits is handed out once, and timers end when they are told to."""

from __future__ import annotations

import asyncio

import pytest

from millrace.runtime.queue import KeyedQueue


async def test_a_key_that_was_asked_for_thrice_is_handed_out_once() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for _ in range(3):
        queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await queue.get()


async def test_the_timers_end_when_they_are_cancelled_while_a_wish_comes_in() -> None:
    """A leader that lost its lease waits for this end before it tries for another one."""
    queue: KeyedQueue[str] = KeyedQueue()
    timers = asyncio.create_task(queue.run_timers())
    queue.add_after("late", 60)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.add_after("soon", 30)
    await asyncio.sleep(0)  # what waits for the wish has ended, who waits for that has not heard of it
    timers.cancel()
    _, left = await asyncio.wait([timers], timeout=1)
    assert not left
