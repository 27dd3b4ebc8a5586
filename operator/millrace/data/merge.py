"""One manifest over the parts that the shards of a run have published. The parts stay where they are.

    {"version": 1, "shards": 8, "missing": [3], "bytes": 120, "files": 10, "contentDigest": "…", "parts": [
    {"shard": 0, "key": "scores-0.zip", "bytes": 15, "files": 1, "sha256": "…", "contentDigest": "…"},
    …
    ]}

A part's key is relative to the manifest's folder; one that an earlier run has made may lie in another.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from millrace.data.digest import folder_digest
from millrace.data.model import PendingOutput, Published
from millrace.data.output import MANIFEST_PART
from millrace.data.publish import Attempt, take_over
from millrace.data.stores import Store
from millrace.protocol import parts_key, shard_home

THREADS = 8
Parts = Mapping[int, Sequence[Published]]
"""What shards have published, by shard; a shard that has failed is not in it."""


def settle_shards(
    run_uid: str, others: Mapping[int, str], shards: int, stores: Mapping[int, Store], record: int, *, deadline: float
) -> Parts:
    """What each shard has published for good: attempts that are still under way publish nothing any more.

    `others`: the UIDs of earlier runs that have done some of the shards. Raises DataError.
    """
    found: dict[int, Sequence[Published]] = {}
    for uid in sorted({run_uid, *others.values()}):
        mine = {shard for shard in range(shards) if others.get(shard, run_uid) == uid}
        found |= _settle(uid, mine, stores, record, deadline)
    return found


def _settle(uid: str, mine: AbstractSet[int], stores: Mapping[int, Store], record: int, deadline: float) -> Parts:
    """The same of the shards that one run has done."""
    store = stores[record]
    folder = store.full_key(f".millrace/runs/{uid}/shards/")
    attempts: dict[int, int] = {}
    for entry in store.list(folder, deadline=deadline):
        shard, _, number, *_ = entry.key[len(folder) :].split("/")  # INDEX/attempts/NUMBER/commit.json
        attempts[int(shard)] = max(attempts.get(int(shard), 0), int(number))

    def settle(shard: int) -> list[Published] | None:
        merge = Attempt(run_uid=shard_home(uid, shard), number=attempts[shard] + 1, stores=stores, record=record)
        return take_over(merge, deadline=deadline)

    known = sorted(mine & attempts.keys())
    with ThreadPoolExecutor(THREADS, thread_name_prefix="merge") as pool:
        found = dict(zip(known, pool.map(settle, known), strict=True))
    return {shard: published for shard, published in found.items() if published is not None}


def upload_manifest(
    attempt: Attempt, output: Mapping[str, Any], shards: int, parts: Parts, *, deadline: float
) -> PendingOutput:
    """The manifest of one output of the plan; `commit` makes it visible. Raises DataError."""
    name, index, key = str(output["name"]), int(output["store"]), parts_key(str(output["key"]))
    found = [(shard, each) for shard, published in sorted(parts.items()) for each in published if each.name == name]
    folder = posixpath.dirname(key)
    listed = [
        {
            "shard": shard,
            "key": posixpath.relpath(each.target, folder or ".") + ("/" if each.target.endswith("/") else ""),
            "bytes": each.bytes,
            "files": each.files,
            "sha256": each.sha256,
            "contentDigest": each.content_digest,
        }
        for shard, each in found
    ]
    there = {shard for shard, _ in found}
    digest = folder_digest((str(shard), each.files, each.content_digest) for shard, each in found)
    size, files = sum(each.bytes for _, each in found), sum(each.files for _, each in found)
    head = {
        "version": 1,
        "shards": shards,
        "missing": [shard for shard in range(shards) if shard not in there],
        "bytes": size,
        "files": files,
        "contentDigest": digest,
    }
    lines = ",\n".join(json.dumps(entry) for entry in listed)
    text = f'{json.dumps(head)[:-1]}, "parts": [\n{lines}\n]}}\n'
    store, place = attempt.stores[index], (index, key)
    begin = partial(attempt.begin, place, deadline=deadline)
    writer = store.uploads.writer(store.full_key(key), MANIFEST_PART, begin, deadline=deadline)
    try:
        writer.write(text.encode())
        sha256 = writer.finish()
    except BaseException:
        writer.stop()
        raise
    return PendingOutput(
        name=name,
        store=index,
        key=key,
        target=key,
        upload_id=writer.upload_id,
        parts=tuple(writer.parts),
        etag=writer.etag,
        bytes=size,
        files=files,
        sha256=sha256,
        content_digest=digest,
    )
