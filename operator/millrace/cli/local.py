"""`millrace run --local`: what a file holds is run on this machine, one JobRun after the other."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from millrace.api.jobrun import JobRun, Phase
from millrace.cli.documents import Object, in_namespace, is_run
from millrace.cli.errors import FAILED, OK, TIMEOUT, Refused
from millrace.cli.progress import Line, Narrator, checksums, exit_code, headline, result
from millrace.cli.screen import Screen
from millrace.local.catalog import Catalog, Invalid, read_catalog
from millrace.local.run import LocalRun

NAMESPACE = "default"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Wanted:
    """What is to be run, and the folders that stand for stores. `limit`: seconds."""

    manifests: list[Object]
    source: str
    warnings: list[str]
    folders: dict[str, Path]
    namespace: str | None
    limit: float | None


def run_here(wanted: Wanted) -> int:
    """Runs all JobRuns; the first exit code that is not 0."""
    screen = Screen()
    try:
        catalog = _catalog(wanted)
    except Refused as error:
        screen.refuse(error)
        return error.code
    warnings = [*wanted.warnings, *(f"{what} has no part in a local run" for what in catalog.unused)]
    screen.say([Line(f"warning: {warning}", "warn") for warning in warnings])
    return asyncio.run(_run_all(catalog, screen, wanted.limit))


async def run_quietly(manifests: list[Object], folders: dict[str, Path]) -> JobRun:
    """Runs the JobRun that is among the manifests; nobody is told how it goes."""
    catalog = _catalog(Wanted(manifests, "local_execution", [], folders, None, None))
    return await LocalRun(catalog.runs[0], catalog, Unheard()).execute()


class Unheard:
    """A listener that listens to nothing."""

    def log(self, line: bytes) -> None:
        """See Listener."""

    def changed(self, run: JobRun) -> None:
        """See Listener."""

    def detail(self, text: str) -> None:
        """See Listener."""

    def warn(self, text: str) -> None:
        """See Listener."""


def _catalog(wanted: Wanted) -> Catalog:
    if not any(map(is_run, wanted.manifests)):
        raise Refused(f"{wanted.source}: no JobRun in it, so nothing would run")
    placed = [in_namespace(manifest, wanted.namespace or NAMESPACE, wanted.namespace) for manifest in wanted.manifests]
    try:
        return read_catalog(placed, wanted.folders, now=datetime.now(UTC), new_id=lambda: str(uuid.uuid4()))
    except Invalid as error:
        raise Refused(f"{wanted.source}: {error}") from None


async def _run_all(catalog: Catalog, screen: Screen, limit: float | None) -> int:
    code = OK
    for run in catalog.runs:
        screen.say(Line(f"JobRun {run.metadata.name} on this machine"))
        done = await Session(run, catalog, screen).to_end(limit)
        code = code or done
        if done not in {OK, FAILED}:
            break  # Ctrl-C and --timeout are for all
    return code


class Session:
    """One local run on the screen, with Ctrl-C."""

    def __init__(self, run: JobRun, catalog: Catalog, screen: Screen) -> None:
        self._screen, self._narrator, self._began = screen, Narrator(), time.monotonic()
        self._run = LocalRun(run, catalog, self)
        self._headline, self._stops, self._late = "", 0, False

    async def to_end(self, limit: float | None) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._stop)
        timer = None if limit is None else loop.call_later(limit, self._time_is_over)
        try:
            with self._screen.live(self._began):
                run = await self._run.execute()
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)
            if timer is not None:
                timer.cancel()
        self._screen.say([*result(run, with_log=False), *checksums(run)])
        return TIMEOUT if self._late and run.status.phase is Phase.CANCELLED else exit_code(run.status.phase)

    def _stop(self) -> None:
        self._stops += 1
        if self._stops > 1:
            self._run.kill()
            return
        note = "being cancelled: user code has 15 seconds, then outputs and logs go; again ends all at once"
        self._screen.say(Line(note, "warn"))
        self._run.cancel("it was stopped on this machine")

    def _time_is_over(self) -> None:
        self._late = True
        self._run.cancel("--timeout is over")

    def log(self, line: bytes) -> None:
        """See Listener."""
        self._screen.log(line)

    def changed(self, run: JobRun) -> None:
        """See Listener."""
        self._headline = headline(run)
        self._screen.say(self._narrator.feed(run, time.monotonic() - self._began))
        self._screen.set_live(self._headline)

    def detail(self, text: str) -> None:
        """See Listener."""
        self._screen.set_live(f"{self._headline}: {text}")

    def warn(self, text: str) -> None:
        """See Listener."""
        self._screen.say(Line(f"warning: {text}", "warn"))
