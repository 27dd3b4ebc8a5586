"""Commands for a program that calls us: nothing is shown, what there is to say is returned or raised."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from rich.console import Console

from millrace.cli.cluster import Cluster, connected
from millrace.cli.explain import explain
from millrace.cli.screen import Screen
from millrace.kube.api import ApiError

T = TypeVar("T")


class Quiet(Screen):
    """Nobody watches; log lines are kept."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(quiet=True)
        self._lines: list[bytes] = []

    @property
    def text(self) -> str:
        """The log lines."""
        return b"".join(line + b"\n" for line in self._lines).decode(errors="replace")

    def log(self, line: bytes) -> None:
        """See Screen."""
        self._lines.append(line)


def call(work: Callable[[Cluster], Awaitable[T]], namespace: str | None) -> T:
    """What `work` returns, on the kubeconfig's cluster. Raises Refused."""

    async def connect() -> T:
        async with connected(namespace) as cluster:
            return await answered(work(cluster), "go on")

    return _finished(connect())


async def answered(answer: Awaitable[T], what: str) -> T:
    """The answer; where the API server refuses it, Refused says what could not be done, and why."""
    try:
        return await answer
    except ApiError as error:
        raise explain(error, what) from None


def _finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result; also in a notebook, whose thread has an event loop that runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()
