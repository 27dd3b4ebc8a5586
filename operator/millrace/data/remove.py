"""Deleting the data of an asset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from millrace.data.retry import remaining, retrying
from millrace.data.stores import Entry, Store

BATCH = 1000  # of S3's DeleteObjects
OURS = ".millrace"  # commit records and caches, of a store whose prefix lies below the folder


def remove(store: Store, item: Mapping[str, Any], *, deadline: float) -> tuple[int, int]:
    """Deletes what staging `item` ({"type", "key"}) would fetch: (objects, bytes). Nothing there is fine.

    A folder's key matches whole path segments: `a/b` never takes `a/bc`. What is begun goes on with the next call.
    Raises DataError.
    """
    key = store.full_key(str(item["key"]).rstrip("/"))
    count = size = 0
    while batch := list(islice(_there(store, item["type"], key, deadline), BATCH)):
        remaining(deadline, store.where(key))

        def delete(keys: list[str]) -> None:
            with suppress(FileNotFoundError):  # somebody else was faster; the next listing tells what is left
                store.delete(keys)

        retrying(partial(delete, [entry.key for entry in batch]), where=store.where(key), deadline=deadline)
        count, size = count + len(batch), size + sum(entry.size for entry in batch)
    return count, size


def _there(store: Store, kind: str, key: str, deadline: float) -> Iterator[Entry]:
    if kind == "uri_folder":
        below = (entry for entry in store.list(f"{key}/", deadline=deadline) if OURS not in entry.key.split("/"))
        first = next(below, None)
        if first is not None:
            yield first
            yield from below
            return
    yield from (entry for entry in store.list(key, deadline=deadline, limit=1) if entry.key == key)
