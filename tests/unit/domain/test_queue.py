"""Who is started next, who waits, and who must go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.api.deployment import Queue
from millrace.domain.queue import NEAR, Line, Turn, is_stale, position, turn

FREE = Queue()
SKIP = Queue(when_full="SkipNew")
SKIP_3 = Queue(when_full="SkipNew", max_length=3)
LIMITED = Queue(max_length=1)
LATEST = Queue(when_full="CancelOldest")
LATEST_2 = Queue(when_full="CancelOldest", max_length=2)


def line(running: int, ahead: int = 0, waiting: int | None = None, **more: int) -> Line:
    """A line of runs of one priority."""
    found = {"lower": 0, "older": ahead, **more}
    return Line(running=running, ahead=ahead, waiting=ahead + 1 if waiting is None else waiting, **found)


@pytest.mark.parametrize(
    ("seen", "queue", "new", "expected"),
    [
        # Slots of a Deployment with the concurrency 2.
        (line(0), FREE, True, Turn.START),
        (line(1), FREE, True, Turn.START),
        (line(2), FREE, True, Turn.WAIT),
        (line(3), FREE, True, Turn.WAIT),  # the concurrency was lowered
        (line(0, ahead=1), FREE, True, Turn.START),
        (line(1, ahead=1), FREE, True, Turn.WAIT),
        (line(0, ahead=2), FREE, False, Turn.WAIT),
        (line(0, ahead=1)._replace(held=True), FREE, True, Turn.HOLD),
        (line(2)._replace(held=True), FREE, True, Turn.WAIT),
        # A full queue refuses those that come, not those that wait.
        (line(2), LIMITED, True, Turn.WAIT),
        (line(2, ahead=1), LIMITED, True, Turn.REFUSED),
        (line(2, ahead=1), LIMITED, False, Turn.WAIT),
        (line(1, ahead=1), LIMITED, True, Turn.WAIT),
        (line(1), SKIP, True, Turn.START),
        (line(2), SKIP, True, Turn.SKIPPED),
        (line(2, ahead=2), SKIP_3, True, Turn.WAIT),
        (line(2, ahead=3), SKIP_3, True, Turn.SKIPPED),
        # The oldest go when newer ones come.
        (line(2, ahead=0, waiting=1), LATEST, True, Turn.WAIT),
        (line(2, ahead=0, waiting=2), LATEST, False, Turn.DISPLACED),
        (line(2, ahead=1, waiting=2), LATEST, True, Turn.WAIT),
        (line(2, ahead=0, waiting=3), LATEST_2, False, Turn.DISPLACED),
        (line(2, ahead=1, waiting=3), LATEST_2, False, Turn.WAIT),
        (line(1, ahead=0, waiting=3), LATEST_2, False, Turn.START),
        (line(1, ahead=1, waiting=3), LATEST_2, False, Turn.WAIT),
        # Of two priorities the lower one's oldest goes first.
        (line(2, ahead=0, waiting=2, lower=1, older=0), LATEST, False, Turn.WAIT),
        (line(2, ahead=1, waiting=2, lower=0, older=0), LATEST, False, Turn.DISPLACED),
    ],
)
def test_what_becomes_of_a_run(seen: Line, queue: Queue, new: bool, expected: Turn) -> None:
    assert turn(seen, 2, queue, new=new) is expected


@given(st.integers(1, 20), st.integers(0, 30), st.integers(1, 50))
def test_of_any_queue_as_many_start_as_slots_are_free_and_positions_count_from_one(
    concurrency: int, running: int, waiting: int
) -> None:
    places = [position(line(running, ahead, waiting), concurrency) for ahead in range(waiting)]
    started = [place for place in places if place <= 0]
    assert len(started) == min(max(concurrency - running, 0), waiting)
    assert [place for place in places if place > 0] == list(range(1, waiting - len(started) + 1))


@given(st.integers(1, 5), st.integers(0, 9), st.integers(1, 30), st.integers(1, 8))
def test_the_oldest_go_until_as_many_wait_as_may(concurrency: int, running: int, waiting: int, limit: int) -> None:
    queue = Queue(when_full="CancelOldest", max_length=limit)
    turns = [turn(line(running, ahead, waiting), concurrency, queue, new=False) for ahead in range(waiting)]
    free = max(concurrency - running, 0)
    # Those that start leave the line; what is over the limit then is seen by the next look.
    assert turns[:free] == [Turn.START] * min(free, waiting)
    assert turns.count(Turn.DISPLACED) == max(min(waiting - free - limit, waiting) - free, 0)
    assert turns[-1] is not Turn.DISPLACED
    assert turns == sorted(turns, key=[Turn.START, Turn.DISPLACED, Turn.WAIT].index)


@pytest.mark.parametrize(
    ("told", "actual", "expected"),
    [
        (1, 1, False),
        (2, 1, True),
        (11, 10, True),
        (12, 11, False),
        (5000, 4000, False),
        (5000, 2500, True),
        (20, 40, True),
        (3, 9, True),
        (0, 500, True),
    ],
)
def test_which_positions_are_told_anew(told: int, actual: int, expected: bool) -> None:
    assert is_stale(told, actual) is expected


def test_a_run_that_moves_through_a_long_queue_is_written_a_few_times() -> None:
    told, writes = 10_000, 0
    for actual in range(10_000, 0, -1):
        if is_stale(told, actual):
            told, writes = actual, writes + 1
    assert writes <= NEAR + 10
