"""A folder of files as a tar.gz, and back. What comes back may be anybody's: regular files only, each within the folder."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any, BinaryIO

from isal import igzip, isal_zlib

LEVEL = 1  # a third of the size at the speed of a copy
PIECE_BYTES = 256 << 10
NAME_BYTES = 4096
BLOCK = tarfile.BLOCKSIZE
# What Python says of bytes that are no archive, of names that are no text, and of two members that are in each other's way.
BROKEN: tuple[type[Exception], ...] = (  # type: ignore[assignment] # isal's stub: its error is an instance
    igzip.BadGzipFile,
    isal_zlib.error,
    EOFError,
    tarfile.HeaderError,
    UnicodeDecodeError,
    FileExistsError,
    NotADirectoryError,
)


class Damaged(Exception):
    """It is not what `pack` has made."""


def pack(folder: str, target: BinaryIO) -> tuple[int, int]:
    """Write the folder's files in the order of their names, without times and owners: (files, their bytes).

    Raises ValueError where there is something else than files and folders, OSError.
    """
    files = size = 0
    packed: Any
    with igzip.IGzipFile(filename="", fileobj=target, mode="wb", compresslevel=LEVEL, mtime=0) as packed:  # type: ignore[no-untyped-call]
        for path in _files(folder):
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                member = tarfile.TarInfo(os.path.relpath(path, folder))
                status = os.fstat(file.fileno())
                member.size = status.st_size
                member.mode = 0o755 if status.st_mode & 0o100 else 0o644
                packed.write(member.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict"))
                written = 0
                while piece := file.read(PIECE_BYTES):
                    written += len(piece)
                    packed.write(piece)
            if written != member.size:
                raise ValueError(f"{member.name} changed while it was read")
            packed.write(bytes(-written % BLOCK))
            files, size = files + 1, size + written
        packed.write(bytes(2 * BLOCK))
    return files, size


def _files(folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.path
        else:
            raise ValueError(f"{entry.path} is neither a file nor a folder")


def unpack(chunks: Iterator[memoryview], folder: str, files: int, size: int) -> None:
    """Make the files below `folder`, which exists and is empty; at most that many, of that many bytes in all.

    Raises Damaged, or what `chunks` raises, or OSError of the disk: then some files may be there already.
    """
    made = {folder}
    packed: Any
    source = io.BufferedReader(_Chunks(chunks), PIECE_BYTES)  # type: ignore[type-var]
    with igzip.IGzipFile(fileobj=source, mode="rb") as packed:  # type: ignore[no-untyped-call]
        try:
            for name, member in _members(packed):
                files, size = files - 1, size - member.size
                if files < 0 or size < 0:
                    raise Damaged("more files or bytes than its record says")
                path = os.path.join(folder, *_parts(name))
                above = os.path.dirname(path)
                if above not in made:
                    os.makedirs(above, exist_ok=True)
                    made.add(above)
                _write(packed, path, member)
        except BROKEN as error:
            raise Damaged(str(error)) from error


def _members(packed: BinaryIO) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Name and header of each file; its content is to be read before the next."""
    long: str | None = None
    while (block := _exactly(packed, BLOCK)).strip(b"\0"):
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        if member.type == tarfile.GNUTYPE_LONGNAME and member.size <= NAME_BYTES and long is None:
            long = _exactly(packed, member.size + -member.size % BLOCK)[: member.size].rstrip(b"\0").decode()
            continue
        if member.type != tarfile.REGTYPE or member.size < 0:
            raise Damaged(f"{member.name!r} is not a regular file")
        yield long or member.name, member
        long = None


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Damaged(f"{name!r} is not a path within a folder")
    return parts


def _write(packed: BinaryIO, path: str, member: tarfile.TarInfo) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o755 if member.mode & 0o100 else 0o644), "wb", buffering=0) as file:
        left = member.size
        while left:
            piece = _exactly(packed, min(left, PIECE_BYTES))
            file.write(piece)
            left -= len(piece)
    _exactly(packed, -member.size % BLOCK)


def _exactly(packed: BinaryIO, size: int) -> bytes:
    data = packed.read(size)
    if len(data) != size:
        raise Damaged("it ends too early")
    return data


class _Chunks(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[memoryview]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
