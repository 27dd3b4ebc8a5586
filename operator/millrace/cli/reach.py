"""Whether a store is within this machine's reach; transfers in threads, which cannot be stopped."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from millrace.api.datastore import DataStore
from millrace.cli.cluster import Cluster
from millrace.cli.errors import INTERRUPTED, Refused
from millrace.cli.stores import opened
from millrace.data.errors import DataError

if TYPE_CHECKING:
    from millrace.data.stores import Store

ANSWER_SECONDS = 15.0  # for the first answer of a store
TRANSFER_SECONDS = 600.0  # for a transfer, and a second more for each SLOWEST bytes
SLOWEST = 100_000
T = TypeVar("T")


async def reached(cluster: Cluster, stack: AsyncExitStack, store: DataStore, workshop: Path, path: str) -> Store | Refused:
    """The store, which has answered about that path, or why it is not within reach.

    It may be no object store, its keys may not be read or are a run's alone, or there is no way to its endpoint. The stack
    closes it. Raises what else the store says.
    """
    try:
        found = await stack.enter_async_context(opened(cluster, store, workshop))
        look = partial(found.list, found.full_key(path), deadline=time.monotonic() + ANSWER_SECONDS, limit=1)
        await interruptible(lambda: next(look(), None), workshop)
    except Refused as why:
        return why
    except DataError as error:
        if error.reason not in {"Unreachable", "Timeout"}:
            raise
        return Refused(f"DataStore {store.metadata.name}: {error}")
    return found


async def interruptible(work: Callable[[], T], workshop: Path) -> T:
    """Waits for work in a thread. Ctrl-C ends the process there and then: threads of a transfer cannot be stopped."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        shutil.rmtree(workshop, ignore_errors=True)
        os._exit(INTERRUPTED)


def seconds_for(size: int | None) -> float:
    """How long a transfer of so many bytes may take."""
    return TRANSFER_SECONDS + (size or 0) / SLOWEST
