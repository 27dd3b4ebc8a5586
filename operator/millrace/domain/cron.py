"""Cron expressions: the grammar, which is what croniter and the CronJob controller both take and take alike.

The CronJob controller (robfig/cron v3) refuses 7 as Sunday, L, #, W and a field of seconds, which croniter takes; croniter
refuses @every, `?` in other fields than days and empty items of lists, which the controller takes. Days are walked by
croniter; hours and minutes are ours, since they depend on the time zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache

from cron_descriptor import Options, get_description
from croniter import croniter

from millrace.api.schedule import ALIASES, FIELDS, WEEKDAYS, CronField, field_pattern

EVERY = "*"


class CronRejected(ValueError):
    """The text is no expression that we take, or one that never comes; the message says why."""


@dataclass(frozen=True)
class Cron:
    """A parsed expression. `expression` has five fields; `dates` is what croniter walks, at midnight."""

    expression: str
    times: tuple[int, ...]  # minutes since midnight, in their order
    every_hour: bool  # hours that are `*` or `*/n`: what runs by elapsed time
    dates: str


@lru_cache(maxsize=1024)
def parse(text: str) -> Cron:
    """The expression that the text is. Raises CronRejected."""
    if text.startswith("@") and text not in ALIASES:
        raise CronRejected(f"cron {text!r}: one of {', '.join(ALIASES)} or five fields are expected")
    fields = ALIASES.get(text, text).split()
    if len(fields) != len(FIELDS):
        names = ", ".join(field.name for field in FIELDS)
        raise CronRejected(f"cron {text!r} has {len(fields)} fields; there are five: {names}")
    values = [_values(text, kind, written) for kind, written in zip(FIELDS, fields, strict=True)]
    minutes, hours, days, months, weekdays = values
    dates = " ".join(["0 0", *(",".join(map(str, found)) or EVERY for found in (days, months, weekdays))])
    found = Cron(
        expression=" ".join(fields),
        times=tuple(60 * hour + minute for hour in hours or range(24) for minute in minutes or range(60)),
        every_hour=fields[1].startswith(EVERY) or len(hours) == 24,
        dates=dates,
    )
    if next(walk(found, date(2000, 1, 1)), None) is None:
        raise CronRejected(f"cron {text!r} never comes: no such day is in any year")
    return found


def _values(text: str, kind: CronField, written: str) -> tuple[int, ...]:
    """The values of a field in their order; none where it is `*`: the controller takes `*/1` for the same."""
    if written in {EVERY, "*/1"} or (written == "?" and kind.question):
        return ()
    if not re.fullmatch(field_pattern(kind), written):
        names = f" or {kind.names[0]}-{kind.names[-1]}" if kind.names else ""
        sunday = "; Sunday is 0 or sun" if kind.names is WEEKDAYS and "7" in written else ""
        raise CronRejected(
            f"cron {text!r}: {kind.name} {written!r} is not *, */STEP or a list of values, ranges and ranges/STEP of "
            f"{kind.low}-{kind.high}{names}{sunday}"
        )
    found: set[int] = set()
    for item in written.split(","):
        span, _, step = item.partition("/")
        first, _, last = span.partition("-")
        low = kind.low if first == EVERY else _number(kind, first)
        high = kind.high if first == EVERY or (step and not last) else _number(kind, last or first)
        if low > high:
            raise CronRejected(f"cron {text!r}: {kind.name} {item!r} is a range that ends before it begins")
        found.update(range(low, high + 1, int(step or 1)))
    return tuple(sorted(found))


def _number(kind: CronField, text: str) -> int:
    return int(text) if text.isdecimal() else kind.low + kind.names.index(text.lower())


def walk(cron: Cron, start: date, *, back: bool = False) -> Iterator[date]:
    """The days of an expression from `start` on, or back, that day included; it ends where ten years have none."""
    midnight = datetime.combine(start, time())
    minute = timedelta(minutes=1)
    days = croniter(cron.dates, midnight + minute if back else midnight - minute, max_years_between_matches=10)
    yield from (found.date() for found in (days.all_prev(datetime) if back else days.all_next(datetime)))


def describe(cron: Cron) -> str:
    """The expression in words, such as `Every 2 minutes`."""
    options = Options(locale_code="en_US", use_24hour_time_format=True)
    return str(get_description(cron.expression.replace("?", EVERY), options))
