"""Following a run to its end: statuses by a watch, log lines by a stream, and what a person sees of both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from millrace.api.jobrun import JobRun, Phase
from millrace.cli.cluster import Cluster
from millrace.cli.errors import TIMEOUT, Refused
from millrace.cli.explain import explain
from millrace.cli.lookup import existing
from millrace.cli.progress import Line, Narrator, finished, headline, summary
from millrace.cli.screen import Screen
from millrace.cli.tail import Tail
from millrace.domain.clock import parse
from millrace.kube.api import ApiError
from millrace.kube.resources import JOBRUN

POLL_SECONDS = 1.0
NOBODY_SECONDS = 15.0  # an operator that works takes a run in less than one
DRAIN_SECONDS = 5.0  # what the last log lines may take once the run is over
MAIN_OVER = {Phase.UPLOADING, Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


async def read_run(cluster: Cluster, name: str) -> JobRun:
    """The run. Refused where there is none, with the name that was probably meant."""
    return JobRun.model_validate(await existing(cluster, JOBRUN, name))


class Follower:
    """Follows one run and tells the screen."""

    def __init__(self, cluster: Cluster, screen: Screen, run: JobRun, *, logs: bool) -> None:
        self._cluster, self._screen, self._run, self._logs = cluster, screen, run, logs
        self._narrator = Narrator()
        self._job: str | None = None
        self._tail: tuple[Tail, asyncio.Task[None]] | None = None
        self._shown = 0
        age = (datetime.now(UTC) - parse(run.metadata.creation_timestamp)).total_seconds()
        self._began = time.monotonic() - max(0.0, age)  # clocks differ: never before now

    async def to_end(self, limit: float | None) -> JobRun:
        """Returns the run once it is over. Refused with exit code 124 after `limit` seconds: the run goes on."""
        with self._screen.live(self._began):
            try:
                async with asyncio.timeout(limit), self._reminder():
                    async for run in self._changes():
                        self._run = run
                        await self._show()
                        if finished(run):
                            break
            except TimeoutError:
                raise self._late(limit or 0) from None
            finally:
                await self._close_tail(0)
        self._screen.say(summary(self._run, with_log=not self._shown))
        return self._run

    @asynccontextmanager
    async def _reminder(self) -> AsyncIterator[None]:
        """Says after a while that nobody has taken the run."""
        handle = asyncio.get_running_loop().call_later(NOBODY_SECONDS, self._remind)
        try:
            yield
        finally:
            handle.cancel()

    def _remind(self) -> None:
        if self._run.status.phase is None:
            where = "kubectl get pods -A -l app.kubernetes.io/name=millrace,app.kubernetes.io/component=operator"
            self._screen.say(Line(f"nothing has taken the run yet; does millrace's operator run? {where}", "warn"))

    def _late(self, limit: float) -> Refused:
        name = self._run.metadata.name
        return Refused(
            f"JobRun {name} is not over after {limit:.0f} seconds: {headline(self._run)}",
            *goes_on(self._run),
            code=TIMEOUT,
        )

    async def _show(self) -> None:
        run = self._run
        job = run.status.job_name
        if job != self._job:
            await self._close_tail(DRAIN_SECONDS)
            if self._logs and job:
                self._open_tail(job)
            self._job = job
        if run.status.phase in MAIN_OVER:  # its lines come before ours
            await self._close_tail(DRAIN_SECONDS)
        self._screen.say(self._narrator.feed(run, time.monotonic() - self._began))
        self._screen.set_live(headline(run))

    def _open_tail(self, job: str) -> None:
        tail = Tail(self._cluster, self._run.metadata.namespace, job, "main")
        self._tail = (tail, asyncio.create_task(self._copy(tail)))

    async def _copy(self, tail: Tail) -> None:
        try:
            async for line in tail.lines():
                self._screen.log(line)
                self._shown += 1
        except ApiError as error:
            self._screen.say(Line(f"no log lines: {explain(error, 'read the log').message}", "warn"))

    async def _close_tail(self, seconds: float) -> None:
        if self._tail is None:
            return
        tail, task = self._tail
        tail.over.set()
        await asyncio.wait({task}, timeout=seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._tail = None

    async def _changes(self) -> AsyncIterator[JobRun]:
        """The run's states until it is over, whatever breaks the connection meanwhile."""
        meta = self._run.metadata
        silent = False
        while True:
            try:
                found = await self._cluster.get(JOBRUN, meta.namespace, meta.name)
                if found is None or found["metadata"]["uid"] != meta.uid:
                    raise Refused(f"JobRun {meta.name} was deleted")
                silent = False
                yield JobRun.model_validate(found)
                async for kind, changed in self._cluster.watch(
                    JOBRUN, meta.namespace, meta.name, found["metadata"]["resourceVersion"]
                ):
                    if kind not in {"ADDED", "MODIFIED"}:
                        break  # deleted, or the resource version is too old: look again
                    yield JobRun.model_validate(changed)
            except ApiError as error:
                if not error.transient and error.status not in {403, 410}:
                    raise explain(error, f"follow JobRun {meta.name}") from None
                if error.transient and not silent:
                    self._screen.say(
                        Line(f"the cluster does not answer ({error.message or error.reason}); trying again", "warn")
                    )
                    silent = True
            await asyncio.sleep(POLL_SECONDS)


def goes_on(run: JobRun) -> list[str]:
    """What to do about a run that nobody follows any more."""
    name, place = run.metadata.name, f"-n {run.metadata.namespace}"
    return [
        "the run goes on",
        f"follow it:  millrace wait {name} {place}",
        f"end it:     millrace cancel {name} {place}",
    ]
