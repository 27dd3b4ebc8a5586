"""The keyed queue, on a loop whose clock jumps ahead when there is nothing to do: no test waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from millrace.runtime.queue import BACKOFF_LIMIT, SPARE_TIMERS, KeyedQueue


class Clock(selectors.SelectSelector):
    """Instead of waiting for a timer it moves the loop's time."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout is None:
            raise AssertionError("nothing will ever happen again")
        if not found and timeout:
            self.now += timeout
        return found


@pytest.fixture
def play() -> Iterator[Callable[[Coroutine[Any, Any, None]], None]]:
    """Runs a coroutine on such a loop."""
    clock = Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now  # type: ignore[method-assign]

    def run(scene: Coroutine[Any, Any, None]) -> None:
        loop.run_until_complete(scene)

    yield run
    loop.close()


Play = Callable[[Coroutine[Any, Any, None]], None]


def at() -> float:
    return asyncio.get_running_loop().time() - 1000


class Timed:
    """A queue whose timers run."""

    def __init__(self) -> None:
        self.queue: KeyedQueue[str] = KeyedQueue()

    async def __aenter__(self) -> KeyedQueue[str]:
        self.task = asyncio.ensure_future(self.queue.run_timers())
        return self.queue

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


def test_asked_for_often_is_done_once(play: Play) -> None:
    async def scene() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        for key in ("a", "b", "a", "a"):
            queue.add(key)
        assert len(queue) == 2
        assert [await queue.get(), await queue.get()] == ["a", "b"]

    play(scene())


def test_what_can_wait_comes_later_and_is_brought_forward_once(play: Play) -> None:
    async def scene() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        for key in ("blocked", "healed"):
            queue.add(key, later=True)
        queue.add("new")
        queue.add("healed")
        queue.add("healed", later=True)
        assert [await queue.get() for _ in range(len(queue))] == ["new", "healed", "blocked"]
        for key in ("new", "healed", "blocked"):
            queue.done(key)
        queue.add("last", later=True)
        assert await queue.get() == "last", "nothing is left of the place that was given up"
        assert len(queue) == 1

    play(scene())


def test_a_key_in_work_is_given_to_nobody_else_and_once_more_afterwards(play: Play) -> None:
    async def scene() -> None:
        queue: KeyedQueue[str] = KeyedQueue()
        queue.add("a")
        assert await queue.get() == "a"
        queue.add("a")
        queue.add("a")
        queue.add("b")
        assert await queue.get() == "b", "a is in work"
        queue.done("b")
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert len(queue) == 0

    play(scene())


def test_later_means_later_and_the_earliest_wish_counts(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add_after("a", 60)
            queue.add_after("a", 10)
            queue.add_after("a", 30)
            queue.add_after("b", 20)
            assert (await queue.get(), at()) == ("a", 10)
            assert (await queue.get(), at()) == ("b", 20)
            queue.done("a")
            queue.done("b")
            queue.add_after("c", 100)
            assert (await queue.get(), at()) == ("c", 120), "the wishes for a at 30 and 60 were fulfilled at 10"

    play(scene())


def test_a_pass_now_makes_the_later_one_needless(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add_after("a", 10)
            queue.add("a")
            assert (await queue.get(), at()) == ("a", 0)
            queue.done("a")
            queue.add_after("b", 50)
            assert (await queue.get(), at()) == ("b", 50)

    play(scene())


def test_a_wish_during_work_is_kept(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            await queue.get()
            queue.add_after("a", 5)
            queue.done("a")
            assert (await queue.get(), at()) == ("a", 5)

    play(scene())


def test_a_timer_that_goes_off_during_work_asks_for_one_more_pass(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            await queue.get()
            queue.add_after("a", 5)
            await asyncio.sleep(8)  # of the clock that jumps
            queue.done("a")
            assert (await queue.get(), at()) == ("a", 8)

    play(scene())


def test_failures_back_off_and_a_success_forgets_them(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            pauses = []
            for _ in range(12):
                await queue.get()
                pauses.append(queue.failed("a"))
            assert pauses[:4] == [0.25, 0.5, 1, 2]
            assert pauses[-1] == BACKOFF_LIMIT
            await queue.get()
            assert at() == sum(pauses)
            queue.done("a")
            queue.add("a")
            await queue.get()
            assert queue.failed("a") == 0.25

    play(scene())


def test_the_server_may_ask_for_a_longer_pause(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            await queue.get()
            assert queue.failed("a", 7) == 7
            assert (await queue.get(), at()) == ("a", 7)

    play(scene())


def test_what_was_asked_for_during_a_failed_pass_waits_with_it(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            await queue.get()
            queue.add("a")
            queue.failed("a")
            assert (await queue.get(), at()) == ("a", 0.25)

    play(scene())


def test_an_event_during_the_back_off_is_served_at_once(play: Play) -> None:
    async def scene() -> None:
        async with Timed() as queue:
            queue.add("a")
            await queue.get()
            queue.failed("a")
            queue.add("a")
            assert (await queue.get(), at()) == ("a", 0)

    play(scene())


def test_overtaken_timers_do_not_pile_up(play: Play) -> None:
    """A waiting run asks anew at each pass, for hours ahead."""

    async def scene() -> None:
        async with Timed() as queue:
            for number in range(20_000):
                queue.add_after("a", 100_000 - number)
            assert len(queue._timers) <= SPARE_TIMERS + 3
            queue.add_after("b", 200_000)
            assert (await queue.get(), at()) == ("a", 80_001)
            assert (await queue.get(), at()) == ("b", 200_000)

    play(scene())


def test_many_workers_never_share_a_key(play: Play) -> None:
    async def scene() -> None:
        in_work: set[str] = set()
        passes: dict[str, int] = {}
        async with Timed() as queue:

            async def worker() -> None:
                while True:
                    key = await queue.get()
                    assert key not in in_work
                    in_work.add(key)
                    passes[key] = passes.get(key, 0) + 1
                    await asyncio.sleep(0.01)
                    in_work.remove(key)
                    queue.done(key)

            workers = [asyncio.ensure_future(worker()) for _ in range(8)]
            for number in range(1000):
                queue.add(f"key-{number % 7}")
                if number % 50 == 0:
                    await asyncio.sleep(0.003)
            await asyncio.sleep(5)  # of the clock that jumps
            assert len(queue) == 0
            for task in workers:
                task.cancel()
            done = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(found, asyncio.CancelledError) for found in done)
        assert set(passes) == {f"key-{number}" for number in range(7)}
        assert sum(passes.values()) < 100

    play(scene())
