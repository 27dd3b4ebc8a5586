"""What goes: finished runs that we made, their logs and their artifacts. What a user applied is never among it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from millrace.api.base import delta
from millrace.api.retention import KeptRuns, Retention

Kind = Literal["logs", "artifacts"]


class KnownRun(NamedTuple):
    """A run of the Deployment. `ours`: made and owned by it, not applied by a user; `finished` is None while it goes on."""

    name: str
    uid: str
    ours: bool
    failed: bool
    finished: datetime | None


class Stored(NamedTuple):
    """What a run left in a store, known by its address, perhaps without its run."""

    kind: Kind
    uri: str
    run: str  # UID
    ours: bool
    finished: datetime
    store: str = ""  # the DataStore
    path: str = ""  # below its prefix


class Gone(NamedTuple):
    """Runs (by UID) and things in stores that go now, and when the next one goes by its age, if one does.

    `later`: what is left of the runs that go, and has an age of its own that is not over.
    """

    runs: tuple[str, ...]
    stored: tuple[Stored, ...]
    next: datetime | None
    later: tuple[Stored, ...] = ()


def select(retention: Retention, runs: Sequence[KnownRun], stored: Sequence[Stored], now: datetime) -> Gone:
    """What goes at `now`. Ages count from the end of a run; of equal ends the name decides, whatever the order."""
    ended = [run for run in runs if run.ours and run.finished is not None]
    if retention.failed_runs is None:
        chosen = [(retention.runs, ended)]
    else:
        chosen = [
            (retention.runs, [run for run in ended if not run.failed]),
            (retention.failed_runs, [run for run in ended if run.failed]),
        ]
    gone: list[str] = []
    ends: list[datetime] = []
    for rule, candidates in chosen:
        old, later = _of_runs(rule, candidates, now)
        gone += old
        ends += later
    leaving: list[Stored] = []
    outliving: list[Stored] = []
    without_runs = frozenset(gone)
    ages: dict[Kind, timedelta | None] = {"logs": age(retention, "logs"), "artifacts": age(retention, "artifacts")}
    for thing in stored:
        if not thing.ours:
            continue
        span = ages[thing.kind]
        if span is None:
            if thing.kind == "logs" and thing.run in without_runs:
                leaving.append(thing)
        elif thing.finished + span <= now:
            leaving.append(thing)
        else:
            ends.append(thing.finished + span)
            if thing.run in without_runs:
                outliving.append(thing)
    return Gone(tuple(gone), tuple(leaving), min(ends, default=None), tuple(outliving))


def age(retention: Retention | None, kind: Kind) -> timedelta | None:
    """The age at which what runs have left goes by itself; None: it has none."""
    rule = retention and (retention.logs if kind == "logs" else retention.artifacts)
    return delta(rule.age) if rule else None


def latest(stored: Iterable[Stored]) -> list[Stored]:
    """Without what a later run has written over: only the last one that ended has left what lies there now."""
    last: dict[str, Stored] = {}
    for thing in stored:
        before = last.get(thing.uri)
        if before is None or before.finished <= thing.finished:
            last[thing.uri] = thing
    return list(last.values())


def _of_runs(rule: KeptRuns | None, runs: Iterable[KnownRun], now: datetime) -> tuple[list[str], list[datetime]]:
    """The UIDs of those that go, the latest first, and when others go by their age."""
    if rule is None:
        return [], []
    gone, ends = [], []
    span = delta(rule.age) if rule.age else None
    latest_first = sorted(runs, key=lambda run: (run.finished or now, run.name), reverse=True)
    for place, run in enumerate(latest_first):
        end = (run.finished or now) + span if span is not None else None
        if (rule.amount is not None and place >= rule.amount) or (end and end <= now):
            gone.append(run.uid)
        elif end:
            ends.append(end)
    return gone, ends
