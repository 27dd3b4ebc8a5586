"""Expressions: what is taken, what is refused and why, and that croniter finds the same times."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from croniter import croniter
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.api.schedule import ALIASES, CRON, MONTHS, WEEKDAYS, Schedule
from millrace.domain.cron import CronRejected, describe, parse
from millrace.domain.schedule import ticks, timetable

TAKEN = [
    "* * * * *", "*/2 * * * *", "0 0 * * *", "0 0 5 * *", "00 07 * * *", "5/15 * * * *", "1-59/7 * * * *", "0-0 * * * *",
    "0,30 8-18/2 * * mon-fri", "0 0 ? * 1", "0 0 1 * ?", "0 0 * jan-mar *", "0 0 * JAN,Dec SUN", "0 0 * * MON/2",
    "0 0 * * mon-5", "0 0 29 2 *", "0 0 1-31 * 1", "0 0 */2 * 1", "0 0 */1 * 1", "*/90 * * * *", "0  0 * * 0-6", *ALIASES,
]  # fmt: skip
REFUSED = {
    "0 0 32 * *": "day of month '32' is not",
    "60 * * * *": "minute '60' is not",
    "0 24 * * *": "hour '24' is not",
    "0 0 0 * *": "day of month '0' is not",
    "0 0 * 13 *": "month '13' is not",
    "0 0 * * 7": "0-6 or sun-sat; Sunday is 0 or sun",
    "0 0 * * 5-7": "Sunday is 0 or sun",
    "0 0 * * monday": "day of week 'monday' is not",
    "0 0 L * *": "day of month 'L' is not",
    "0 0 * * 1#2": "day of week '1#2' is not",
    "0 0 15W * *": "day of month '15W' is not",
    "H 0 * * *": "minute 'H' is not",
    "? 0 * * *": "minute '?' is not",
    "0 0 ?/2 * *": "day of month '?/2' is not",
    "0 0 1,,2 * *": "day of month '1,,2' is not",
    "0 0 *,3 * *": "day of month '*,3' is not",
    "*-5 * * * *": "minute '*-5' is not",
    "*/0 * * * *": "minute '*/0' is not",
    "-1 * * * *": "minute '-1' is not",
    "0 22-2 * * *": "hour '22-2' is a range that ends before it begins",
    "0 0 * * fri-mon": "day of week 'fri-mon' is a range that ends before it begins",
    "0 0 31 2 *": "never comes",
    "0 0 31 4,6,9,11 *": "never comes",
    "0 0 * *": "has 4 fields; there are five",
    "0 0 0 * * *": "has 6 fields; there are five: minute, hour, day of month, month, day of week",
    "": "has 0 fields",
    "@every 5m": "one of @yearly",
    "@reboot": "one of @yearly",
    "@DAILY": "one of @yearly",
    "TZ=UTC 0 0 * * *": "has 6 fields",
    "CRON_TZ=UTC 0 0 * *": "minute 'CRON_TZ=UTC' is not",
}
LATER = {"0 22-2 * * *", "0 0 * * fri-mon", "0 0 31 2 *", "0 0 31 4,6,9,11 *"}  # a pattern cannot refuse these


def item(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(low, high)

    def text(value: int, *, named: bool) -> str:
        return names[value - low] if names and named else str(value)

    single = st.builds(text, number, named=st.booleans())
    # Of 0-0 croniter makes every value; the controller takes it for 0, and so do we (TAKEN).
    pairs = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    spans = pairs.map(lambda found: f"{found[0]}-{found[1]}")
    step = st.one_of(st.just(""), st.integers(1, 40).map("/{}".format))
    values = st.lists(st.builds("{}{}".format, st.one_of(single, spans), step), min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), st.integers(2, 30).map("*/{}".format), values)


EXPRESSIONS = st.tuples(
    item(0, 59), item(0, 23), item(1, 31), item(1, 12, MONTHS), item(0, 6, WEEKDAYS)
).map(" ".join)  # fmt: skip


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
