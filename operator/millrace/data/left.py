"""Deleting what a run has left in a store, and nothing that somebody else has put into its place since."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from millrace.data.errors import DataError
from millrace.data.output import MANIFEST
from millrace.data.retry import retrying
from millrace.data.stores import Store
from millrace.data.transfer import read
from millrace.protocol import PARTS, shard_home

BATCH = 1000  # of S3's DeleteObjects
# The end of a run is told in whole seconds. More would take the equal bytes of a run that follows at once for this run's;
# where a store's clock is ahead by more, things are kept.
SLACK = timedelta(seconds=1)


class Removed(NamedTuple):
    """Objects that were deleted, and those that are kept: they are not what the run has written."""

    deleted: int = 0
    kept: int = 0

    def __or__(self, other: tuple[int, ...]) -> Removed:
        return Removed(self.deleted + other[0], self.kept + other[1])


def remove_logs(store: Store, path: str, *, until: datetime, deadline: float) -> Removed:
    """Deletes the logs below a path as far as they were written until then: a later run may have the same name.

    Raises DataError.
    """
    keys = (entry.key for entry in store.list(store.full_key(path), deadline=deadline))
    return _remove(store, keys, until, deadline)


def remove_output(
    store: Store, records: Collection[Store], run: str, path: str, *, until: datetime, deadline: float
) -> Removed:
    """Deletes an output of the run with that UID: an archive, with a final "/" the files of a manifest, or the parts of one.

    It goes only where a commit record of the run, in one of the stores `records`, says that the object is the run's own,
    and it was written until then. What is gone already is fine. Raises DataError.
    """
    relative = path + MANIFEST if path.endswith("/") else path
    key = store.full_key(relative)
    if store.uploads.head(key, deadline=deadline) is None:
        return Removed()
    own = any(
        store.uploads.published(key, output["upload_id"], output["etag"], deadline=deadline)
        for output in _committed(records, run, deadline)
        if output["key"] == relative
    )
    if not own or not _is_old(store, key, until, deadline):
        return Removed(kept=1)
    found = Removed()
    # The manifest goes last: what is begun goes on with the next call.
    if path.endswith(PARTS):
        for part in json.loads(read(store, key, deadline=deadline) or b'{"parts": []}')["parts"]:
            there = posixpath.normpath(posixpath.join(posixpath.dirname(path), part["key"]))
            there += "/" if part["key"].endswith("/") else ""
            found |= remove_output(store, records, shard_home(run, part["shard"]), there, until=until, deadline=deadline)
    elif path.endswith("/"):
        listed = json.loads(read(store, key, deadline=deadline) or b'{"files": []}')["files"]
        files = (path + (file.get("key") or file["path"]) for file in listed if not file["path"].endswith("/"))
        found |= _remove(store, (store.full_key(file) for file in files), until, deadline)
    return found | _remove(store, iter([key]), until, deadline)


def _committed(records: Iterable[Store], run: str, deadline: float) -> Iterator[Mapping[str, Any]]:
    """What the attempts of the run have published."""
    for store in records:
        for entry in store.list(store.full_key(f".millrace/runs/{run}/attempts/"), deadline=deadline):
            if entry.key.endswith("/commit.json"):
                yield from json.loads(read(store, entry.key, deadline=deadline) or b"{}").get("outputs", [])


def _is_old(store: Store, key: str, until: datetime, deadline: float) -> bool | None:
    """Whether the object was written until then; None where there is none."""

    def once() -> datetime | None:
        with suppress(FileNotFoundError):
            return store.modified(key)
        return None

    written = retrying(once, where=store.where(key), deadline=deadline)
    return None if written is None else written <= until + SLACK


def _remove(store: Store, keys: Iterator[str], until: datetime, deadline: float) -> Removed:
    found = Removed()
    while batch := list(islice(keys, BATCH)):
        old = {key: _is_old(store, key, until, deadline) for key in batch}
        going = [key for key in batch if old[key]]

        def delete(going: list[str]) -> None:
            with suppress(FileNotFoundError):
                store.delete(going)

        if going:
            retrying(partial(delete, going), where=store.where(going[0]), deadline=deadline)
        found |= (len(going), sum(state is False for state in old.values()))
    return found


def leads_to(store: Store, path: str, uri: str) -> bool:
    """Whether a path of the store is still where the run has found it: the DataStore may lead elsewhere since."""
    with suppress(DataError):
        return uri.startswith(store.uri(store.full_key(path)))
    return False
