"""Slices, parts and their manifest, on each kind of store."""

from __future__ import annotations

import json
import posixpath
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millrace.data import Attempt, DataError, Published, Store, commit, stage_input, upload_output
from millrace.data.download import list_input
from millrace.data.left import Removed, remove_output
from millrace.data.merge import settle_shards, upload_manifest
from millrace.data.slices import read_others, read_slice, write_again, write_slices
from millrace.data.transfer import put_bytes, read
from millrace.protocol import part_key, parts_key, shard_home, slices_key

Place = tuple[Store, str]
KEYS = {"Zip": "out/scores.zip", "None": "out/scores/"}


def put(store: Store, files: dict[str, bytes], deadline: float) -> None:
    for key, data in files.items():
        put_bytes(store, store.full_key(key), data, deadline=deadline)


def item(folder: Path, **more: Any) -> dict[str, Any]:
    return {"type": "uri_folder", "key": "in", "path": str(folder), **more}


def staged(store: Store, plan: str, shard: int, folder: Path, deadline: float) -> dict[str, bytes]:
    """What one shard stages."""
    stage_input(store, item(folder), deadline=deadline, files=read_slice(store, plan, shard, deadline=deadline))
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_file_is_staged_by_one_shard_as_it_was_when_it_was_listed(
    place: Place, tmp_path: Path, deadline: float
) -> None:
    store, _ = place
    files = {f"in/{number:02}{'/deep.csv' if number % 3 else '.csv'}": b"x" * number for number in range(20)}
    put(store, {**files, "inside/other": b"no"}, deadline)
    plan = store.full_key(slices_key("u"))
    write_slices(store, plan, "data", list_input(store, item(tmp_path), deadline=deadline), 3, deadline=deadline)
    put(store, {"in/later.csv": b"later"}, deadline)
    write_slices(store, plan, "data", list_input(store, item(tmp_path), deadline=deadline), 3, deadline=deadline)
    parts = [staged(store, plan, shard, tmp_path / str(shard), deadline) for shard in range(3)]
    assert sorted(name for part in parts for name in part) == sorted(key.removeprefix("in/") for key in files)
    assert {f"in/{name}": data for part in parts for name, data in part.items()} == files
    assert {len(part) for part in parts} == {6, 7}
    for changed in ("00.csv", "03.csv"):  # the first was empty
        put(store, {f"in/{changed}": b"changed"}, deadline)
        owner = next(shard for shard, part in enumerate(parts) if changed in part)
        with pytest.raises(DataError) as refused:
            staged(store, plan, owner, tmp_path / "again", deadline)
        assert refused.value.reason == "ObjectChanged"
        put(store, {f"in/{changed}": b""}, deadline)


def test_without_a_plan_no_shard_stages_anything(place: Place, deadline: float) -> None:
    with pytest.raises(DataError, match="the plan of the shards is not there"):
        read_slice(place[0], place[0].full_key(slices_key("u")), 0, deadline=deadline)


def test_some_shards_again_have_their_slices_with_the_files_as_they_are_now(
    place: Place, tmp_path: Path, deadline: float
) -> None:
    store, _ = place
    put(store, {f"in/{number}.csv": b"bad" for number in range(8)}, deadline)
    plans = {uid: store.full_key(slices_key(uid)) for uid in ("a", "b", "c")}
    write_slices(store, plans["a"], "data", list_input(store, item(tmp_path), deadline=deadline), 4, deadline=deadline)
    slices = [dict(read_slice(store, plans["a"], shard, deadline=deadline)) for shard in range(4)]
    first, second = sorted(slices[1])
    put(store, {f"in/{first}": b"good", "in/new.csv": b"new"}, deadline)
    store.delete([store.full_key(f"in/{second}")])
    now = list_input(store, item(tmp_path), deadline=deadline)
    assert [path for path, _ in write_again(store, plans["b"], ("a", plans["a"]), now, 4, [1, 2], deadline=deadline)] == [
        first,
        *sorted(slices[2]),
    ]
    assert staged(store, plans["b"], 1, tmp_path / "b", deadline) == {first: b"good"}
    assert read_others(store, plans["b"], deadline=deadline) == {0: "a", 3: "a"}
    write_again(store, plans["c"], ("b", plans["b"]), now, 4, [2], deadline=deadline)
    assert read_others(store, plans["c"], deadline=deadline) == {0: "a", 1: "b", 3: "a"}
    with pytest.raises(DataError, match="4 shards, not 5") as refused:
        write_again(store, plans["c"], ("a", plans["a"]), now, 5, [2], deadline=deadline)
    assert refused.value.reason == "TypeMismatch"
    with pytest.raises(DataError, match="of the earlier run's shards is not there"):
        write_again(store, plans["c"], ("z", store.full_key(slices_key("z"))), now, 4, [2], deadline=deadline)


