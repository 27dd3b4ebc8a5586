"""Staging from a real MinIO: what is taken, where it may lie, and that damage never reaches user code."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from integration.data.servers import Bucket, Proxy
from millrace.data import DataError, Staged, Store, fetch, folder_digest, open_store, stage_input

MIB = 1 << 20


def stage(store: Store, target: Path, key: str, kind: str = "uri_folder", seconds: float = 60, **more: Any) -> Staged:
    item = {"name": "data", "type": kind, "key": key, "path": str(target), **more}
    return stage_input(store, item, deadline=time.monotonic() + seconds)


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def reason(store: Store, target: Path, key: str, kind: str = "uri_folder", **more: Any) -> str:
    with pytest.raises(DataError) as caught:
        stage(store, target, key, kind, **more)
    return caught.value.reason


FILES = {
    "a.csv": b"1,2\n",
    "empty": b"",
    ".hidden": b"h",
    "with space/ü ñ 日本.txt": b"utf-8",
    "deep/er/and/deeper.bin": bytes(range(256)) * 100,
    "percent%20and+plus&amp;": b"p",
    "tab\there": b"t",
    "line\nbreak": b"l",
    "a..b/..c": b"dots",
}


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    for name, content in FILES.items():
        bucket.put(f"heart/3/{name}", content)
    bucket.put("heart/30/other", b"not ours")
    bucket.put("heart/3.txt", b"not ours")
    bucket.put("heart/3/marker/", b"")
    bucket.put("heart/3/", b"")
    return bucket


def test_a_folder_with_its_tree(filled: Bucket, tmp_path: Path) -> None:
    staged = stage(filled.store(), tmp_path / "in", "heart/3")
    assert tree(tmp_path / "in") == FILES
    assert (tmp_path / "in" / "marker").is_dir()
    assert (staged.files, staged.bytes) == (len(FILES), sum(map(len, FILES.values())))
    expected = folder_digest((n, len(c), hashlib.sha256(c).hexdigest()) for n, c in FILES.items())
    assert staged.sha256 == expected
    assert staged.identity == "Store"


def test_the_store_s_prefix(filled: Bucket, tmp_path: Path) -> None:
    assert stage(filled.store(prefix="heart"), tmp_path / "in", "3/").files == len(FILES)
    assert stage(filled.store(prefix="heart/3"), tmp_path / "all", "").files == len(FILES)


def test_one_file(filled: Bucket, tmp_path: Path) -> None:
    staged = stage(filled.store(), tmp_path / "in", "heart/3/deep/er/and/deeper.bin", "uri_file")
    content = FILES["deep/er/and/deeper.bin"]
    assert tree(tmp_path / "in") == {"deeper.bin": content}
    assert staged.sha256 == hashlib.sha256(content).hexdigest()


def test_types(filled: Bucket, tmp_path: Path) -> None:
    store = filled.store()
    assert reason(store, tmp_path / "a", "heart/3", "uri_file") == "TypeMismatch"
    staged = stage(store, tmp_path / "b", "heart/3.txt")
    assert staged.files == 1
    assert tree(tmp_path / "b") == {"3.txt": b"not ours"}


def test_absent(filled: Bucket, tmp_path: Path) -> None:
    store = filled.store()
    assert reason(store, tmp_path / "a", "heart/4") == "NotFound"
    assert reason(store, tmp_path / "a", "heart", "uri_file", glob=None) == "TypeMismatch"
    assert reason(store, tmp_path / "a", "hear") == "NotFound"
    assert reason(store, tmp_path / "a", "heart/3/a.cs", "uri_file") == "NotFound"
    for kind in ("uri_file", "uri_folder"):
        staged = stage(store, tmp_path / kind, "heart/4", kind, optional=True)
        assert (staged.files, staged.bytes) == (0, 0)
        assert tree(tmp_path / kind) == {}


def test_globs(filled: Bucket, tmp_path: Path) -> None:
    stage(filled.store(), tmp_path / "in", "heart/3", glob="**/*.txt")
    assert set(tree(tmp_path / "in")) == {"with space/ü ñ 日本.txt"}
    assert reason(filled.store(), tmp_path / "no", "heart/3", glob="*.parquet") == "NotFound"


@pytest.mark.parametrize("key", ["../heart", "a/../../b", "/abs//x"])
def test_keys_that_leave_the_prefix(bucket: Bucket, tmp_path: Path, key: str) -> None:
    assert reason(bucket.store(), tmp_path / "in", key) == "KeyRefused"


LISTING = """<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Contents><Key>{}</Key><Size>1</Size><ETag>"x"</ETag></Contents></ListBucketResult>"""


@pytest.mark.parametrize(
    "key",
    ["d/..%2F..%2Fetc%2Fpasswd", "d/../x", "d//etc/passwd", "d/%00", "d/a/./b", "d/" + "x" * 300, "d/%2E%2E/x"],
)
def test_hostile_listings_are_refused(bucket: Bucket, proxy: Proxy, tmp_path: Path, key: str) -> None:
    """A store may list any key; none makes a file outside of the input's folder."""
    proxy.on("GET", "list-type", "answer", status=200, body=LISTING.format(key).encode(), times=99)
    proxy.on("GET", "/", "answer", status=200, body=b"x", times=99)
    assert reason(bucket.store(proxy.address), tmp_path / "in", "d") == "KeyRefused"
    assert not (tmp_path / "in").exists()


