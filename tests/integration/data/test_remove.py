"""Deleting the data of an asset: all of it, and nothing beside it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from integration.data.servers import Bucket, Proxy
from millrace.data import DataError, Store, open_store
from millrace.data.remove import remove

BESIDE = {"heart/30/a.csv": b"a", "heart/3.csv": b"bb", "other/x": b"c", "heart/3/.millrace/runs/u/commit.json": b"{}"}
DATA = {"heart/3/a.csv": b"aaa", "heart/3/sub/b c.csv": b"b", "heart/3/sub/ünï": b"", "heart/3/odd/": b""}


def fill(store: Store, files: dict[str, bytes]) -> None:
    for key, data in files.items():
        store.put("/".join(part for part in (store.prefix, key) if part), data)


def keys(store: Store) -> set[str]:
    start = f"{store.prefix}/" if store.prefix else ""
    return {entry.key.removeprefix(start) for entry in store.list(start, deadline=time.monotonic() + 30)}


def test_a_folder_goes_with_all_that_is_in_it_and_nothing_beside_it(place: tuple[Store, str], deadline: float) -> None:
    store, kind = place
    data = DATA if kind != "folder" else {key: value for key, value in DATA.items() if not key.endswith("/")}
    beside = BESIDE if kind != "folder" else {key: value for key, value in BESIDE.items() if ".millrace" not in key}
    fill(store, data | beside)
    for path in ("heart/3", "heart/3/"):  # the second time nothing is left
        found = remove(store, {"type": "uri_folder", "key": path}, deadline=deadline)
        assert found == ((len(data), sum(map(len, data.values()))) if path == "heart/3" else (0, 0))
    assert keys(store) == set(beside)


def test_a_file_goes_alone(place: tuple[Store, str], deadline: float) -> None:
    store, _ = place
    fill(store, {"a/f": b"12", "a/f.csv": b"1"})
    assert remove(store, {"type": "uri_file", "key": "a/f"}, deadline=deadline) == (1, 2)
    assert keys(store) == {"a/f.csv"}
    assert remove(store, {"type": "uri_file", "key": "a"}, deadline=deadline) == (0, 0)


def test_folders_that_are_left_empty_go_too(tmp_path: Path, deadline: float) -> None:
    store = open_store({"name": "folder", "folder": str(tmp_path / "store")}, None)
    fill(store, {"a/b/c/f": b"1", "a/x": b"1"})
    (tmp_path / "store/a/b/empty").mkdir()
    remove(store, {"type": "uri_folder", "key": "a/b"}, deadline=deadline)
    assert [path.name for path in (tmp_path / "store/a").iterdir()] == ["x"]
    remove(store, {"type": "uri_folder", "key": "a"}, deadline=deadline)
    assert list((tmp_path / "store").iterdir()) == []


def test_more_than_one_batch_and_a_server_that_fails_once(bucket: Bucket, proxy: Proxy, deadline: float) -> None:
    for number in range(1100):
        bucket.put(f"many/{number:04}", b"")
    proxy.on("POST", "delete", "answer", status=503, body=b"")
    store = bucket.store(proxy.address)
    assert remove(store, {"type": "uri_folder", "key": "many"}, deadline=deadline)[0] == 1100
    assert bucket.keys() == []


def test_a_key_that_would_leave_the_prefix_is_refused(bucket: Bucket, deadline: float) -> None:
    with pytest.raises(DataError, match="refused"):
        remove(bucket.store(prefix="team"), {"type": "uri_folder", "key": "../other"}, deadline=deadline)
