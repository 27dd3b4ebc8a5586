"""Log lines of one container of one attempt, from the API server, as they come."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from millrace.cli.cluster import PODS, Cluster
from millrace.kube.api import ApiError, Object
from millrace.observe.pod import PodFacts, read_pod

JOB_LABEL = "batch.kubernetes.io/job-name"  # set by the Job controller
POLL_SECONDS = 0.5
BREAKS = 60  # connections in a row that brought nothing
_STAMP = re.compile(rb"^(\d{4}-\d\d-\d\dT\S+Z) ?")


async def newest_pod(cluster: Cluster, namespace: str, job: str) -> PodFacts | None:
    """The pod of a Job, or None."""
    found = await cluster.select(PODS, namespace, {JOB_LABEL: job})
    newest: Object | None = max(found, key=lambda pod: str(pod["metadata"]["creationTimestamp"]), default=None)
    return read_pod(newest) if newest else None


class Tail:
    """Follows one container. `over` tells it that nothing starts any more: it then reads what is there and ends."""

    def __init__(self, cluster: Cluster, namespace: str, job: str, container: str, *, tail_lines: int | None = None) -> None:
        self._cluster, self._namespace, self._job, self._container = cluster, namespace, job, container
        self._first = {"tailLines": str(tail_lines)} if tail_lines is not None else {}
        self.over = asyncio.Event()
        self.pod_seen = False

    async def lines(self) -> AsyncIterator[bytes]:
        """The container's lines until it has ended, whatever breaks the connection meanwhile. Raises ApiError that lasts."""
        pod = await self._started()
        if pod is None:
            return
        last, breaks = b"", 0
        while True:
            try:
                async for moment, text in self._stream(pod, last):
                    last, breaks = moment, 0
                    yield text
                broken = False
            except ApiError as error:
                if error.status == 404:
                    return
                breaks += 1
                if not error.transient or breaks > BREAKS:
                    raise
                broken = True
            if not broken and not await self._goes_on(pod):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _stream(self, pod: str, last: bytes) -> AsyncIterator[tuple[bytes, bytes]]:
        """Lines with their times. After a break the server repeats the second in which the last line was written."""
        async for line in self._cluster.lines(PODS.path(self._namespace, pod, "log"), self._query(last)):
            stamp = _STAMP.match(line)
            moment = stamp[1] if stamp else last
            if not last or not stamp or _later(moment, last):
                yield moment, line[stamp.end() :] if stamp else line

    def _query(self, last: bytes) -> dict[str, str]:
        query = {"container": self._container, "follow": "true", "timestamps": "true"}
        if not last:
            return query | self._first
        return query | {"sinceTime": last.decode()[:19] + "Z"}

    async def _started(self) -> str | None:
        """Name of the pod once the container has started; None where it never does."""
        while True:
            last_look = self.over.is_set()
            pod = await self._look()
            if pod is not None:
                self.pod_seen = True
                if pod.container(self._container).started:
                    return pod.name
            if last_look:
                return None
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self.over.wait()
            except TimeoutError:
                continue

    async def _look(self) -> PodFacts | None:
        try:
            return await newest_pod(self._cluster, self._namespace, self._job)
        except ApiError as error:
            if not error.transient:
                raise
            return None

    async def _goes_on(self, pod: str) -> bool:
        """Whether the container may write more: it runs, or we cannot tell at the moment."""
        try:
            found = await newest_pod(self._cluster, self._namespace, self._job)
        except ApiError as error:
            return error.transient and not self.over.is_set()
        return found is not None and found.name == pod and not found.container(self._container).over


def _later(moment: bytes, last: bytes) -> bool:
    """Whether a line's time is after the last one that was shown. Fractions have up to nine digits, zeros cut."""
    return _key(moment) > _key(last)


def _key(moment: bytes) -> tuple[bytes, bytes]:
    second, _, fraction = moment.rstrip(b"Z").partition(b".")
    return second, fraction.ljust(9, b"0")
