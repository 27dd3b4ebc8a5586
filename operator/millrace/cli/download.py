"""`millrace download`: a run's outputs from their stores onto this machine, with the user's own rights."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from millrace.api.datastore import DataStore
from millrace.api.jobrun import JobRun, OutputStatus
from millrace.cli.arguments import unknown_output
from millrace.cli.cluster import Cluster
from millrace.cli.errors import INTERRUPTED, OK, Refused
from millrace.cli.follow import read_run
from millrace.cli.progress import Line, files, finished, headline, size
from millrace.cli.screen import Screen
from millrace.cli.stores import opened, read_stores
from millrace.domain.resolve import default_store

if TYPE_CHECKING:
    from millrace.data.model import Staged
    from millrace.data.stores import Store

ANSWER_SECONDS = 15.0  # for the first answer of a store
TRANSFER_SECONDS = 600.0  # for a transfer, and a second more for each SLOWEST bytes
SLOWEST = 100_000
T = TypeVar("T")
MANIFEST = "manifest.json"
SCHEMES = {"s3": "s3", "az": "azureBlob", "gs": "gcs"}


@dataclass(frozen=True)
class Wanted:
    """What is to be fetched."""

    run: str
    outputs: list[str]
    to: Path | None
    extract: bool

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return self.to or Path(self.run)


@dataclass(frozen=True)
class Place:
    """Where an output lies: kind of store, bucket and full key of its uri."""

    kind: str
    bucket: str
    key: str

    @property
    def is_folder(self) -> bool:
        """Whether it was published without an archive."""
        return self.key.endswith("/") or self.key.endswith("/" + MANIFEST)


async def download(cluster: Cluster, screen: Screen, wanted: Wanted) -> int:
    """Fetches the outputs one after the other."""
    run = await read_run(cluster, wanted.run)
    chosen = choose(run, wanted.outputs)
    stores = await read_stores(cluster)
    for output in chosen:
        store = store_of(run, output, place_of(output), stores)
        await _fetch(cluster, screen, output=output, store=store, wanted=wanted)
    return OK


def choose(run: JobRun, names: list[str]) -> list[OutputStatus]:
    """The outputs to fetch. Refused where a name is none of them, or none is there: pure."""
    name, found = run.metadata.name, [output for output in run.status.outputs if output.uri]
    if not found:
        if not finished(run):
            raise Refused(f"JobRun {name} is not over: {headline(run)}", f"wait for it: millrace wait {name}")
        why = "it announces no outputs" if not run.spec.outputs else f"it published none ({headline(run)})"
        raise Refused(f"JobRun {name} has no outputs to fetch: {why}")
    known = [output.name for output in found]
    for asked in names:
        if asked not in known:
            raise unknown_output(asked, known)
    return [output for output in found if not names or output.name in names]


def place_of(output: OutputStatus) -> Place:
    """Bucket and key of an output's uri: pure."""
    scheme, _, rest = (output.uri or "").partition("://")
    bucket, _, key = rest.partition("/")
    if scheme not in SCHEMES and "/paths/" in (output.uri or ""):
        raise Refused(f"output {output.name} lies in a claim, at {output.uri}", "read it in a run, as an input")
    if scheme not in SCHEMES or not bucket or not key:
        raise Refused(f"output {output.name} lies at {output.uri}, which this version cannot fetch")
    return Place(SCHEMES[scheme], bucket, key)


def store_of(run: JobRun, output: OutputStatus, place: Place, stores: dict[str, DataStore]) -> DataStore:
    """The DataStore that reaches an output: the one it went to, if it still names that bucket, else another one: pure."""
    spec = next((found for found in run.spec.outputs if found.name == output.name), None)
    named = stores.get(spec.data_store.name) if spec and spec.data_store else default_store(stores)
    fitting = [store for store in (named, *stores.values()) if store and _holds(store, place)]
    if fitting:
        return fitting[0]
    raise Refused(
        f"no DataStore of the namespace names the bucket {place.bucket}, where output {output.name} lies",
        f"its address is {output.uri}",
    )


def _holds(store: DataStore, place: Place) -> bool:
    fields = store.spec.place.dump() if store.spec.place else {}
    return store.spec.kind == place.kind and place.bucket in (fields.get("bucket"), fields.get("container"))


