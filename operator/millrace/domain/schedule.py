"""When the runs of a schedule are due: the only truth about it. The CronJob beside it is a clock that wakes us.

A tick is an instant, in UTC, at which a run is due. Where a zone changes its offset, fixed hours keep to the day: a local
time that is skipped is due right after the gap, one that comes twice only the first time. Hours that are `*` or `*/n` keep
to the time that elapses: one that is skipped is due as if the clock had not been put forward, one that comes twice is due
twice.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import NamedTuple
from zoneinfo import ZoneInfo

from millrace.api.schedule import Schedule, ScheduleStatus
from millrace.domain.clock import parse as parse_time
from millrace.domain.clock import render
from millrace.domain.cron import Cron, CronRejected, describe, walk
from millrace.domain.cron import parse as parse_cron
from millrace.domain.names import child_name

DEFAULT_ZONE = "Etc/UTC"
DEFAULT_LIMIT = 10  # of missed runs that are made
ON_TIME = timedelta(seconds=60)  # what is later is missed: a restart of the operator should cost no run
NEXT = 5
HORIZON = timedelta(days=366 * 40)  # 29 February on one day of the week
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEVER = datetime(9990, 1, 1, tzinfo=UTC)


class ScheduleRejected(ValueError):
    """There is no such schedule; the message says which field is wrong, and why."""


@dataclass(frozen=True)
class Timetable:
    """A schedule that can be: its expression, its zone, the weekdays (Monday is 0) that are left, and its bounds."""

    cron: Cron
    zone: ZoneInfo
    weekdays: frozenset[int]
    start: datetime
    end: datetime


class Due(NamedTuple):
    """Ticks that get a run, oldest first, and the first and the last of those that get none, if there are any."""

    run: tuple[datetime, ...]
    missed: tuple[datetime, datetime] | None = None

    @property
    def newest(self) -> datetime | None:
        """The last tick of all."""
        return max((*self.run, *(self.missed or ())), default=None)


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMES = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def timetable(schedule: Schedule) -> Timetable:
    """What the schedule says. Raises ScheduleRejected."""
    try:
        cron = parse_cron(schedule.cron)
    except CronRejected as error:
        raise ScheduleRejected(str(error)) from None
    name = schedule.time_zone or DEFAULT_ZONE
    try:
        zone = ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # not found, no name, a folder of the database
        raise ScheduleRejected(f"timeZone {name!r} is no name of the time zone database, such as Europe/Berlin") from None
    excluded = {_WEEKDAYS.index(day) for day in schedule.exclude_weekdays}
    found = Timetable(
        cron=cron,
        zone=zone,
        weekdays=frozenset(range(7)) - excluded,
        start=parse_time(schedule.start_time) if schedule.start_time else EPOCH,
        end=parse_time(schedule.end_time) if schedule.end_time else NEVER,
    )
    if next(_days(found, date(2000, 1, 1), date(2040, 12, 31)), None) is None:
        raise ScheduleRejected(f"cron {schedule.cron!r} never comes: excludeWeekdays leaves out all of its days")
    return found


def _days(of: Timetable, first: date, last: date, *, back: bool = False) -> Iterator[date]:
    """The schedule's days from the first to the last one, in either direction."""
    for day in walk(of.cron, last if back else first, back=back):
        if not first <= day <= last:
            return
        if day.weekday() in of.weekdays:
            yield day


def _offset(of: Timetable, moment: datetime) -> timedelta:
    return moment.astimezone(of.zone).utcoffset() or timedelta()


def _ticks_of(of: Timetable, day: date, since: datetime, until: datetime) -> list[datetime]:
    """The ticks of a local day that are after `since`, up to `until` and with it, in their order."""
    midnight = datetime.combine(day, time())
    opens, closes = (found.replace(tzinfo=of.zone) for found in (midnight, midnight + DAY))
    offsets = {found.replace(fold=fold).utcoffset() for found in (opens, closes) for fold in (0, 1)}
    if len(offsets) > 1:
        walls = (midnight + MINUTE * minutes for minutes in of.cron.times)
        return sorted({tick for wall in walls for tick in _around_a_change(of, wall) if since < tick <= until})
    begins = opens.astimezone(UTC)
    low, high = (bisect_right(of.cron.times, (bound - begins) / MINUTE) for bound in (since, until))
    return [begins + MINUTE * minutes for minutes in of.cron.times[low:high]]


