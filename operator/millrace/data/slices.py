"""Which file of a folder is whose: the plan of a parallel run, made once, before its shards start.

An object of one line for each file, so that who reads it holds only its own slice in memory:

    {"version": 1, "shards": 8, "input": "data", "others": {}, "files": [
    {"shard": 0, "path": "a.csv", "key": "full/key/a.csv", "size": 12, "etag": "…", "md5": "…"},
    …
    ]}

`others` are shards that this run does not do, with the UID of the run whose parts stand for them.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Sequence
from typing import Any

from millrace.data.errors import DataError
from millrace.data.stores import Entry, Store
from millrace.data.transfer import put_new, read

Files = Sequence[tuple[str, Entry]]
"""Paths below the input, and their objects."""
Json = dict[str, Any]

MAX_FILES = 200_000  # some 40 MB of plan
FILE_COST = 64 << 10  # bytes: what a request takes beside the bytes that it moves


def deal(files: Files, shards: int) -> list[int]:
    """The shard of each file: the largest first, each to the shard that has least; equal files go round.

    It depends on paths and sizes only.
    """
    load = [(0, shard) for shard in range(shards)]
    given = [0] * len(files)
    for number in sorted(range(len(files)), key=lambda number: (-files[number][1].size, files[number][0].encode())):
        cost, shard = load[0]
        given[number] = shard
        heapq.heapreplace(load, (cost + files[number][1].size + FILE_COST, shard))
    return given


def write_slices(store: Store, key: str, name: str, files: Files, shards: int, *, deadline: float) -> None:
    """Writes the plan for the input `name` to the full key, unless there is one: the first stays. Raises DataError."""
    if len(files) > MAX_FILES:
        raise DataError(
            "TreeTooLarge", f"input {name}: more than {MAX_FILES} files cannot be sliced; put them into archives"
        )
    lines = (_line(shard, path, entry) for (path, entry), shard in zip(files, deal(files, shards), strict=True))
    _write(store, key, {"version": 1, "shards": shards, "input": name, "others": {}}, lines, deadline)


def write_again(
    store: Store, key: str, earlier: tuple[str, str], files: Files, shards: int, only: Sequence[int], *, deadline: float
) -> list[tuple[str, Entry]]:
    """Writes the plan of a run that does `only` some shards of an earlier one again, which has its UID and its plan's full
    key; returns the files of those.

    The slices stay as they were, of files as they are now: what is gone is left out, what has come since is nobody's.
    Raises DataError; NotFound and TypeMismatch where the earlier run has sliced nothing, or in another number.
    """
    uid, plan = earlier
    data = read(store, plan, deadline=deadline)
    if data is None and files:
        raise DataError("NotFound", f"{store.where(plan)}: the plan of the earlier run's shards is not there")
    head = _head(data) if data else {"version": 1, "shards": shards, "input": None, "others": {}}
    if head["shards"] != shards:
        raise DataError("TypeMismatch", f"{store.where(plan)}: that run has {head['shards']} shards, not {shards}")
    there, again = dict(files), set(only)
    others = {str(shard): head["others"].get(str(shard), uid) for shard in range(shards) if shard not in again}
    lines: list[str] = []
    mine: list[tuple[str, Entry]] = []
    for line in (data or b"").split(b"\n")[1:]:
        if not line.startswith(b'{"shard"'):
            continue
        found = json.loads(line.rstrip(b","))
        if found["shard"] not in again:
            lines.append(json.dumps(found))
        elif found["path"] in there:
            lines.append(_line(found["shard"], found["path"], there[found["path"]]))
            mine.append((found["path"], there[found["path"]]))
    _write(store, key, {**head, "others": others}, lines, deadline)
    return mine


def read_slice(store: Store, key: str, shard: int, *, deadline: float) -> list[tuple[str, Entry]]:
    """A shard's files by the plan under the full key. Raises DataError; NotFound where there is no plan."""
    data = read(store, key, deadline=deadline)
    if data is None:
        raise DataError("NotFound", f"{store.where(key)}: the plan of the shards is not there")
    mine = f'{{"shard": {shard}, '.encode()
    lines = (line.rstrip(b",") for line in data.split(b"\n") if line.startswith(mine))
    return [
        (found["path"], Entry(found["key"], found["size"], found["etag"], found["md5"])) for found in map(json.loads, lines)
    ]


def read_others(store: Store, key: str, *, deadline: float) -> dict[int, str]:
    """The runs whose parts stand for shards, by shard; of a run that does all itself none. Raises DataError."""
    data = read(store, key, deadline=deadline)
    return {int(shard): uid for shard, uid in _head(data)["others"].items()} if data else {}


def _line(shard: int, path: str, entry: Entry) -> str:
    about = {"shard": shard, "path": path, "key": entry.key, "size": entry.size, "etag": entry.etag, "md5": entry.md5}
    return json.dumps(about)


def _write(store: Store, key: str, head: Json, lines: Iterable[str], deadline: float) -> None:
    text = f'{json.dumps(head)[:-1]}, "files": [\n' + ",\n".join(lines) + "\n]}\n"
    put_new(store, key, text.encode(), deadline=deadline)


def _head(data: bytes) -> Json:
    found: Json = json.loads(data.partition(b"\n")[0] + b"]}")
    return found
