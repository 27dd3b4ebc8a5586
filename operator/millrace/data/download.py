"""Staging one input: what to fetch, and where it may lie. fetch.py moves the bytes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from millrace.data.digest import folder_digest
from millrace.data.errors import DataError
from millrace.data.fetch import Counter, Fetched, fetch_big, fetch_small
from millrace.data.globs import compile_glob
from millrace.data.model import Progress, Staged
from millrace.data.retry import remaining
from millrace.data.stores import SMALL_BYTES, Entry, Store

THREADS = 6
MAX_NAME_BYTES = 255
MAX_OBJECTS = 1_000_000


def staged_path(item: Mapping[str, Any]) -> str:
    """The path that user code gets for a staged input: the file of a uri_file, else the folder."""
    if item["type"] == "uri_file":
        return str(Path(item["path"]) / str(item["key"]).rstrip("/").rpartition("/")[2])
    return str(item["path"])


def list_input(store: Store, item: Mapping[str, Any], *, deadline: float) -> list[tuple[str, Entry]]:
    """The files of a folder that stage_input would download: (path below it, object). Raises DataError as that does."""
    files = _there(store, item, deadline)
    _check_paths(store, files)
    return [(path, entry) for path, entry in files if not path.endswith("/")]


def stage_input(
    store: Store,
    item: Mapping[str, Any],
    *,
    deadline: float,
    progress: Progress | None = None,
    files: list[tuple[str, Entry]] | None = None,
) -> Staged:
    """Downloads one input of the plan into its `path`, which is made when absent.

    `item` is {"type": "uri_file" | "uri_folder", "key", "path", "glob": str | None, "optional": bool, "maxBytes": int},
    the key relative to the store's prefix. A file lies under its base name, a folder with its tree; objects that only
    mark a folder (a key that ends in "/") become folders. A folder's key matches whole path segments: `a/b` never takes
    `a/bc`. An object where a folder was asked for is staged as the only file. Files are written in place, checked by
    size, etag and MD5 (up to 64 MiB), and hashed while they arrive; after a reset a transfer goes on where it was.

    files: these alone, as they were listed; one that has changed since is ObjectChanged.
    deadline: instant of time.monotonic(). progress(bytes, files): called from any thread, at most every 0.2 s and at
    the end. Returns Staged; files == 0 when the input is optional and absent, or an empty folder.
    Raises DataError: NotFound, TypeMismatch (uri_file on a folder), KeyRefused, TooLarge, NoSpace, ChecksumMismatch,
    ObjectChanged, Timeout and the store's own reasons.
    """
    begun = time.monotonic()
    key = store.full_key(str(item["key"]).rstrip("/"))
    target = Path(item["path"])
    if files is None:
        files = _there(store, item, deadline)
    else:
        _check_empty(store, files, deadline)
    _check_paths(store, files)
    total = sum(entry.size for _, entry in files)
    if total > item.get("maxBytes", total):
        raise DataError("TooLarge", f"{store.where(key)}: {total} bytes; {item['maxBytes']} are possible")
    target.mkdir(parents=True, exist_ok=True)
    free = os.statvfs(target)
    if total > free.f_bavail * free.f_frsize:
        raise DataError(
            "NoSpace", f"{store.where(key)}: {total} bytes needed, {free.f_bavail * free.f_frsize} bytes are free"
        )
    done = _fetch_all(store, target, files, Counter(progress), deadline)
    if item["type"] == "uri_file" and files:
        digest = done[0].sha256
    else:
        digest = folder_digest((f.path, f.size, f.sha256) for f in done)
    return Staged(
        bytes=sum(f.size for f in done),
        files=len(done),
        sha256=digest,
        seconds=time.monotonic() - begun,
        identity=store.identity,
    )


def _there(store: Store, item: Mapping[str, Any], deadline: float) -> list[tuple[str, Entry]]:
    """What _select finds; NotFound where that is nothing, and the input is not optional."""
    key = store.full_key(str(item["key"]).rstrip("/"))
    files = _select(store, item, key, deadline)
    if files is None and not item.get("optional"):
        raise DataError("NotFound", f"{store.where(key)}: no such object or folder")
    return files or []


def _select(store: Store, item: Mapping[str, Any], key: str, deadline: float) -> list[tuple[str, Entry]] | None:
    """(relative path, object) of all that is to be staged; paths of folder markers end in "/". None: nothing is
    there.
    """
    folder = f"{key}/" if key else ""
    base = key.rpartition("/")[2]
    if item["type"] == "uri_file":
        found = _exact(store, key, deadline)
        if found is not None:
            return [(base, found)]
        if any(True for _ in store.list(folder, deadline=deadline, limit=1)):
            raise DataError("TypeMismatch", f"{store.where(key)}: a folder, but the input asks for uri_file")
        return None
    files = [(entry.key[len(folder) :], entry) for entry in store.list(folder, deadline=deadline)]
    if len(files) > MAX_OBJECTS:
        raise DataError("TreeTooLarge", f"{store.where(key)}: more than {MAX_OBJECTS} objects")
    exists = bool(files)
    pattern = item.get("glob")
    if not exists and key:
        found = _exact(store, key, deadline)
        files, exists = ([(base, found)], True) if found is not None else ([], False)
    if pattern:
        matches = compile_glob(str(pattern)).fullmatch
        files = [(path, entry) for path, entry in files if not path.endswith("/") and matches(path)]
        exists = bool(files)
    return [(path, entry) for path, entry in files if path] if exists else None


def _exact(store: Store, key: str, deadline: float) -> Entry | None:
    if not key:
        return None
    # A listing tells a file from a folder with the rights that staging a folder needs anyway; the key itself comes first.
    for entry in store.list(key, deadline=deadline, limit=1):
        if entry.key == key:
            return entry
    return None


def _check_empty(store: Store, files: list[tuple[str, Entry]], deadline: float) -> None:
    """Of what was empty when it was listed no byte is read, which would tell that it is another object by now."""
    for _, entry in files:
        if entry.size == 0:
            found = store.uploads.head(entry.key, deadline=deadline)
            if found is None:
                raise DataError("NotFound", f"{store.where(entry.key)}: no such object")
            if found[1] > 0:
                raise DataError("ObjectChanged", f"{store.where(entry.key)}: the object has changed since it was listed")


def _check_paths(store: Store, files: list[tuple[str, Entry]]) -> None:
    """Refuses what would leave the folder, cannot be a name, or is a file and a folder at once."""
    names = {path for path, _ in files if not path.endswith("/")}
    for path, entry in files:
        parts = path.removesuffix("/").split("/")
        bad = any(part in ("", ".", "..") or "\0" in part or len(part.encode()) > MAX_NAME_BYTES for part in parts)
        if bad:
            raise DataError("KeyRefused", f"{store.where()}/{entry.key!r}: the key cannot be a path below the input")
        above = parts[0]
        for part in parts[1:]:
            if above in names:
                raise DataError("KeyRefused", f"{store.where(entry.key)}: {above!r} is a file and a folder at once")
            above = f"{above}/{part}"


def _fetch_all(
    store: Store, target: Path, files: list[tuple[str, Entry]], counter: Counter, deadline: float
) -> list[Fetched]:
    made: set[str] = set()
    small: list[tuple[str, Entry]] = []
    big: list[tuple[str, Entry]] = []
    for path, entry in files:
        above = path.rpartition("/")[0]
        if above not in made:
            (target / above).mkdir(parents=True, exist_ok=True)
            made.add(above)
        if not path.endswith("/"):
            (small if entry.size <= SMALL_BYTES else big).append((path, entry))
    done: list[Fetched] = []
    lock = threading.Lock()
    stop = threading.Event()
    waiting = iter(small)

    def work() -> None:
        mine: list[Fetched] = []
        try:
            while not stop.is_set():
                with lock:
                    item = next(waiting, None)
                if item is None:
                    break
                mine.append(fetch_small(store, item[1], item[0], target / item[0], deadline))
                counter.add(mine[-1].size, 1)
        except BaseException:
            stop.set()
            raise
        with lock:
            done.extend(mine)

    with ThreadPoolExecutor(THREADS, thread_name_prefix="fetch") as pool:
        try:
            workers = [pool.submit(work) for _ in range(min(THREADS, len(small)))]
            wait(workers)
            for worker in workers:
                worker.result()
            for path, entry in big:
                remaining(deadline, store.where(entry.key))
                done.append(fetch_big(store, entry, path, target / path, pool=pool, counter=counter, deadline=deadline))
        finally:
            stop.set()
            counter.flush()
    return done
