"""A stream in parts of one size, sent from two threads."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol, TypeVar

from millrace.data.deflate import Chunk
from millrace.data.errors import DataError
from millrace.data.retry import remaining, retrying

MAX_PARTS = 10_000
LEAST_PART = 8 << 20
MAX_PART = 5 << 30
IN_FLIGHT = 2
_MIB = 1 << 20
_SEND_BYTES = 128 << 10
_MD5 = re.compile(r"[0-9a-f]{32}")
T = TypeVar("T")


def part_size(most: int) -> int:
    """Bytes of each part of an upload of at most `most` bytes: 8 MiB up to 74 GiB, above that what 9,500 parts need,
    in MiB.

    All parts but the last have this size, as some servers ask. Memory of an upload is three parts. Raises DataError
    TreeTooLarge above 46 TiB.
    """
    size = max(LEAST_PART, -(-most // 9_500 // _MIB) * _MIB + _MIB if most > 9_500 * LEAST_PART else 0)
    if size > MAX_PART:
        raise DataError("TreeTooLarge", "the output is larger than any object can be")
    return size


def whole_etag(parts: Sequence[str]) -> str:
    """The etag that an object of these parts has: the MD5 of the parts' MD5s, a dash, their number.

    Empty where the parts' etags are no MD5s: such an object cannot be recognised.
    """
    if not all(_MD5.fullmatch(part) for part in parts):
        return ""
    joined = hashlib.md5(b"".join(bytes.fromhex(part) for part in parts), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(parts)}"


class PutPart(Protocol):
    """Sends a part of an upload, again until it is there or `stopped()`; returns what `complete` needs of it."""

    def __call__(
        self, key: str, upload_id: str, number: int, data: memoryview, *, deadline: float, stopped: Callable[[], bool]
    ) -> str:
        """`number` counts from 1. Raises DataError, UploadGone among them."""


def sending(once: Callable[[], T], *, where: str, deadline: float, stopped: Callable[[], bool]) -> T:
    """Sends a part until it is there. Raises DataError, also when it is not wanted any more."""

    def wanted() -> T:
        remaining(deadline, where)
        if stopped():
            raise DataError("UploadFailed", f"{where}: the upload was given up", final=True)
        return once()

    return retrying(wanted, where=where, deadline=deadline)


def pieces_of(data: memoryview) -> Iterator[bytes]:
    """A part as a body that is not copied as a whole."""
    for start in range(0, len(data), _SEND_BYTES):
        yield bytes(data[start : start + _SEND_BYTES])


class PartWriter:
    """Turns a stream of chunks into parts of one size and sends them from two threads; `write` waits while both are
    busy.

    `put` sends a part, `whole` tells the object's etag from those of its parts. `begin` makes the upload and returns its
    id; it is called again if the upload vanishes before its first part is there. Memory: three buffers of `size` bytes.
    Not for use from several threads.
    """

    def __init__(
        self,
        put: PutPart,
        whole: Callable[[Sequence[str]], str],
        where: str,
        key: str,
        size: int,
        begin: Callable[[], str],
        *,
        deadline: float,
    ) -> None:
        self._put_part, self._whole, self._where, self._key = put, whole, where, key
        self._size, self._begin, self._deadline = size, begin, deadline
        self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upload")
        self._lock = threading.Lock()
        self._free = [bytearray() for _ in range(IN_FLIGHT + 1)]
        self._buffer = self._free.pop()
        self._have = 0
        self._running: deque[tuple[Future[str], bytearray]] = deque()
        self._sum = hashlib.sha256()
        self._sent = 0
        self._arrived = 0
        self._stopped = threading.Event()
        self.parts: list[str] = []
        self.bytes = 0
        self.upload_id = begin()

    @property
    def etag(self) -> str:
        """What the object will have once it is completed; empty where it cannot be known."""
        return self._whole(self.parts)

    def write(self, chunk: Chunk) -> None:
        """Takes the next bytes. Raises DataError when a part cannot be sent."""
        view = memoryview(chunk)
        while view:
            if not self._buffer:
                self._buffer = bytearray(self._size)
            take = min(len(view), self._size - self._have)
            self._buffer[self._have : self._have + take] = view[:take]
            self._have += take
            view = view[take:]
            if self._have == self._size:
                self._flush()

    def finish(self) -> str:
        """Sends what is left and waits for all parts; returns the SHA-256 of all bytes. Raises DataError."""
        if self._have or not self._sent:
            self._flush()
        while self._running:
            self._reap()
        self._pool.shutdown()
        return self._sum.hexdigest()

    def stop(self) -> None:
        """Ends the threads after a failure; the upload itself stays."""
        self._stopped.set()
        for work, _ in self._running:
            work.cancel()
        wait([work for work, _ in self._running], timeout=1)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _flush(self) -> None:
        view = memoryview(self._buffer)[: self._have]
        self._sum.update(view)
        self.bytes += self._have
        self._sent += 1
        if self._sent > MAX_PARTS:
            raise DataError("TreeTooLarge", f"{self._where}: more than {MAX_PARTS} parts")
        self._running.append((self._pool.submit(self._put, self._sent, view), self._buffer))
        while not self._free:
            self._reap()
        self._buffer, self._have = self._free.pop(), 0

    def _reap(self) -> None:
        work, buffer = self._running.popleft()
        self.parts.append(work.result())
        self._free.append(buffer)

    def _put(self, number: int, view: memoryview) -> str:
        while True:
            used = self.upload_id
            try:
                etag = self._put_part(
                    self._key,
                    used,
                    number,
                    view,
                    deadline=self._deadline,
                    stopped=self._stopped.is_set,
                )
                with self._lock:
                    if used == self.upload_id:
                        self._arrived += 1
                        return etag
            except DataError as error:
                with self._lock:
                    if error.reason != "UploadGone" or self._arrived:
                        raise
                    if self.upload_id == used:
                        remaining(self._deadline, self._where)
                        self.upload_id = self._begin()
