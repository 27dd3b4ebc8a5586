"""How many go on at a time."""

from __future__ import annotations

import pytest

from millrace.serve.gate import Gate
from millrace.serve.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_no_more_go_on_than_the_limit_and_others_wait_in_order() -> None:
    gate = Gate(2)
    assert [gate.try_enter() for _ in range(3)] == [True, True, False]
    first, second = gate.queue(), gate.queue()
    assert (gate.inside, gate.waiting) == (2, 2)
    gate.leave()
    assert (first.done(), second.done(), gate.inside, gate.waiting) == (True, False, 2, 1)
    gate.leave()
    assert (second.done(), gate.inside, gate.waiting) == (True, 2, 0)
    gate.leave()
    gate.leave()
    assert gate.inside == 0
    assert gate.try_enter()


async def test_a_full_queue_refuses_with_503_and_when_to_come_again() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    places = [gate.queue() for _ in range(10)]
    with pytest.raises(Problem) as refused:
        gate.queue()
    assert refused.value.status == 503
    assert refused.value.headers == ((b"retry-after", b"1"),)
    gate.give_up(places[3])
    assert not gate.queue().done()


async def test_who_gives_up_loses_no_place_for_others() -> None:
    gate = Gate(1)
    assert gate.try_enter()
    waits, gave_up, last = gate.queue(), gate.queue(), gate.queue()
    gate.give_up(gave_up)
    gate.leave()
    assert waits.done()
    gate.give_up(waits)  # it was its turn already
    assert last.done()
    gate.leave()
    assert (gate.inside, gate.waiting) == (0, 0)


async def test_busy_is_the_sum_of_what_goes_on_and_waits_over_time() -> None:
    clock = Clock()
    gate = Gate(1, clock)
    clock.now = 5
    assert gate.busy == 0
    assert gate.try_enter()
    clock.now = 7
    assert gate.busy == 2
    gate.queue()
    clock.now = 10
    assert gate.busy == 2 + 2 * 3
    gate.leave()
    clock.now = 11
    gate.leave()
    clock.now = 100
    assert gate.busy == 2 + 6 + 1
