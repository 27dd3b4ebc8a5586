"""A file or a folder of a store, brought to this machine: directly, or where it is out of reach through a run's pod."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from millrace.api.datastore import DataStore
from millrace.cli.cluster import Cluster
from millrace.cli.errors import Refused
from millrace.cli.progress import Line
from millrace.cli.reach import interruptible, reached, seconds_for
from millrace.cli.screen import Screen


@dataclass(frozen=True)
class Source:
    """What is to be fetched: its name for people, its place below the store's prefix, its size where that is known.

    `account`: ServiceAccount of a run that has to fetch it.
    """

    name: str
    store: DataStore
    path: str
    type: str  # uri_file or uri_folder
    bytes: int | None
    account: str | None = None


@dataclass(frozen=True)
class Fetched:
    """What has come; `sha256` is the file's, or of a folder the digest of data/digest.py."""

    bytes: int
    files: int
    sha256: str


async def fetch(cluster: Cluster, screen: Screen, source: Source, target: Path) -> Fetched:
    """Fetches into the folder `target`, which is made; its parent is a workshop that may go at any time."""
    from millrace.data.download import stage_input

    workshop = target.parent
    async with AsyncExitStack() as stack:
        store = await reached(cluster, stack, source.store, workshop, source.path)
        if isinstance(store, Refused):
            from millrace.cli.relay import receive

            screen.say(Line(f"{store.message}: through a run's pod", "dim"))
            return await receive(cluster, screen, source, target)
        item = {"type": source.type, "key": source.path, "path": str(target)}
        deadline = time.monotonic() + seconds_for(source.bytes)
        with screen.transfer(source.name, source.bytes) as progress:
            work = partial(stage_input, store, item, deadline=deadline, progress=progress)
            staged = await interruptible(work, workshop)
    return Fetched(staged.bytes, staged.files, staged.sha256)
