"""When runs are due: zones, bounds, days that are left out, missed runs, edits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.api.schedule import Schedule
from millrace.domain import schedule as s
from millrace.domain.clock import render

ZONES = ["Etc/UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Australia/Lord_Howe", "Pacific/Apia"]
CRONS = ["*/20 * * * *", "7 * * * *", "30 2 * * *", "0 */5 * * *", "*/30 1-3 * * *", "0 0 1 * 1", "0 9 * * mon-fri"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(cron: str = "0 9 * * *", **fields: Any) -> Schedule:
    return Schedule.model_validate({"cron": cron, **fields})


def local(found: Schedule, since: str, until: str) -> list[str]:
    """The ticks between two times in UTC, as the zone writes them."""
    of = s.timetable(found)
    return [t.astimezone(of.zone).strftime("%d %H:%M %z") for t in s.ticks(of, at(since), at(until))]


BERLIN, NEW_YORK, AUCKLAND, LORD_HOWE = ZONES[1:5]
# Nights on which clocks are put forward, from before midnight to four o'clock and after.
FORWARD = {
    BERLIN: ("2027-03-27T22:59", "2027-03-28T02:00"),  # 2:00 is 3:00
    NEW_YORK: ("2027-03-14T04:59", "2027-03-14T08:00"),  # 2:00 is 3:00
    AUCKLAND: ("2027-09-25T11:59", "2027-09-25T15:00"),  # 2:00 is 3:00
    LORD_HOWE: ("2027-10-02T13:29", "2027-10-02T17:00"),  # 2:00 is 2:30
}
BACK = {
    BERLIN: ("2027-10-30T21:59", "2027-10-31T03:00"),  # 3:00 is 2:00
    NEW_YORK: ("2027-11-07T03:59", "2027-11-07T09:00"),  # 2:00 is 1:00
    AUCKLAND: ("2027-04-03T10:59", "2027-04-03T16:00"),  # 3:00 is 2:00
    LORD_HOWE: ("2027-04-03T12:59", "2027-04-03T17:30"),  # 2:00 is 1:30
}


@pytest.mark.parametrize(
    ("zone", "cron", "due"),
    [
        # Fixed hours: what is skipped is due right after the gap, and once where that is a tick anyway.
        (BERLIN, "30 2 * * *", ["28 03:00 +0200"]),
        (BERLIN, "0,15,59 2 * * *", ["28 03:00 +0200"]),
        (BERLIN, "0 2,3 * * *", ["28 03:00 +0200"]),
        (BERLIN, "30 1,3 * * *", ["28 01:30 +0100", "28 03:30 +0200"]),
        (NEW_YORK, "30 2 * * *", ["14 03:00 -0400"]),
        (NEW_YORK, "0 2 * * sun", ["14 03:00 -0400"]),
        (AUCKLAND, "30 2 * * *", ["26 03:00 +1300"]),
        (LORD_HOWE, "15 2 * * *", ["03 02:30 +1100"]),
        (LORD_HOWE, "45 2 * * *", ["03 02:45 +1100"]),
        # Hours by elapsed time.
        (BERLIN, "0 * * * *", [f"28 {hour}" for hour in ("00:00 +0100", "01:00 +0100", "03:00 +0200", "04:00 +0200")]),
        (BERLIN, "45 1-2/1 * * *", ["28 01:45 +0100", "28 03:00 +0200"]),
        (BERLIN, "45 */1 * * *", ["28 00:45 +0100", "28 01:45 +0100", "28 03:45 +0200"]),
        (BERLIN, "15 */2 * * *", ["28 00:15 +0100", "28 03:15 +0200"]),
        (NEW_YORK, "0 * * * *", [f"14 {hour}" for hour in ("00:00 -0500", "01:00 -0500", "03:00 -0400", "04:00 -0400")]),
        (AUCKLAND, "0 */2 * * *", [f"26 {hour}" for hour in ("00:00 +1200", "03:00 +1300", "04:00 +1300")]),
        (LORD_HOWE, "0 1-3 * * *", ["03 01:00 +1030", "03 02:30 +1100", "03 03:00 +1100"]),
        (LORD_HOWE, "*/30 1-3 * * *", [f"03 {t}" for t in ("01:00 +1030", "01:30 +1030", "02:30 +1100", "03:00 +1100", "03:30 +1100")]),
    ],
)  # fmt: skip
def test_nothing_is_lost_where_the_clock_is_put_forward(zone: str, cron: str, due: list[str]) -> None:
    assert local(schedule(cron, timeZone=zone), *FORWARD[zone]) == due


@pytest.mark.parametrize(
    ("zone", "cron", "due"),
    [
        # Fixed hours: once.
        (BERLIN, "30 2 * * *", ["31 02:30 +0200"]),
        (BERLIN, "*/30 2 * * *", ["31 02:00 +0200", "31 02:30 +0200"]),
        (BERLIN, "0 3 * * *", ["31 03:00 +0100"]),
        (NEW_YORK, "30 1 * * *", ["07 01:30 -0400"]),
        (AUCKLAND, "30 2 * * *", ["04 02:30 +1300"]),
        (LORD_HOWE, "45 1 * * *", ["04 01:45 +1100"]),
        (LORD_HOWE, "15 1 * * *", ["04 01:15 +1100"]),
        # Hours by elapsed time: both.
        (BERLIN, "0 * * * *", [f"31 {t}" for t in ("00:00 +0200", "01:00 +0200", "02:00 +0200", "02:00 +0100", "03:00 +0100", "04:00 +0100")]),
        (BERLIN, "30 */2 * * *", ["31 00:30 +0200", "31 02:30 +0200", "31 02:30 +0100"]),
        (NEW_YORK, "30 * * * *", [f"07 {t}" for t in ("00:30 -0400", "01:30 -0400", "01:30 -0500", "02:30 -0500", "03:30 -0500")]),
        (AUCKLAND, "30 */2 * * *", ["04 00:30 +1300", "04 02:30 +1300", "04 02:30 +1200"]),
        (LORD_HOWE, "45 * * * *", [f"04 {t}" for t in ("00:45 +1100", "01:45 +1100", "01:45 +1030", "02:45 +1030", "03:45 +1030")]),
    ],
)  # fmt: skip
def test_a_local_time_that_comes_twice_runs_once_and_hours_by_elapsed_time_both_times(
    zone: str, cron: str, due: list[str]
) -> None:
    assert local(schedule(cron, timeZone=zone), *BACK[zone]) == due


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, AUCKLAND, LORD_HOWE])
@pytest.mark.parametrize("nights", [FORWARD, BACK])
def test_every_half_hour_is_every_half_hour_in_every_night(zone: str, nights: dict[str, tuple[str, str]]) -> None:
    since, until = map(at, nights[zone])
    found = list(s.ticks(s.timetable(schedule("*/30 * * * *", timeZone=zone)), since, until))
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=30)}
    assert len(found) == (until - since) // timedelta(minutes=30) + 1


def test_a_day_that_a_zone_leaves_out_is_made_up_for_once() -> None:
    # Samoa had no 30 December 2011.
    found = local(schedule("0 9 * * *", timeZone="Pacific/Apia"), "2011-12-29T00:00", "2011-12-31T12:00")
    assert found == ["29 09:00 -1000", "31 00:00 +1400", "31 09:00 +1400"]
    found = local(schedule("0 0 * * *", timeZone="Pacific/Apia"), "2011-12-29T00:00", "2011-12-31T12:00")
    assert found == ["29 00:00 -1000", "31 00:00 +1400", "01 00:00 +1400"]


def test_the_29th_of_february_comes_in_leap_years() -> None:
    years = [tick.year for tick in s.next_times(s.timetable(schedule("0 0 29 2 *")), at("2093-01-01"))]
    assert years == [2096, 2104, 2108, 2112, 2116]


def test_weekdays_are_left_out_in_the_schedule_s_zone() -> None:
    # C13: Friday 23:30 UTC is Saturday in Auckland.
    found = schedule("30 23 * * *", timeZone="Etc/UTC", excludeWeekdays=["Sat"])
    assert local(found, "2027-06-03T00:00", "2027-06-06T00:00") == ["03 23:30 +0000", "04 23:30 +0000"]
    found = schedule("30 11 * * *", timeZone=AUCKLAND, excludeWeekdays=["Sat"])
    assert local(found, "2027-06-03T00:00", "2027-06-06T00:00") == ["04 11:30 +1200", "06 11:30 +1200"]
    found = schedule("0 0 29 2 *", excludeWeekdays=["Mon", "Tue", "Wed", "Thu", "Fri", "Sat"])
    assert [render(t) for t in s.next_times(s.timetable(found), at("2027-01-01"))] == [
        "2032-02-29T00:00:00Z",
        "2060-02-29T00:00:00Z",
    ]


def test_no_run_is_due_before_the_start_nor_after_the_end() -> None:
    found = schedule("0 * * * *", startTime="2027-06-01T09:00:00Z", endTime="2027-06-01T13:00:00+02:00")
    assert local(found, "2020-01-01T00:00", "2030-01-01T00:00") == ["01 09:00 +0000", "01 10:00 +0000", "01 11:00 +0000"]
    of = s.timetable(found)
    assert [render(t)[11:16] for t in s.next_times(of, at("2027-05-01T00:00"))] == ["09:00", "10:00", "11:00"]
    assert s.next_times(of, at("2027-06-01T11:00")) == []
    assert s.due(found, at("2027-06-01T10:30"), at("2027-06-01T12:00:30")) == s.Due((), (at("2027-06-01T11:00"),) * 2)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"cron": "0 0 * * 7"}, "Sunday is 0 or sun"),
        ({"cron": "0 0 31 2 *"}, "never comes"),
        ({"cron": "0 0 * * 1", "excludeWeekdays": ["Mon"]}, "excludeWeekdays leaves out all of its days"),
        ({"timeZone": "Europe/Bonn"}, "timeZone 'Europe/Bonn' is no name"),
        ({"timeZone": "europe/berlin"}, "timeZone 'europe/berlin' is no name"),
        ({"timeZone": "Europe"}, "timeZone 'Europe' is no name"),
        ({"timeZone": "Local"}, "timeZone 'Local' is no name"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_its_reason(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(s.ScheduleRejected, match=why):
        s.timetable(schedule(**fields))


@pytest.mark.parametrize(
    ("missed", "now", "run", "skipped"),
    [
        # What is on time is run whatever the rule.
        ({}, "08:03:01", ["08:03"], ("08:01", "08:02")),
        ({}, "08:01:00", ["08:01"], None),
        ({}, "08:00:59", [], None),
        ({"missedRuns": "Skip"}, "08:03:59", ["08:03"], ("08:01", "08:02")),
        ({"missedRuns": "Latest"}, "08:03:30", ["08:03"], ("08:01", "08:02")),
        ({"missedRuns": "All"}, "08:03:30", ["08:01", "08:02", "08:03"], None),
        ({"missedRuns": "All", "missedRunsLimit": 2}, "08:03:30", ["08:02", "08:03"], ("08:01", "08:01")),
        ({"missedRuns": "All"}, "08:20:00", [f"08:{m}" for m in range(11, 21)], ("08:01", "08:10")),
    ],
)
def test_what_is_made_of_runs_that_were_missed(
    missed: dict[str, Any], now: str, run: list[str], skipped: tuple[str, str] | None
) -> None:
    found = s.due(schedule("* * * * *", **missed), at("2027-06-01T08:00:00"), at(f"2027-06-01T{now}"))
    assert [tick.strftime("%H:%M") for tick in found.run] == run
    assert (found.missed and tuple(tick.strftime("%H:%M") for tick in found.missed)) == skipped


@pytest.mark.parametrize(
    ("missed", "late", "run", "skipped"),
    [
        ("Skip", 60, 1, False),
        ("Skip", 61, 0, True),
        ("Latest", 7200, 1, False),
        ("All", 7200, 1, False),
        (None, 61, 0, True),
    ],
)
def test_a_daily_run_that_is_late(missed: str | None, late: int, run: int, skipped: bool) -> None:
    now = at("2027-06-01T09:00") + timedelta(seconds=late)
    found = s.due(schedule(missedRuns=missed), at("2027-05-31T09:00"), now)
    assert (len(found.run), found.missed is not None) == (run, skipped)


def test_nothing_is_due_while_it_is_suspended() -> None:
    found = schedule("* * * * *", suspend=True, missedRuns="All")
    assert s.due(found, at("2027-06-01T08:00"), at("2027-06-01T09:00")) == s.Due(())
    assert s.schedule_status(found, at("2027-06-01T08:00"), None, at("2027-06-01T09:00")).next == []


def test_neither_an_edit_nor_a_resume_fires_the_past() -> None:
    then, now = at("2027-06-01T08:00"), at("2027-06-01T12:00")
    before = schedule("0 * * * *")
    status = s.schedule_status(before, then, None, then)
    assert s.since(before, status, now) == then
    assert s.since(schedule("0 * * * *", missedRuns="All"), status, now) == then  # no edit of what is due
    assert s.since(before, None, now) == now
    for edit in ({"cron": "1 * * * *"}, {"timeZone": BERLIN}, {"suspend": True}, {"excludeWeekdays": ["Mon"]},
                 {"startTime": "2027-01-01T00:00:00Z"}, {"endTime": "2028-01-01T00:00:00Z"}):  # fmt: skip
        edited = schedule(**{"cron": "0 * * * *", **edit})
        assert s.since(edited, status, now) == now
        assert s.since(before, s.schedule_status(edited, then, None, then), now) == now


def test_the_status_says_when_the_next_five_are_due_in_utc_and_in_the_zone() -> None:
    found = schedule("30 8 * * *", timeZone=BERLIN, excludeWeekdays=["Sat", "Sun"])
    status = s.schedule_status(found, at("2027-03-25T10:00"), "2027-03-25T07:30:00Z", at("2027-03-25T10:00"))
    assert status.dump() == {
        "expression": "30 8 * * *",
        "humanReadable": "At 08:30, not on Saturday and Sunday",
        "timeZone": BERLIN,
        "next": [f"2027-03-{day}T0{hour}:30:00Z" for day, hour in ((26, 7), (29, 6), (30, 6), (31, 6))]
        + ["2027-04-01T06:30:00Z"],
        "nextLocal": [
            "2027-03-26T08:30:00+01:00",
            "2027-03-29T08:30:00+02:00",
            "2027-03-30T08:30:00+02:00",
            "2027-03-31T08:30:00+02:00",
            "2027-04-01T08:30:00+02:00",
        ],
        "last": "2027-03-25T07:30:00Z",
        "since": "2027-03-25T10:00:00Z",
        "digest": s.digest(found),
    }


def test_a_run_is_named_after_its_minute_in_utc() -> None:
    tick = s.next_times(s.timetable(schedule(timeZone=BERLIN)), at("2027-06-01T00:00"))[0]
    assert s.run_name("report", tick) == "report-202706010700"
    assert len(s.run_name("r" * 253, tick)) == 63


times = st.datetimes(datetime.fromisoformat("2026-01-01"), datetime.fromisoformat("2028-01-01")).map(
    lambda found: found.replace(tzinfo=UTC)
)


@given(
    st.builds(schedule, st.sampled_from(CRONS), timeZone=st.sampled_from(ZONES), excludeWeekdays=st.sampled_from([[], ["Sun"]])),
    times,
    st.lists(st.timedeltas(timedelta(), timedelta(days=40)), min_size=2, max_size=2),
)  # fmt: skip
def test_a_span_has_the_ticks_of_its_parts_in_order_and_read_backwards_the_same(
    found: Schedule, start: datetime, spans: list[timedelta]
) -> None:
    of = s.timetable(found)
    middle, end = start + spans[0], start + spans[0] + spans[1]
    whole = list(s.ticks(of, start, end))
    assert whole == [*s.ticks(of, start, middle), *s.ticks(of, middle, end)]
    assert whole == sorted(set(whole))
    assert whole == list(s.ticks(of, start, end, back=True))[::-1]
    assert all(start < tick <= end and tick.second == 0 for tick in whole)


@given(
    st.sampled_from(CRONS),
    st.sampled_from(ZONES),
    times,
    st.lists(st.timedeltas(timedelta(seconds=1), timedelta(minutes=59)), min_size=1, max_size=40),
)
def test_whenever_the_operator_looks_each_tick_is_run_once(
    cron: str, zone: str, start: datetime, passes: list[timedelta]
) -> None:
    found = schedule(cron, timeZone=zone, missedRuns="All", missedRunsLimit=100)
    of, since, now, run = s.timetable(found), start, start, []
    for span in passes:
        now += span
        due = s.due(found, since, now)
        assert due.missed is None
        run += due.run
        since = now
    assert run == list(s.ticks(of, start, now))


@pytest.mark.parametrize("missed", ["Skip", "Latest", "All"])
@pytest.mark.parametrize("cron", ["* * * * *", "0 0 29 2 *"])
def test_a_long_outage_is_not_walked_minute_by_minute(cron: str, missed: str) -> None:
    found = schedule(cron, missedRuns=missed, timeZone=BERLIN)
    begin = perf_counter()
    due = s.due(found, at("2010-01-01T00:00"), at("2030-01-01T00:00:30"))
    spent = perf_counter() - begin
    assert len(due.run) == {"Skip": cron == "* * * * *", "Latest": 1, "All": 10 if cron == "* * * * *" else 5}[missed]
    assert spent < 0.5  # 20 years have ten million minutes
