"""Clock, durations, conditions, attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.api.base import LONGEST, Condition, delta, seconds
from millrace.domain.attempts import MAX_DISRUPTIONS, Failure, may_retry
from millrace.domain.clock import human, parse, render
from millrace.domain.conditions import MESSAGE_LIMIT, Mark, find, merge

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "moment"),
    {
        "the API server's": ("2026-01-31T08:30:00Z", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
        "an Event's, with microseconds": (
            "2026-01-31T08:30:00.250000Z",
            datetime(2026, 1, 31, 8, 30, 0, 250_000, tzinfo=UTC),
        ),
        "with an offset": ("2026-01-31T09:30:00+01:00", datetime(2026, 1, 31, 8, 30, tzinfo=UTC)),
    }.values(),
)
def test_times_are_read(text: str, moment: datetime) -> None:
    assert parse(text) == moment


@given(MOMENTS)
def test_times_are_written_in_whole_seconds_of_utc(moment: datetime) -> None:
    text = render(moment)
    assert parse(text) == moment.replace(microsecond=0)
    assert render(moment.astimezone(timezone(timedelta(hours=5, minutes=45)))) == text


@pytest.mark.parametrize(
    ("span", "text"),
    {
        "nothing": (0, "0s"),
        "a clock that goes back": (-5, "0s"),
        "seconds": (59.9, "59s"),
        "a minute": (60, "1m"),
        "minutes and seconds": (200, "3m20s"),
        "an hour": (3600, "1h"),
        "hours and minutes": (7500, "2h5m"),
        "days": (86400, "1d"),
        "days and hours": (86400 * 3 + 4 * 3600 + 59, "3d4h"),
    }.values(),
)
def test_durations_are_written_as_kubectl_does(span: float, text: str) -> None:
    assert human(timedelta(seconds=span)) == text


@pytest.mark.parametrize(
    ("text", "length"),
    {
        "hours": ("72h", 259_200),
        "all units": ("1d1h1m1s", 90_061),
        "none at all": ("0s", 0),
        "for ever": ("999999999d", LONGEST),
        "more than for ever": ("999999999d999999999d", LONGEST),
    }.values(),
)
def test_durations_are_read(text: str, length: int) -> None:
    assert seconds(text) == length
    assert delta(text) == timedelta(seconds=length)


def test_the_longest_duration_leads_to_a_date() -> None:
    assert datetime(2100, 1, 1, tzinfo=UTC) + delta("999999999d")


NOW, LATER = datetime(2026, 1, 31, 8, 0, tzinfo=UTC), datetime(2026, 1, 31, 9, 0, tzinfo=UTC)


def merged(
    *marks: Mark, existing: list[Condition] | None = None, now: datetime = NOW, generation: int = 1
) -> list[Condition]:
    return merge(existing or [], marks, now=now, generation=generation)


@pytest.mark.parametrize(
    ("mark", "moved"),
    {
        "the same": (Mark("Ready", status=True, reason="A", message="m"), False),
        "another reason": (Mark("Ready", status=True, reason="B", message="m"), False),
        "another message": (Mark("Ready", status=True, reason="A", message="n"), False),
        "another status": (Mark("Ready", status=False, reason="A", message="m"), True),
        "unknown": (Mark("Ready", status=None, reason="A", message="m"), True),
    }.values(),
)
def test_the_transition_time_moves_with_the_status_only(mark: Mark, moved: bool) -> None:
    before = merged(Mark("Ready", status=True, reason="A", message="m"))
    after = merged(mark, existing=before, now=LATER, generation=2)
    assert after[0].last_transition_time == render(LATER if moved else NOW)
    assert after[0].observed_generation == 2
    assert (after[0].reason, after[0].message) == (mark.reason, mark.message)


def test_other_conditions_and_their_order_are_kept() -> None:
    before = merged(*(Mark(kind, status=True, reason="A") for kind in ("One", "Two", "Three")))
    after = merged(Mark("Two", status=False, reason="B"), Mark("Four", status=True, reason="A"), existing=before, now=LATER)
    assert [condition.type for condition in after] == ["One", "Two", "Three", "Four"]
    assert [after[0], after[2]] == [before[0], before[2]]
    assert find(after, "Two") == after[1]
    assert find(after, "Five") is None


def test_long_messages_are_cut() -> None:
    assert len(merged(Mark("Ready", status=True, reason="A", message="x" * 5000))[0].message) == MESSAGE_LIMIT


USER = Failure("UserError")
DISRUPTION = Failure("Evicted", charged=False)
FINAL = Failure("HandlerNotFound", again=False)


@pytest.mark.parametrize(
    ("failures", "retries", "again"),
    {
        "no retries": ([USER], 0, False),
        "the first of one": ([USER], 1, True),
        "the second of one": ([USER, USER], 1, False),
        "a disruption is free": ([DISRUPTION], 0, True),
        "disruptions do not use retries up": ([DISRUPTION, DISRUPTION, USER], 1, True),
        "a failure after a disruption is charged": ([DISRUPTION, USER], 0, False),
        "a disruption after the last retry": ([USER, DISRUPTION], 1, True),
        "ten disruptions": ([DISRUPTION] * MAX_DISRUPTIONS, 0, True),
        "eleven disruptions": ([DISRUPTION] * (MAX_DISRUPTIONS + 1), 0, False),
        "what no attempt can change": ([FINAL], 100, False),
        "what an earlier attempt could not change": ([FINAL, DISRUPTION], 1, True),
    }.values(),
)
def test_another_attempt(failures: list[Failure], retries: int, again: bool) -> None:
    *earlier, last = failures
    assert may_retry(last, len(failures), sum(failure.charged for failure in earlier), retries) is again
