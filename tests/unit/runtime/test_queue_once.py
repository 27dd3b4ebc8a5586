"""What is asked for often while it waits is handed out once."""

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
        await asyncio.wait_for(queue.get(), 0.01)
