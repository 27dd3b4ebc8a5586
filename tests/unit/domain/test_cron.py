"""Expressions: what is taken, what is refused and why, and that croniter finds the same times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from croniter import croniter
from hypothesis import assume, given
from hypothesis import strategies as st

from fixtures.expressions import EXPRESSIONS, LATER, REFUSED, TAKEN
from millrace.api.schedule import CRON, Schedule
from millrace.domain.cron import CronRejected, describe, parse
from millrace.domain.schedule import ticks, timetable


@pytest.mark.parametrize("text", TAKEN)
def test_what_both_take_is_taken(text: str) -> None:
    assert parse(text).times
    assert re.fullmatch(CRON, text)


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_the_rest_is_refused_with_its_reason(text: str, why: str) -> None:
    with pytest.raises(CronRejected, match=re.escape(why)):
        parse(text)
    assert bool(re.fullmatch(CRON, text)) == (text in LATER)


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "*/2 * * * *": "Every 2 minutes",  # seed 004
        "0 0 * * *": "At 00:00",
        "0 0 5 * *": "At 00:00, on day 5 of the month",
        "0 14 * * *": "At 14:00",
        "@hourly": "Every hour",
        "30 2 * * mon-fri": "At 02:30, Monday through Friday",
        "0 0 ? * 1": "At 00:00, only on Monday",
        "0 0 1 * 1": "At 00:00, on day 1 of the month, or on Monday",
    }.items(),
)
def test_it_is_said_in_words(text: str, words: str) -> None:
    assert describe(parse(text)) == words


@given(EXPRESSIONS, st.datetimes(datetime.fromisoformat("2024-01-01"), datetime.fromisoformat("2032-01-01")))
def test_in_utc_it_comes_when_croniter_says(text: str, start: datetime) -> None:
    try:
        _, _, days, _, weekdays = parse(text).dates.split()
    except CronRejected as error:
        assert "never comes" in str(error)
        return
    # All values of a field of days, but not as `*`: there croniter is not of one mind with the controller (below).
    assume(days.count(",") < 30 and weekdays.count(",") < 6)
    since = start.replace(second=0, microsecond=0, tzinfo=UTC)
    ours = list(islice(ticks(timetable(Schedule(cron=text)), since, since + timedelta(days=3000)), 3))
    theirs = croniter(text, since)
    assert ours == [theirs.get_next(datetime) for _ in ours]
    assert ours


@pytest.mark.parametrize(
    ("text", "days"),
    {
        "0 0 1 * 1": [1, 4, 11, 18, 25],  # either
        "0 0 */15 * 1": [1, 4, 11, 16, 18, 25, 31],  # a step is no star
        "0 0 * * 1": [4, 11, 18, 25],
        "0 0 ? * 1": [4, 11, 18, 25],
        "0 0 */1 * 1": [4, 11, 18, 25],  # but a step of one is
        "0 0 1-31 * 1": list(range(1, 32)),
        "0 0 */15 * 0/1": list(range(1, 32)),
        "0 0 */15 * 0-6": list(range(1, 32)),
        "0 0 1 * *": [1],
    }.items(),
)
def test_of_days_and_weekdays_either_is_enough_as_the_controller_reads_them(text: str, days: list[int]) -> None:
    january = datetime(2027, 1, 1, tzinfo=UTC)
    found = ticks(timetable(Schedule(cron=text)), january - timedelta(1), january + timedelta(30))
    assert [tick.day for tick in found if tick.month == 1] == days
