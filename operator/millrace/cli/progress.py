"""What a person reads about a run, from its statuses: pure; elapsed times are passed in."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from millrace.api.jobrun import JobRun, Phase
from millrace.cli.errors import CANCELLED, FAILED, OK
from millrace.domain.clock import human, parse
from millrace.domain.conditions import find

TIMES_UNKNOWN = "-"


class Line(NamedTuple):
    """One line, and how it is meant: plain, good, bad, warn or dim."""

    text: str
    tone: str = "plain"


def exit_code(phase: Phase | None) -> int:
    """The command's exit code for a run that is over."""
    match phase:
        case Phase.SUCCEEDED:
            return OK
        case Phase.CANCELLED:
            return CANCELLED
        case _:
            return FAILED


def finished(run: JobRun) -> bool:
    """Whether nothing follows: the whole result is in the status."""
    return run.status.phase is not None and run.status.phase.terminal


def size(count: int | None) -> str:
    """Bytes for people: 312 B, 4.2 kB, 1.3 GB."""
    if count is None:
        return TIMES_UNKNOWN
    value, unit = float(count), "B"
    for following in ("kB", "MB", "GB", "TB", "PB"):
        if value < 999.5:
            break
        value, unit = value / 1000, following
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.1f} {unit}"


def files(count: int | None) -> str:
    """1 file, 3 files."""
    return f"{count} file" + ("" if count == 1 else "s")


def clock(elapsed: float) -> str:
    """Elapsed seconds, right-aligned: `    4s`, ` 1m20s`."""
    return f"{human(timedelta(seconds=elapsed)):>6}"


def headline(run: JobRun) -> str:
    """Where a run is, and why: `Blocked: DataStoreNotReady: DataStore heart: AccessDenied`."""
    status = run.status
    phase = (status.phase or Phase.PENDING).value
    if finished(run):  # the summary says more
        return f"{phase}: {status.failure.reason}" if status.failure and status.failure.reason != phase else phase
    why = find(status.conditions, "Reconciling")
    reason = status.reason or (why.reason if why else "")
    message = why.message if why and why.reason == reason else ""
    return ": ".join(part for part in (phase, reason if reason != phase else "", message) if part)


class Narrator:
    """Turns the statuses of one run, in order, into lines: one for each change that a person cares about."""

    def __init__(self) -> None:
        self._said = ""
        self._attempt = 1

    def feed(self, run: JobRun, elapsed: float) -> list[Line]:
        """The lines that this status adds; none where it says nothing new."""
        elapsed = _lasted(run, elapsed)
        found = []
        attempt = run.status.attempt or 1
        if attempt > self._attempt and not finished(run):
            found.append(Line(f"{clock(elapsed)}  Attempt {attempt}", "warn"))
        self._attempt = max(attempt, self._attempt)
        text = headline(run)
        if text != self._said or found:
            found.append(Line(f"{clock(elapsed)}  {text}", _tone(run)))
        self._said = text
        return found


def _lasted(run: JobRun, elapsed: float) -> float:
    """How long a run that is over took, whenever somebody looks; else the time that has passed."""
    times = run.status.times
    if not finished(run) or times is None or times.finished is None:
        return elapsed
    return (parse(times.finished) - parse(run.metadata.creation_timestamp)).total_seconds()


def _tone(run: JobRun) -> str:
    match run.status.phase:
        case Phase.SUCCEEDED:
            return "good"
        case Phase.FAILED:
            return "bad"
        case Phase.BLOCKED | Phase.CANCELLED:
            return "warn"
        case _:
            return "plain"


def summary(run: JobRun, *, with_log: bool) -> list[Line]:
    """What a person wants to know of a run that is over. `with_log`: show the end of its log (it was not shown yet)."""
    found = result(run, with_log=with_log)
    if run.status.outputs:
        found.append(Line(f"next     millrace download {run.metadata.name} -n {run.metadata.namespace}", "dim"))
    return found


def checksums(run: JobRun) -> list[Line]:
    """SHA-256 and content digest of each output."""
    rows = [(o.name, f"{o.sha256}", f"{o.content_digest}") for o in run.status.outputs]
    return [
        Line(f"{title if not number else '':<7}  {row[0]}  {row[column]}", "dim")
        for column, title in ((1, "sha256"), (2, "digest"))
        for number, row in enumerate(rows)
    ]


def result(run: JobRun, *, with_log: bool) -> list[Line]:
    """What became of a run that is over."""
    status = run.status
    found: list[Line] = []
    found += _failure(run, with_log=with_log)
    found += _table([(o.name, o.uri or TIMES_UNKNOWN, size(o.bytes), files(o.files)) for o in status.outputs], "outputs")
    found += [Line(f"warning: {warning}", "warn") for warning in status.warnings]
    if times := _durations(run):
        found.append(Line(f"times    {times}", "dim"))
    if status.logs:
        found.append(Line(f"logs     {status.logs}", "dim"))
    return found


def _failure(run: JobRun, *, with_log: bool) -> list[Line]:
    failure = run.status.failure
    if failure is None:
        return []
    where = [f"container {failure.container}"] if failure.container else []
    where += [f"exit code {failure.exit_code}"] if failure.exit_code is not None else []
    title = "ended" if run.status.phase is Phase.CANCELLED else "failure"
    found = [Line(f"{title:<7}  {failure.reason}" + (f" ({', '.join(where)})" if where else ""), "bad")]
    found += [Line(f"         {line}", "bad") for line in failure.message.splitlines()]
    if with_log and failure.log_tail:
        found.append(Line("log      the last lines:", "dim"))
        found += [Line(f"         {line}") for line in failure.log_tail.splitlines()]
    return found


def _table(rows: list[tuple[str, ...]], title: str) -> list[Line]:
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [Line(f"{title if not index else '':<7}  {line}", "good") for index, line in enumerate(lines)]


def _durations(run: JobRun) -> str:
    times = run.status.times
    if times is None:
        return ""
    created = run.metadata.creation_timestamp
    steps = [
        ("waiting", created, times.admitted),
        ("staging", times.admitted, times.staged),
        ("running", times.started, times.exited),
        ("uploading", times.exited, times.uploaded),
        ("in all", created, times.finished),
    ]
    shown = [(name, parse(end) - parse(begin)) for name, begin, end in steps if begin and end]
    return ", ".join(
        f"{name} {human(span)}" for name, span in shown if span.total_seconds() >= 1 or name in {"running", "in all"}
    )
