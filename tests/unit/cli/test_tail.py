"""Log streams that break off and go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import pytest

from millrace.cli.cluster import Cluster
from millrace.cli.screen import _CONTROL, _LOG_CONTROL
from millrace.cli.tail import Tail
from millrace.kube.api import ApiError

STAMPED = [b"2026-11-21T10:00:0%d.%d5Z line %d" % (n // 3, n % 3, n) for n in range(6)]


def pod(**state: Any) -> dict[str, Any]:
    statuses = [{"name": "main", "state": state}] if state else []
    return {
        "metadata": {"name": "p", "creationTimestamp": "2026-11-21T10:00:00Z"},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }


RUNNING = pod(running={"startedAt": "2026-11-21T10:00:00Z"})
OVER = pod(terminated={"startedAt": "x", "finishedAt": "y", "exitCode": 0})


class FakeCluster:
    """Answers from lists: the pods of each look, the lines (or the error) of each connection."""

    def __init__(self, pods: list[list[dict[str, Any]]], streams: list[list[bytes | ApiError]]) -> None:
        self.pods, self.streams, self.queries = pods, streams, list[Mapping[str, str]]()

    async def select(self, *_: object) -> list[dict[str, Any]]:
        return self.pods.pop(0) if len(self.pods) > 1 else self.pods[0]

    async def lines(self, _path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        self.queries.append(query)
        for line in self.streams.pop(0):
            if isinstance(line, ApiError):
                raise line
            yield line


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millrace.cli.tail.POLL_SECONDS", 0.001)


async def read(cluster: FakeCluster, *, over: bool = False) -> list[bytes]:
    tail = Tail(cast("Cluster", cluster), "ns", "job", "main")
    if over:
        tail.over.set()
    return [line async for line in tail.lines()]


LINES = [b"line %d" % n for n in range(6)]
BREAK = ApiError(0, "ClientPayloadError", "")


async def test_a_stream_is_read_to_its_end_once_the_container_runs() -> None:
    assert await read(FakeCluster([[], [pod()], [RUNNING], [OVER]], [[*STAMPED]])) == LINES


async def test_after_a_break_no_line_is_lost_or_shown_twice() -> None:
    # The server goes back to the second of the last line, and repeats what was written in it.
    cluster = FakeCluster([[RUNNING], [OVER]], [[*STAMPED[:5], BREAK], [*STAMPED[3:]]])
    assert await read(cluster) == LINES
    assert [query.get("sinceTime") for query in cluster.queries] == [None, "2026-11-21T10:00:01Z"]


async def test_an_end_while_the_container_runs_is_no_end() -> None:
    cluster = FakeCluster([[RUNNING], [RUNNING], [OVER]], [[*STAMPED[:2]], [*STAMPED]])
    assert await read(cluster) == LINES


async def test_a_container_that_never_starts_ends_the_wait() -> None:
    assert await read(FakeCluster([[pod()]], []), over=True) == []
    assert await read(FakeCluster([[]], []), over=True) == []


async def test_a_pod_that_goes_ends_the_stream() -> None:
    assert await read(FakeCluster([[RUNNING]], [[ApiError(404, "NotFound", "pods p not found")]])) == []


async def test_a_refusal_is_raised() -> None:
    with pytest.raises(ApiError):
        await read(FakeCluster([[RUNNING]], [[ApiError(403, "Forbidden", "no")]]))


@pytest.mark.parametrize(
    ("text", "log", "other"),
    [
        ("\x1b[31mred\x1b[0m\ta", "\x1b[31mred\x1b[0m\ta", "red\ta"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b[2Jx\x1b[1;1H", "x", "x"),
        ("\x1bcx\x07\x9b2J", "cx2J", "cx2J"),
    ],
)
def test_texts_of_others_cannot_command_the_terminal(text: str, log: str, other: str) -> None:
    assert _LOG_CONTROL.sub("", text) == log
    assert _CONTROL.sub("", text) == other