def test_a_file_and_a_folder_of_one_name(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    both = LISTING.format("d/a</Key><Size>1</Size></Contents><Contents><Key>d/a/b")
    proxy.on("GET", "list-type", "answer", status=200, body=both.encode(), times=99)
    assert reason(bucket.store(proxy.address), tmp_path / "in", "d") == "KeyRefused"


def test_more_objects_than_one_page(bucket: Bucket, tmp_path: Path) -> None:
    import obstore

    store = bucket.store()
    for number in range(1105):
        obstore.put(store.service.objects, f"many/{number % 7}/{number}", b"%d" % number)
    staged = stage(store, tmp_path / "in", "many")
    assert staged.files == 1105
    assert tree(tmp_path / "in")["5/1104"] == b"1104"


@pytest.fixture
def large(bucket: Bucket) -> bytes:
    data = os.urandom(70 * MIB + 12345)
    bucket.put("large", data, part_size=16 * MIB)
    return data


def test_a_large_object_and_its_progress(bucket: Bucket, tmp_path: Path, large: bytes) -> None:
    told: list[tuple[int, int]] = []
    item = {"type": "uri_file", "key": "large", "path": str(tmp_path)}
    staged = stage_input(bucket.store(), item, deadline=time.monotonic() + 60, progress=lambda *n: told.append(n))
    assert staged.sha256 == hashlib.sha256(large).hexdigest()
    assert (tmp_path / "large").read_bytes() == large
    assert told[-1] == (len(large), 1)


@pytest.mark.parametrize("action", ["refuse", "drop", "cut-response", "answer"])
def test_transfers_that_break_off_go_on(bucket: Bucket, proxy: Proxy, tmp_path: Path, large: bytes, action: str) -> None:
    proxy.on("GET", "/large", action, status=503, times=3)
    staged = stage(bucket.store(proxy.address), tmp_path, "large", "uri_file")
    assert staged.sha256 == hashlib.sha256(large).hexdigest()
    assert (tmp_path / "large").read_bytes() == large


@pytest.mark.parametrize("action", ["refuse", "drop", "cut-response", "answer", "damage-response"])
def test_small_files_are_tried_again(bucket: Bucket, proxy: Proxy, tmp_path: Path, action: str) -> None:
    for number in range(20):
        bucket.put(f"d/{number}", b"content of %d" % number)
    rule = proxy.on("GET", "/d/1", action, status=500, times=4)
    stage(bucket.store(proxy.address), tmp_path, "d")
    assert rule.seen >= 4
    assert tree(tmp_path) == {str(n): b"content of %d" % n for n in range(20)}


def test_damage_that_does_not_end_is_an_error(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    bucket.put("d/x", b"the bytes")
    middle = os.urandom(20 * MIB)
    bucket.put("m/x", middle, part_size=32 * MIB)  # one part: the etag is the MD5
    proxy.on("GET", "/d/x", "damage-response", times=99)
    proxy.on("GET", "/m/x", "damage-response", times=99)
    store = bucket.store(proxy.address)
    assert reason(store, tmp_path / "a", "d") == "ChecksumMismatch"
    assert reason(store, tmp_path / "b", "m") == "ChecksumMismatch"


def test_an_object_that_is_replaced_while_it_is_read(
    bucket: Bucket, tmp_path: Path, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = fetch.write_at
    done = threading.Event()

    def write(*arguments: Any) -> int:
        if not done.is_set():
            done.set()
            bucket.put("large", os.urandom(len(large)), part_size=16 * MIB)
        return original(*arguments)

    monkeypatch.setattr(fetch, "RANGE_BYTES", 8 * MIB)
    monkeypatch.setattr(fetch, "write_at", write)
    assert reason(bucket.store(), tmp_path, "large", "uri_file") == "ObjectChanged"


def test_a_store_that_is_away_for_a_while_and_for_good(bucket: Bucket, proxy: Proxy, tmp_path: Path) -> None:
    bucket.put("d/x", b"1")
    store = bucket.store(proxy.address)
    proxy.down = True
    threading.Timer(2, lambda: setattr(proxy, "down", False)).start()
    assert stage(store, tmp_path / "a", "d").files == 1
    proxy.down = True
    begun = time.monotonic()
    assert reason(store, tmp_path / "b", "d", seconds=2) in ("Unreachable", "Timeout")
    assert time.monotonic() - begun < 4


def test_no_space(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.put("d/x", b"1" * 1000)
    real = os.statvfs(tmp_path)

    class Full:
        f_bavail, f_frsize = 0, real.f_frsize

    monkeypatch.setattr(os, "statvfs", lambda _: Full)
    assert reason(bucket.store(), tmp_path, "d") == "NoSpace"


def test_a_full_disk_while_writing(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    bucket.put("d/x", b"1" * 1000)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    assert reason(bucket.store(), tmp_path, "d") == "NoSpace"


def test_a_public_bucket_needs_no_keys(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("open/file", b"public")
    policy = """{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": ["*"]},
      "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::%s", "arn:aws:s3:::%s/*"]}]}"""
    bucket.client.set_bucket_policy(bucket.name, policy % (bucket.name, bucket.name))
    store = open_store({**bucket.entry(), "credentials": False}, None)
    staged = stage(store, tmp_path, "open")
    store.close()
    assert staged.identity == "Anonymous"
    assert tree(tmp_path) == {"file": b"public"}


def test_staging_again_replaces_what_lies_there(filled: Bucket, tmp_path: Path) -> None:
    """The init container may be started a second time."""
    store = filled.store()
    first = stage(store, tmp_path / "in", "heart/3")
    (tmp_path / "in" / "a.csv").write_bytes(b"half of an older transfer, and longer")
    assert stage(store, tmp_path / "in", "heart/3").sha256 == first.sha256
    assert tree(tmp_path / "in") == FILES


def test_written_files_follow_no_links(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("d/x", b"1")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x").symlink_to(tmp_path / "elsewhere")
    assert reason(bucket.store(), tmp_path / "in", "d") == "DiskError"
    assert not (tmp_path / "elsewhere").exists()
