"""Multipart uploads, call by call: what is sent is invisible until `complete`, and a call whose answer is lost may be
repeated.

Parts carry Content-MD5, so the server itself refuses a part that was damaged on its way, over plain HTTP too. It
costs about 1.3 s of one core for each GB that is sent, beside the MD5 that the server computes for the etag anyway.
"""

from __future__ import annotations

import hashlib
import re
import threading
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime

from millrace.data.deflate import Chunk
from millrace.data.errors import DataError
from millrace.data.retry import remaining, retrying
from millrace.data.stores import Store

MAX_PARTS = 10_000
LEAST_PART = 8 << 20
MAX_PART = 5 << 30
IN_FLIGHT = 2
_SEND_BYTES = 128 << 10
_MIB = 1 << 20
_MD5 = re.compile(r"[0-9a-f]{32}")


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


def create(store: Store, key: str, *, deadline: float) -> tuple[str, bool]:
    """Begins an upload to the full key: (its id, whether an earlier try's answer was lost, which leaves an upload
    without a name).

    Raises DataError.
    """
    tries = 0

    def once() -> str:
        nonlocal tries
        tries += 1
        found = store.xml("POST", key, {"uploads": ""}).findtext("UploadId")
        if not found:
            raise DataError("BadResponse", f"{store.where(key)}: the store gave no upload id")
        return found

    return retrying(once, where=store.where(key), deadline=deadline), tries > 1


def put_part(
    store: Store,
    key: str,
    upload_id: str,
    number: int,
    data: memoryview,
    *,
    deadline: float,
    stopped: Callable[[], bool] = lambda: False,
) -> str:
    """Sends part `number` (from 1), again until it is there or `stopped()`; returns its etag without quotes.

    Raises DataError, UploadGone among them.
    """
    where = store.where(key)
    digest = hashlib.md5(data, usedforsecurity=False)
    headers = {"Content-Length": str(len(data)), "Content-MD5": b64encode(digest.digest()).decode()}
    query = {"partNumber": str(number), "uploadId": upload_id}

    def body() -> Iterator[bytes]:
        for start in range(0, len(data), _SEND_BYTES):
            yield bytes(data[start : start + _SEND_BYTES])

    def once() -> str:
        remaining(deadline, where)
        if stopped():
            raise DataError("UploadFailed", f"{where}: the upload was given up", final=True)
        answer = store.request("PUT", key, query, headers=headers, content=body())
        etag = answer.headers.get("etag", "").strip('"')
        if not etag:
            raise DataError("BadResponse", f"{where}: the store gave no etag")
        return str(etag)

    return retrying(once, where=where, deadline=deadline)


def complete(store: Store, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
    """Makes the object visible. True: done. False: the upload is not known, so it was completed before or aborted.

    A 200 with an error in it and a lost answer are tried again. Raises DataError.
    """
    root = ET.Element("CompleteMultipartUpload")
    for number, etag in enumerate(parts, 1):
        part = ET.SubElement(root, "Part")
        ET.SubElement(part, "PartNumber").text = str(number)
        ET.SubElement(part, "ETag").text = f'"{etag}"'
    document = ET.tostring(root)

    def once() -> bool:
        try:
            answer = store.xml("POST", key, {"uploadId": upload_id}, content=document, seconds=300)
        except DataError as error:
            if error.reason == "UploadGone":
                return False
            raise
        if answer.tag != "CompleteMultipartUploadResult":
            raise DataError("BadResponse", f"{store.where(key)}: the upload's completion was not confirmed")
        return True

    return retrying(once, where=store.where(key), deadline=deadline)


def abort(store: Store, key: str, upload_id: str, *, deadline: float) -> None:
    """Ends an upload and frees its parts; one that is not known is no error. Raises DataError."""

    def once() -> None:
        try:
            store.request("DELETE", key, {"uploadId": upload_id})
        except DataError as error:
            if error.reason not in ("UploadGone", "NotFound"):
                raise

    retrying(once, where=store.where(key), deadline=deadline)


def head(store: Store, key: str, *, deadline: float) -> tuple[str, int] | None:
    """(etag without quotes, size) of the full key, or None when there is no object. Raises DataError."""

    def once() -> tuple[str, int] | None:
        try:
            headers = store.request("HEAD", key).headers
        except DataError as error:
            if error.reason == "NotFound":
                return None
            raise
        return str(headers.get("etag", "")).strip('"'), int(headers.get("content-length", 0))

    return retrying(once, where=store.where(key), deadline=deadline)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that is not completed. `initiated` by the store's clock."""

    id: str
    initiated: datetime


def uploads(store: Store, key: str, *, deadline: float) -> list[Upload]:
    """The uploads to exactly this full key that are not completed (some servers list them by the exact key only).
    Raises DataError.
    """
    query = {"uploads": "", "prefix": key, "max-uploads": "1000"}
    root = retrying(lambda: store.xml("GET", "", query), where=store.where(key), deadline=deadline)
    found = []
    for node in root.iterfind("Upload"):
        if node.findtext("Key") == key:
            begun = datetime.fromisoformat(node.findtext("Initiated") or "1970-01-01T00:00:00Z")
            found.append(Upload(node.findtext("UploadId") or "", begun))
    return found


def is_empty(store: Store, key: str, upload_id: str, *, deadline: float) -> bool:
    """Whether no part was sent yet; False for an upload that is not known. Raises DataError."""

    def once() -> bool:
        try:
            return store.xml("GET", key, {"uploadId": upload_id, "max-parts": "1"}).find("Part") is None
        except DataError as error:
            if error.reason in ("UploadGone", "NotFound"):
                return False
            raise

    return retrying(once, where=store.where(key), deadline=deadline)


class PartWriter:
    """Turns a stream of chunks into parts of one size and sends them from two threads; `write` waits while both are
    busy.

    `begin` makes the upload and returns its id; it is called again if the upload vanishes before its first part is
    there. Memory: three buffers of `size` bytes. Not for use from several threads.
    """

    def __init__(self, store: Store, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> None:
        self._store, self._key, self._size, self._begin, self._deadline = store, key, size, begin, deadline
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
            raise DataError("TreeTooLarge", f"{self._store.where(self._key)}: more than {MAX_PARTS} parts")
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
                etag = put_part(
                    self._store,
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
                        remaining(self._deadline, self._store.where(self._key))
                        self.upload_id = self._begin()
