"""A ZIP in a stream: equal trees give equal bytes, whatever the time, the user, the umask or the number of threads.

Layout: members in the order they are added; modes 0644 or 0755, time 1980-01-01 00:00, made by Unix, no extra fields
but Zip64 where a number needs it; names UTF-8, flagged where they are not ASCII. A file of up to 1 MiB is one deflate
stream, or is stored where that is not longer, with its sizes in front of it. A larger one is deflate in blocks of 1
MiB that are compressed by themselves (blocks that do not shrink are deflate's own stored blocks), with its sizes in a
data descriptor behind it, which every reader of deflated members knows (a *stored* member with a descriptor is what
strict stream readers refuse).
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from isal import isal_zlib

from millrace.data.deflate import BLOCK_BYTES, END, Chunk, deflate_block, deflate_whole
from millrace.data.digest import ContentDigest
from millrace.data.tree import Gone, Tree
from millrace.data.ziprecords import MAX32, Member, central_record, descriptor, end_records, flags, local_header

WORKERS = 2  # more than the cores of a small pod need; the bytes do not depend on it
INLINE_BYTES = 64 << 10  # below, a hand-over to another thread costs more than the work
WINDOW = WORKERS + 1  # blocks that are compressed or wait for their turn
_FOLDER_MODE = 0o40755


class Sink(Protocol):
    """Takes the archive's bytes in order. A chunk is only valid during the call."""

    def __call__(self, chunk: Chunk, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Archived:
    """`files` without empty folders; `content_bytes` before compression."""

    files: int
    content_bytes: int
    content_digest: str


class ZipWriter:
    """Writes one archive into a sink. Members must come sorted by the UTF-8 bytes of their names.

    Memory: WINDOW blocks of 1 MiB with what they shrank to, and about 60 bytes and the name for each member.
    """

    def __init__(self, sink: Sink, pool: ThreadPoolExecutor) -> None:
        self._sink = sink
        self._pool = pool
        self._offset = 0
        self._central = bytearray()
        self._members = 0
        self._files = self._content = 0
        self._digest = ContentDigest()
        self._running: deque[tuple[Future[tuple[list[Chunk], int]], bytearray, Callable[[list[Chunk], int], None]]]
        self._running = deque()
        self._free: list[bytearray] = []

    def add_folder(self, name: str) -> None:
        """An empty folder; `name` ends in "/"."""
        self._drain()
        raw = name.encode()
        member = Member(raw, executable=True, method=0, flags=flags(raw), offset=self._offset)
        self._local(member)
        self._directory(member, _FOLDER_MODE << 16 | 0x10)
        self._digest.add(name, executable=True, size=0, sha256=hashlib.sha256().hexdigest())

    def add_file(self, name: str, fd: int, size: int, *, executable: bool) -> str:
        """A regular file from the start of `fd`, at most `size` bytes of it. Returns its SHA-256; OSError when it
        cannot be read.
        """
        raw = name.encode()
        first, count = self._read(fd, 0, size)
        if size <= BLOCK_BYTES:
            sha256 = self._small(raw, first, count, executable)
        else:
            sha256, count = self._large(raw, first, count, fd, size, executable=executable)
        self._digest.add(name, executable=executable, size=count, sha256=sha256)
        self._files += 1
        self._content += count
        return sha256

    def _read(self, fd: int, offset: int, size: int) -> tuple[bytearray, int]:
        buffer = self._free.pop() if self._free else bytearray(BLOCK_BYTES)
        want = min(BLOCK_BYTES, size - offset)
        view, have = memoryview(buffer)[:want], 0
        while have < want:
            count = os.preadv(fd, [view[have:]], offset + have)
            if count == 0:
                break
            have += count
        return buffer, have

    def _small(self, name: bytes, buffer: bytearray, count: int, executable: bool) -> str:
        data = memoryview(buffer)[:count]
        if count > INLINE_BYTES:
            work = self._pool.submit(_pack_whole, data)
        else:
            work = Future()
            work.set_result(_pack_whole(data))

        def emit(chunks: list[Chunk], crc: int) -> None:
            packed = sum(map(len, chunks))
            method = 0 if packed == count and chunks and chunks[0] is data else 8 if count else 0
            member = Member(name, executable, method, flags(name), offset=self._offset, crc=crc, packed=packed, size=count)
            self._local(member)
            self._write(chunks)
            self._directory(member, _mode(executable))

        self._submit(work, buffer, emit)
        return hashlib.sha256(data).hexdigest()

    def _large(self, name: bytes, buffer: bytearray, count: int, fd: int, size: int, *, executable: bool) -> tuple[str, int]:
        member = Member(name, executable, 8, flags(name) | 8)
        member.zip64 = size + size // 8192 + (1 << 16) > MAX32
        sha = hashlib.sha256()
        first = True
        total = 0

        def emit(chunks: list[Chunk], crc: int, *, length: int, start: bool) -> None:
            if start:
                member.offset = self._offset
                self._local(member)
            member.crc = isal_zlib.crc32_combine(member.crc, crc, length)
            member.size += length
            member.packed += sum(map(len, chunks))
            self._write(chunks)

        while count or first:
            data = memoryview(buffer)[:count]
            work = self._pool.submit(_pack_block, data)
            self._submit(work, buffer, partial(emit, length=count, start=first))
            sha.update(data)
            total += count
            first = False
            buffer, count = self._read(fd, total, size)
        self._free.append(buffer)

        def close(chunks: list[Chunk], _: int) -> None:
            member.packed += len(END)
            self._write(chunks)
            self._write([descriptor(member)])
            self._directory(member, _mode(executable))

        done: Future[tuple[list[Chunk], int]] = Future()
        done.set_result(([END], 0))
        self._submit(done, bytearray(), close)
        return sha.hexdigest(), total

    def _submit(
        self,
        work: Future[tuple[list[Chunk], int]],
        buffer: bytearray,
        emit: Callable[[list[Chunk], int], None],
    ) -> None:
        self._running.append((work, buffer, emit))
        while len(self._running) > WINDOW or (self._running and self._running[0][0].done()):
            self._emit_one()

    def _emit_one(self) -> None:
        work, buffer, emit = self._running.popleft()
        chunks, crc = work.result()
        emit(chunks, crc)
        if len(buffer) == BLOCK_BYTES:
            self._free.append(buffer)

    def _drain(self) -> None:
        while self._running:
            self._emit_one()

    def _write(self, chunks: list[Chunk]) -> None:
        for chunk in chunks:
            self._sink(chunk)
            self._offset += len(chunk)

    def _local(self, member: Member) -> None:
        self._write([local_header(member)])

    def _directory(self, member: Member, attributes: int) -> None:
        self._central += central_record(member, attributes)
        self._members += 1

    def close(self) -> Archived:
        """Writes the central directory and its end; the archive is complete."""
        self._drain()
        start, length, count = self._offset, len(self._central), self._members
        for at in range(0, length, BLOCK_BYTES):
            self._write([bytes(self._central[at : at + BLOCK_BYTES])])
        self._write([end_records(count, start, length)])
        return Archived(self._files, self._content, self._digest.hexdigest())


def _mode(executable: bool) -> int:
    return (0o100755 if executable else 0o100644) << 16


def _pack_whole(data: memoryview) -> tuple[list[Chunk], int]:
    packed = deflate_whole(data)
    return [data] if packed is None else packed, isal_zlib.crc32(data)


def _pack_block(data: memoryview) -> tuple[list[Chunk], int]:
    return deflate_block(data), isal_zlib.crc32(data)


def write_zip(tree: Tree, sink: Sink, *, progress: Callable[[int, int], None] | None = None) -> Archived:
    """The whole tree as one archive. What cannot be opened any more is left out with a warning of the tree.

    Raises DataError (TreeTooLarge, DiskError) and whatever the sink raises.
    """
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="deflate") as pool:
        writer = ZipWriter(sink, pool)
        size = files = 0
        for node in tree.walk():
            if node.is_folder:
                writer.add_folder(node.name)
                continue
            try:
                fd, status = node.open()
            except Gone as gone:
                tree.left_out(node.name, str(gone))
                continue
            try:
                writer.add_file(node.name, fd, status.st_size, executable=bool(status.st_mode & 0o100))
            finally:
                os.close(fd)
            size += status.st_size
            files += 1
            if progress is not None:
                progress(size, files)
        return writer.close()
