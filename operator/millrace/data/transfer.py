"""Whole files into the store by one PUT each: logs, small records, the files of an output that is not archived."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from millrace.data.errors import DataError, classify
from millrace.data.retry import remaining, retrying
from millrace.data.stores import CHUNK_BYTES, Entry, Store


def put_file(store: Store, key: str, path: Path, *, deadline: float) -> str:
    """Uploads the file `path` to `key`, relative to the store's prefix, in one PUT: all of it or nothing. Returns its
    `s3://` uri.

    Meant for logs: at most 5 GiB, memory flat. Raises DataError; DiskError when the file cannot be read.
    """
    full = store.full_key(key)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as exc:
        raise DataError("DiskError", f"{path}: {exc.strerror}") from None
    try:
        put_descriptor(store, full, fd, os.fstat(fd).st_size, deadline=deadline)
    finally:
        os.close(fd)
    return store.uri(full)


def put_descriptor(store: Store, key: str, fd: int, size: int, *, deadline: float) -> tuple[int, str]:
    """The first `size` bytes of `fd` to the full key: (bytes, SHA-256). The server checks their MD5. Raises
    DataError.
    """
    where = store.where(key)
    if size <= CHUNK_BYTES:
        data = b"".join(_pieces(fd, size))

        def put() -> None:
            remaining(deadline, where)
            store.put(key, data)

        retrying(put, where=where, deadline=deadline)
        return len(data), hashlib.sha256(data).hexdigest()
    sha, md5, count = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    for piece in _pieces(fd, size):
        sha.update(piece)
        md5.update(piece)
        count += len(piece)

    def send() -> None:
        remaining(deadline, where)
        store.send(key, count, md5.digest(), _pieces(fd, count))

    retrying(send, where=where, deadline=deadline)
    return count, sha.hexdigest()


def put_bytes(store: Store, key: str, data: bytes, *, deadline: float) -> None:
    """A small object, replaced if it exists; `key` is a full one. Raises DataError."""
    where = store.where(key)
    retrying(lambda: store.put(key, data), where=where, deadline=deadline)


def put_new(store: Store, key: str, data: bytes, *, deadline: float) -> bytes:
    """Makes a small object unless it exists (If-None-Match: *), and returns what the full key holds then, ours or
    another's.

    An answer that was lost is settled by reading. Raises DataError.
    """
    where = store.where(key)
    try:
        retrying(lambda: store.put(key, data, create=True), where=where, deadline=deadline)
    except DataError as error:
        if error.reason not in ("AlreadyExists", "ObjectChanged"):
            raise
        found = read(store, key, deadline=deadline)
        if found is None:
            raise DataError("BadResponse", f"{where}: the store says that it exists and that it does not") from None
        return found
    return data


def read(store: Store, key: str, *, deadline: float, limit: int | None = None) -> bytes | None:
    """A small object of ours, or None when there is none; `key` is a full one. Raises DataError; BadResponse for one of
    more than `limit` bytes.
    """

    def once() -> bytes | None:
        try:
            return store.get(key, limit=limit)
        except FileNotFoundError as exc:
            if "NoSuchBucket" in str(exc):
                raise
            return None

    return retrying(once, where=store.where(key), deadline=deadline)


def stream(store: Store, key: str, *, deadline: float) -> Iterator[memoryview]:
    """The bytes of an object as they come, in one try; `key` is a full one. Raises DataError."""
    where = store.where(key)
    found = store.uploads.head(key, deadline=deadline)
    if found is None:
        raise DataError("NotFound", f"{where}: no such object")
    etag, size = found
    try:
        for chunk in store.read(Entry(key, size, etag), 0, size):
            remaining(deadline, where)
            yield chunk
    except Exception as exc:  # noqa: BLE001 - classify knows each of them
        raise classify(exc, where) from None


def _pieces(fd: int, size: int) -> Iterator[bytes]:
    offset = 0
    while offset < size:
        try:
            piece = os.pread(fd, min(CHUNK_BYTES, size - offset), offset)
        except OSError as exc:
            raise DataError("DiskError", f"a file of the output cannot be read: {exc.strerror}") from None
        if not piece:
            return
        offset += len(piece)
        yield piece
