"""`millrace download`: a run's outputs from their stores onto this machine, with the user's own rights."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from millrace.api.datastore import DataStore
from millrace.api.jobrun import JobRun, OutputStatus
from millrace.cli.arguments import unknown_output
from millrace.cli.cluster import Cluster
from millrace.cli.errors import OK, Refused
from millrace.cli.fetch import Source, fetch
from millrace.cli.follow import read_run
from millrace.cli.progress import Line, files, finished, headline, size
from millrace.cli.reach import interruptible
from millrace.cli.screen import Screen
from millrace.cli.stores import read_stores
from millrace.domain.resolve import default_store

MANIFEST = "manifest.json"
SCHEMES = {"s3": "s3", "az": "azureBlob", "gs": "gcs"}
PATHS = "/paths/"  # between a claim's DataStore and a path: NAME/paths/PATH


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
    """Where an output lies: kind of store, bucket and full key of its uri; of a claim the DataStore's name and the path."""

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
        source = source_of(run, output, stores)
        await _fetch(cluster, screen, output=output, source=source, wanted=wanted)
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
    uri = output.uri or ""
    scheme, _, rest = uri.partition("://")
    kind = SCHEMES.get(scheme)
    if kind is None and PATHS in uri:
        kind, (bucket, _, key) = "volume", uri.partition(PATHS)
    else:
        bucket, _, key = rest.partition("/")
    if kind is None or not bucket or not key:
        raise Refused(f"output {output.name} lies at {uri}, which this version cannot fetch")
    return Place(kind, bucket, key)


def source_of(run: JobRun, output: OutputStatus, stores: dict[str, DataStore]) -> Source:
    """An output in the DataStore that reaches it: the one it went to, if that still leads there, else another one: pure."""
    place = place_of(output)
    spec = next((found for found in run.spec.outputs if found.name == output.name), None)
    named = stores.get(spec.data_store.name) if spec and spec.data_store else default_store(stores)
    key = place.key.removesuffix(MANIFEST).rstrip("/") if place.is_folder else place.key
    for store in (named, *stores.values()):
        if store and _holds(store, place) and (path := _below(store, key)) is not None:
            kind = "uri_folder" if place.is_folder else "uri_file"
            return Source(output.name, store, path, kind, output.bytes, run.spec.service_account_name)
    raise Refused(
        f"no DataStore of the namespace leads to {output.uri}, where output {output.name} lies",
        "it needs the same bucket, and no prefix or one that the address begins with",
    )


def _holds(store: DataStore, place: Place) -> bool:
    if place.kind == "volume":
        return store.spec.volume is not None and store.metadata.name == place.bucket
    fields = store.spec.place.dump() if store.spec.place else {}
    return store.spec.kind == place.kind and place.bucket in (fields.get("bucket"), fields.get("container"))


def _below(store: DataStore, key: str) -> str | None:
    """The path below the store's prefix; None for a key that is not below it."""
    prefix = store.spec.place.dump().get("prefix") if store.spec.place else None
    if prefix is None:
        return key
    return key.removeprefix(f"{prefix}/") if key.startswith(f"{prefix}/") else None


async def _fetch(cluster: Cluster, screen: Screen, *, output: OutputStatus, source: Source, wanted: Wanted) -> None:
    place, folder = place_of(output), wanted.folder
    name = Path(place.key).name
    final = folder / output.name if place.is_folder or wanted.extract else folder / name
    if not place.is_folder and not wanted.extract and _same(final, output):
        return screen.say(Line(f"{final} is there already, with the same checksum", "dim"))
    if final.is_dir() and any(final.iterdir()):
        raise Refused(f"{final} is there already and not empty", "remove it, or choose another folder with --to")
    began = time.monotonic()
    with workshop_in(folder) as workshop:
        await fetch(cluster, screen, source, workshop / "data")
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