def output(archive: str, tree: Path, shard: int | None = None) -> dict[str, Any]:
    key = KEYS[archive] if shard is None else part_key(KEYS[archive], shard)
    return {"name": "scores", "path": str(tree), "store": 0, "key": key, "archive": archive}


def shard_attempt(store: Store, uid: str, shard: int, number: int = 1) -> Attempt:
    return Attempt(run_uid=shard_home(uid, shard), number=number, stores={0: store}, record=0)


def publish(store: Store, uid: str, shard: int, tree: Path, archive: str, deadline: float) -> list[Published]:
    """A shard publishes its part, a file with its number."""
    tree.mkdir(exist_ok=True)
    (tree / "n.txt").write_text(str(shard))
    attempt = shard_attempt(store, uid, shard)
    pending = upload_output(attempt, output(archive, tree, shard), deadline=deadline)
    return commit(attempt, "success", [pending], deadline=deadline)


def merge(store: Store, uid: str, others: dict[int, str], archive: str, deadline: float) -> dict[str, Any]:
    """The manifest over four shards."""
    parts = settle_shards(uid, others, 4, {0: store}, 0, deadline=deadline)
    attempt = Attempt(run_uid=uid, number=1, stores={0: store}, record=0)
    pending = upload_manifest(attempt, output(archive, Path()), 4, parts, deadline=deadline)
    manifest = store.full_key(parts_key(KEYS[archive]))
    assert read(store, manifest, deadline=deadline) is None, "it is visible before it is committed"
    (done,) = commit(attempt, "success", [pending], deadline=deadline)
    assert done.uri == store.uri(manifest)
    found: dict[str, Any] = json.loads(read(store, manifest, deadline=deadline) or b"")
    assert (done.files, done.bytes, done.content_digest) == (found["files"], found["bytes"], found["contentDigest"])
    return found


@pytest.mark.parametrize("archive", ["Zip", "None"])
def test_the_manifest_lists_what_shards_have_published_and_a_late_one_publishes_nothing(
    place: Place, tmp_path: Path, deadline: float, archive: str
) -> None:
    store, _ = place
    uid = secrets.token_hex(8)
    parts = {shard: publish(store, uid, shard, tmp_path / "tree", archive, deadline)[0] for shard in (0, 3)}
    late = shard_attempt(store, uid, 1)
    pending = upload_output(late, output(archive, tmp_path / "tree", 1), deadline=deadline)
    found = merge(store, uid, {}, archive, deadline)
    assert (found["shards"], found["missing"], found["files"]) == (4, [1, 2], 2)
    assert [part["shard"] for part in found["parts"]] == [0, 3]
    for part in found["parts"]:
        assert part["contentDigest"] == parts[part["shard"]].content_digest
        key = posixpath.join("out", part["key"]) + ("n.txt" if archive == "None" else "")
        assert read(store, store.full_key(key), deadline=deadline)
    with pytest.raises(DataError) as refused:
        commit(late, "success", [pending], deadline=deadline)
    assert refused.value.reason in {"Superseded", "UploadFailed"}
    hidden = "out/scores-1.zip" if archive == "Zip" else "out/scores-1/manifest.json"
    assert read(store, store.full_key(hidden), deadline=deadline) is None


def test_parts_of_an_earlier_run_stand_for_shards_that_were_not_done_again(
    place: Place, tmp_path: Path, deadline: float
) -> None:
    store, _ = place
    before, now = secrets.token_hex(8), secrets.token_hex(8)
    for shard in (0, 1, 2):
        publish(store, before, shard, tmp_path / "tree", "Zip", deadline)
    publish(store, now, 3, tmp_path / "tree", "Zip", deadline)
    found = merge(store, now, {0: before, 1: before, 2: before}, "Zip", deadline)
    assert (found["missing"], [part["shard"] for part in found["parts"]]) == ([], [0, 1, 2, 3])


@pytest.mark.parametrize("archive", ["Zip", "None"])
def test_parts_are_deleted_with_their_manifest_and_those_of_another_run_stay(
    place: Place, tmp_path: Path, deadline: float, archive: str
) -> None:
    store, _ = place
    before, now = secrets.token_hex(8), secrets.token_hex(8)
    publish(store, before, 0, tmp_path / "tree", archive, deadline)
    for shard in (1, 2, 3):
        publish(store, now, shard, tmp_path / "tree", archive, deadline)
    merge(store, now, {0: before}, archive, deadline)
    time.sleep(1.1)  # the stores' clocks have whole seconds
    path = parts_key(KEYS[archive])
    found = remove_output(store, [store], now, path, until=datetime.now(UTC), deadline=deadline)
    gone = 4 if archive == "Zip" else 7  # parts, of None two objects each, and the manifest
    assert found == Removed(gone, 1)
    left = {entry.key for entry in store.list(store.full_key("out/"), deadline=deadline)}
    assert left == {
        store.full_key(key)
        for key in (["out/scores-0.zip"] if archive == "Zip" else ["out/scores-0/n.txt", "out/scores-0/manifest.json"])
    }
