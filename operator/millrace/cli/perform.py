"""From a command to the process's end: connection, exit code, what Ctrl-C says. Imports what each start needs only."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn

import typer

from millrace.cli.errors import FAILED, INTERRUPTED, Refused

if TYPE_CHECKING:
    from millrace.cli.cluster import Cluster
    from millrace.cli.screen import Screen


def perform(
    command: Callable[[Cluster, Screen], Awaitable[int]],
    *,
    namespace: str | None,
    context: str | None,
    interrupted: Callable[[], Refused] | None = None,
) -> NoReturn:
    """Connects, runs the command, turns its end into an exit code. Never a traceback for what a person can change."""
    import asyncio

    from millrace.cli.cluster import connected
    from millrace.cli.explain import explain
    from millrace.cli.screen import Screen
    from millrace.kube.api import ApiError

    screen = Screen()

    async def work() -> int:
        async with connected(namespace, context) as cluster:
            try:
                return await command(cluster, screen)
            except ApiError as error:
                raise explain(error, "go on") from None

    try:
        code = asyncio.run(work())
    except Refused as error:
        screen.refuse(error)
        code = error.code
    except KeyboardInterrupt:
        code = INTERRUPTED
        if interrupted is not None:
            screen.interrupted(interrupted())
    except BrokenPipeError:  # `millrace logs RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = FAILED
    raise typer.Exit(code)


def refuse(error: Refused) -> NoReturn:
    """Says why the command does nothing, and ends it."""
    from millrace.cli.screen import Screen

    Screen().refuse(error)
    raise typer.Exit(error.code)


def limit_of(option: str, text: str | None) -> float | None:
    """Seconds of an option that is a duration."""
    from millrace.cli.arguments import duration

    return None if text is None else duration(option, text)
