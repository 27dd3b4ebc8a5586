"""What goes: finished runs that we made, their logs and their artifacts. What a user applied is never among it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from millrace.api.base import delta
from millrace.api.retention import KeptRuns, Retention


class KnownRun(NamedTuple):
    """A run of the Deployment. `ours`: made and owned by it, not applied by a user; `finished` is None while it goes on."""

    name: str
    uid: str
    ours: bool
    failed: bool
    finished: datetime | None


class Stored(NamedTuple):
    """What a run left in a store, known by its address, perhaps without its run."""

    kind: Literal["logs", "artifact"]
    uri: str
    run: str  # UID
    ours: bool
    finished: datetime


class Gone(NamedTuple):
    """Runs (by UID) and things in stores that go now, and when the next one goes by its age, if one does."""

    runs: tuple[str, ...]
    stored: tuple[Stored, ...]
    next: datetime | None


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
    for thing in stored:
        rule_of_kind = retention.logs if thing.kind == "logs" else retention.artifacts
        if not thing.ours:
            continue
        if rule_of_kind is None:
            if thing.kind == "logs" and thing.run in gone:
                leaving.append(thing)
            continue
        end = thing.finished + delta(rule_of_kind.age)
        if end <= now:
            leaving.append(thing)
        else:
            ends.append(end)
    return Gone(tuple(gone), tuple(leaving), min(ends, default=None))


def _of_runs(rule: KeptRuns | None, runs: Iterable[KnownRun], now: datetime) -> tuple[list[str], list[datetime]]:
    """The UIDs of those that go, the latest first, and when others go by their age."""
    if rule is None:
        return [], []
    gone, ends = [], []
    latest_first = sorted(runs, key=lambda run: (run.finished or now, run.name), reverse=True)
    for place, run in enumerate(latest_first):
        end = (run.finished or now) + delta(rule.age) if rule.age else None
        if (rule.amount is not None and place >= rule.amount) or (end and end <= now):
            gone.append(run.uid)
        elif end:
            ends.append(end)
    return gone, ends
