"""Bytes of one object onto the disk: in one piece when it is small, else by ranges straight into the final file."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from millrace.data.errors import DataError, classify
from millrace.data.model import Progress
from millrace.data.retry import Backoff, remaining, retrying
from millrace.data.stores import CHUNK_BYTES, Entry, Store

RANGE_BYTES = 32 << 20
STREAMS = 2  # more only contend for the file's lock: three take twice the system time
MD5_BYTES = 64 << 20  # above, TLS and TCP must do: MD5 would be half of the time
WHOLE_TRIES = 4


@dataclass(frozen=True, slots=True)
class Fetched:
    path: str
    size: int
    sha256: str


class Counter:
    """Adds up what the threads did and tells the caller at most five times a second."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes = self._files = 0
        self._told = 0.0

    def add(self, size: int, files: int) -> None:
        with self._lock:
            self._bytes += size
            self._files += files
            if self._progress is not None and time.monotonic() - self._told > 0.2:
                self._told = time.monotonic()
                self._progress(self._bytes, self._files)

    def set(self, size: int, files: int) -> None:
        """What is done in all, instead of what came on top."""
        self.add(size - self._bytes, files - self._files)

    def flush(self) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress(self._bytes, self._files)


@contextmanager
def open_file(path: Path, where: str) -> Iterator[int]:
    """A new and empty file in place of what was there. Raises DataError of our own disk."""
    with _disk(where):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _disk(where: str) -> Iterator[None]:
    """Tells a fault of our own disk from one of the store."""
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError("NoSpace", f"{where}: no space left on the disk") from None
        raise DataError("DiskError", f"{where}: the file cannot be written: {exc.strerror}") from None


def write_at(fd: int, data: memoryview, offset: int, where: str) -> int:
    """All of the data at that place; the place behind it. Raises DataError of our own disk."""
    with _disk(where):
        while data:
            written = os.pwrite(fd, data, offset)
            offset += written
            data = data[written:]
    return offset


def _exactly(store: Store, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
    """The chunks of the bytes [start, end); raises DataError when there are fewer or more of them."""
    position = start
    for chunk in store.read(entry, start, end):
        position += len(chunk)
        if position > end:
            raise DataError("BadResponse", f"{store.where(entry.key)}: more bytes than were asked for")
        yield chunk
    if position < end:
        raise DataError("Unreachable", f"{store.where(entry.key)}: the transfer broke off")


def _check_md5(store: Store, entry: Entry, digest: str, tries: int) -> None:
    if digest != entry.md5 and store.md5_is_content(entry):
        where = store.where(entry.key)
        raise DataError("ChecksumMismatch", f"{where}: the bytes were damaged on their way", final=tries >= WHOLE_TRIES)


def fetch_small(store: Store, entry: Entry, path: str, target: Path, deadline: float) -> Fetched:
    """One object of up to SMALL_BYTES into the file `target`; `path` is only handed back. Raises DataError."""
    where = store.where(entry.key)
    tries = 0

    def once() -> Fetched:
        nonlocal tries
        tries += 1
        remaining(deadline, where)
        data = memoryview(b"") if entry.size == 0 else next(store.read(entry, 0, entry.size))
        if len(data) != entry.size:
            raise DataError("Unreachable", f"{where}: the transfer broke off")
        if entry.md5:
            _check_md5(store, entry, hashlib.md5(data, usedforsecurity=False).hexdigest(), tries)
        with open_file(target, where) as fd:
            write_at(fd, data, 0, where)
        return Fetched(path, entry.size, hashlib.sha256(data).hexdigest())

    return retrying(once, where=where, deadline=deadline)


def fetch_big(
    store: Store,
    entry: Entry,
    path: str,
    target: Path,
    *,
    pool: ThreadPoolExecutor,
    counter: Counter,
    deadline: float,
) -> Fetched:
    """One object by ranges of RANGE_BYTES, STREAMS at a time, hashed in order behind the writers from the page cache.

    Memory: a chunk for each stream. A range that breaks off goes on from its last byte. Raises DataError.
    """
    where = store.where(entry.key)

    def segment(fd: int, start: int) -> int:
        position, end = start, min(entry.size, start + RANGE_BYTES)
        backoff = Backoff(deadline)
        while position < end:
            remaining(deadline, where)
            try:
                for chunk in _exactly(store, entry, position, end):
                    position = write_at(fd, chunk, position, where)
                    counter.add(len(chunk), 0)
                    backoff.reset()
            except Exception as exc:  # noqa: BLE001 - classify knows each of them
                backoff.wait(classify(exc, where))
        return end

    backoff = Backoff(deadline)
    for tries in range(1, WHOLE_TRIES + 1):
        try:
            with open_file(target, where) as fd:
                os.ftruncate(fd, entry.size)
                digest, md5 = _hashed(fd, entry, pool, segment)
            if md5:
                _check_md5(store, entry, md5, tries)
            break
        except DataError as error:
            backoff.wait(error)
    counter.add(0, 1)
    return Fetched(path, entry.size, digest)


def _hashed(fd: int, entry: Entry, pool: ThreadPoolExecutor, segment: Callable[[int, int], int]) -> tuple[str, str]:
    """Runs `segment` for each range and follows with the hash. SHA-256 and, where there is one to compare with, MD5
    (else "").
    """
    sha = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False) if entry.size <= MD5_BYTES and entry.md5 else None
    buffer = memoryview(bytearray(CHUNK_BYTES))
    starts = iter(range(0, entry.size, RANGE_BYTES))
    running: deque[Future[int]] = deque(pool.submit(segment, fd, start) for start in islice(starts, STREAMS))
    position = 0
    try:
        while running:
            end = running.popleft().result()
            running.extend(pool.submit(segment, fd, start) for start in islice(starts, 1))
            while position < end:
                count = os.preadv(fd, [buffer], position)
                sha.update(buffer[:count])
                if md5 is not None:
                    md5.update(buffer[:count])
                position += count
    finally:
        wait(running)  # none may write into a descriptor that is closed, or another's by then
    return sha.hexdigest(), md5.hexdigest() if md5 is not None else ""