async def _fetch(cluster: Cluster, screen: Screen, *, output: OutputStatus, store: DataStore, wanted: Wanted) -> None:
    place, folder = place_of(output), wanted.folder
    name = Path(place.key).name
    final = folder / output.name if place.is_folder or wanted.extract else folder / name
    if not place.is_folder and not wanted.extract and _same(final, output):
        return screen.say(Line(f"{final} is there already, with the same checksum", "dim"))
    if final.is_dir() and any(final.iterdir()):
        raise Refused(f"{final} is there already and not empty", "remove it, or choose another folder with --to")
    began = time.monotonic()
    with workshop_in(folder) as workshop:
        async with opened(cluster, store, workshop) as reached:
            key = place.key.removesuffix(MANIFEST).rstrip("/") if place.is_folder else place.key
            item = {"type": "uri_folder" if place.is_folder else "uri_file", "key": key, "path": str(workshop / "data")}
            await transfer(screen, reached, output.name, item, output.bytes)
        count = _check(output, place, workshop / "data")
        ready = workshop / "data" if place.is_folder else workshop / "data" / name
        if wanted.extract and not place.is_folder:
            count = await interruptible(partial(_extract, ready, workshop / "unpacked"), workshop)
            ready = workshop / "unpacked"
        if final.is_dir():
            final.rmdir()
        ready.replace(final)
    checked = "checksum is right" if output.sha256 else "no checksum to compare with"
    seconds = time.monotonic() - began
    screen.say(Line(f"{final}: {size(output.bytes)}, {files(count)}, {seconds:.1f} s, {checked}", "good"))
    return None


def _extract(archive: Path, target: Path) -> int:
    from millrace.data.unzip import Rejected, unzip

    try:
        return unzip(archive, target)
    except Rejected as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{archive.name} cannot be unpacked: {error.strerror}: {error.filename or target}") from None


def _same(path: Path, output: OutputStatus) -> bool:
    if not output.sha256 or not path.is_file():
        return False
    return path.stat().st_size == output.bytes and matches(path, output.sha256)


@contextmanager
def workshop_in(folder: Path) -> Iterator[Path]:
    """A folder for what is not whole yet, beside what is: renamed when it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(prefix=".millrace-", dir=folder))
    except OSError as error:
        raise Refused(f"{folder} cannot be written: {error.strerror}", "choose another folder with --to") from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def transfer(screen: Screen, store: Store, name: str, item: dict[str, str], total: int | None) -> Staged:
    """Fetches what `item` says (stage_input), with progress. A store that does not answer is reported soon."""
    from millrace.data.download import stage_input

    now, workshop = time.monotonic(), Path(item["path"]).parent
    with screen.transfer(name, total) as progress:
        key = store.full_key(item["key"])
        await interruptible(lambda: next(store.list(key, deadline=now + ANSWER_SECONDS, limit=1), None), workshop)
        deadline = now + TRANSFER_SECONDS + (total or 0) / SLOWEST
        return await interruptible(partial(stage_input, store, item, deadline=deadline, progress=progress), workshop)


async def interruptible(work: Callable[[], T], workshop: Path) -> T:
    """Waits for work in a thread. Ctrl-C ends the process there and then: threads of a transfer cannot be stopped."""
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        shutil.rmtree(workshop, ignore_errors=True)
        os._exit(INTERRUPTED)


def _check(output: OutputStatus, place: Place, data: Path) -> int:
    """Compares with the status; the number of files. Refused where a byte differs."""
    file = data / MANIFEST if place.is_folder else data / Path(place.key).name
    if output.sha256 and not matches(file, output.sha256):
        raise Refused(
            f"output {output.name} is not what the run published: its checksum differs",
            "a later run may have written to the same place; the status of that run has the new checksum",
        )
    return check_folder(f"output {output.name}", data) if place.is_folder else (output.files or 1)


def check_folder(what: str, data: Path) -> int:
    """Compares with the manifest, and drops what is not in it: files of earlier runs below the same path."""
    present = {str(path.relative_to(data)): path for path in data.rglob("*") if path.is_file()}
    listed = json.loads(present.pop(MANIFEST).read_text())["files"]
    wanted = {entry.get("key", entry["path"]): entry for entry in listed if not entry["path"].endswith("/")}
    for name, entry in wanted.items():
        if name not in present or not matches(present[name], entry["sha256"]):
            raise Refused(f"{what} is not what the run published: {name} differs or is missing")
        present[name].chmod(int(entry["mode"], 8) & 0o755)
    for name in present.keys() - wanted.keys():
        present[name].unlink()
    return len(wanted)


def matches(path: Path, sha256: str) -> bool:
    """Whether there is a file with that checksum."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == sha256