def _around_a_change(of: Timetable, wall: datetime) -> list[datetime]:
    """The ticks of a local time on a day on which the zone's offset changes."""
    before, after = (wall.replace(tzinfo=of.zone, fold=fold).utcoffset() or timedelta() for fold in (0, 1))
    first, second = ((wall - offset).replace(tzinfo=UTC) for offset in (before, after))
    if of.cron.every_hour:
        # Of what falls into a gap the first is the time that has elapsed: 2:15 is the 3:15 of the new offset.
        return [first, second] if before >= after else [first]
    if before >= after:  # there it is, perhaps twice
        return [first]
    low, high = second, first  # the gap's end lies between
    while high - low > MINUTE:
        middle = low + (high - low) // 2
        low, high = (low, middle) if _offset(of, middle) == after else (middle, high)
    return [high.replace(second=0, microsecond=0)]


def ticks(of: Timetable, since: datetime, until: datetime, *, back: bool = False) -> Iterator[datetime]:
    """The ticks after `since`, up to `until` and with it, newest first with `back`; the schedule's own bounds are within."""
    since, until = max(since, of.start - timedelta(microseconds=1)), min(until, of.end)
    if since >= until:
        return
    # A day more on both sides: what falls into a gap of a whole day (Pacific/Apia, 2011) is due on the next one.
    first = (since.astimezone(of.zone) - DAY).date()
    last = (until.astimezone(of.zone) + DAY).date()
    latest = None
    for day in _days(of, first, last, back=back):
        for tick in sorted(_ticks_of(of, day, since, until), reverse=back):
            if tick != latest:
                latest = tick
                yield tick


def next_times(of: Timetable, now: datetime, count: int = NEXT) -> list[datetime]:
    """The next ticks, at most so many, and those of the next forty years."""
    return list(islice(ticks(of, max(now, of.start - MINUTE), min(max(now, of.start) + HORIZON, NEVER)), count))


def due(schedule: Schedule, since: datetime, now: datetime) -> Due:
    """What is due at `now`, where all up to `since` is settled. Raises ScheduleRejected."""
    of = timetable(schedule)
    if schedule.suspend:
        return Due(())
    limit = 1 if schedule.missed_runs != "All" else schedule.missed_runs_limit or DEFAULT_LIMIT
    newest = list(islice(ticks(of, since, now, back=True), limit + 1))
    run, older = newest[:limit], newest[limit:]
    if schedule.missed_runs in {None, "Skip"} and run and now - run[0] > ON_TIME:
        run, older = [], newest[:1]
    if not older:
        return Due(tuple(reversed(run)))
    return Due(tuple(reversed(run)), (next(ticks(of, since, now)), older[0]))


def digest(schedule: Schedule) -> str:
    """Of what makes the ticks. With another digest the past begins anew: neither an edit nor a resume fires it."""
    text = json.dumps(schedule.model_dump(exclude={"missed_runs", "missed_runs_limit"}, mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def since(schedule: Schedule, status: ScheduleStatus | None, now: datetime) -> datetime:
    """Until when all is settled: what the status says of this very schedule, else now."""
    return parse_time(status.since) if status and status.digest == digest(schedule) else now


def schedule_status(schedule: Schedule, settled: datetime, last: str | None, now: datetime) -> ScheduleStatus:
    """The status of a schedule that can be; `settled` is its watermark, `last` its latest tick that got a run."""
    of = timetable(schedule)
    coming = [] if schedule.suspend else next_times(of, now)
    return ScheduleStatus(
        expression=schedule.cron,
        human_readable=human_readable(of),
        time_zone=of.zone.key,
        next=[render(tick) for tick in coming],
        next_local=[tick.astimezone(of.zone).isoformat() for tick in coming],
        last=last,
        since=render(settled),
        digest=digest(schedule),
    )


def human_readable(of: Timetable) -> str:
    """Such as `Every 2 minutes`, with the days that are left out."""
    left_out = [name for number, name in enumerate(_NAMES) if number not in of.weekdays]
    return describe(of.cron) + (f", not on {' and '.join(left_out)}" if left_out else "")


def run_name(deployment: str, tick: datetime) -> str:
    """The JobRun of a tick, by its minute in UTC: one tick never has two."""
    return child_name(deployment, tick.astimezone(UTC).strftime("-%Y%m%d%H%M"))
