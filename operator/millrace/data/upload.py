"""Files of a machine into a store as they are: what they are first, then their bytes."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from millrace.data.digest import folder_digest
from millrace.data.errors import DataError
from millrace.data.fetch import Counter
from millrace.data.model import Progress
from millrace.data.output import ONE_PUT_BYTES, PIECE_BYTES, put_parts
from millrace.data.stores import Store
from millrace.data.transfer import put_descriptor
from millrace.data.tree import Gone, Tree

THREADS = 6
AT_ONCE = 64  # files that are open, or wait for a thread


@dataclass(frozen=True)
class Content:
    """A file, or the files of a folder: SHA-256 by path below it. `sha256` is what staging it will say."""

    path: Path
    files: dict[str, str]
    bytes: int
    sha256: str
    warnings: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether it is one file."""
        return self.path.is_file()


def content(path: Path) -> Content:
    """Reads all of a file or folder. Links that leave a folder, and what is no file, are left out with a warning.

    Raises DataError: DiskError, TreeTooLarge.
    """
    files: dict[str, str] = {}
    sizes: dict[str, int] = {}
    with _opened(path) as (found, tree):
        for name, fd in found:
            with os.fdopen(fd, "rb") as file:
                files[name] = hashlib.file_digest(file, "sha256").hexdigest()
                sizes[name] = file.tell()
        warnings = tuple(tree.warnings) if tree else ()
    total = folder_digest((name, sizes[name], sha256) for name, sha256 in files.items())
    return Content(path, files, sum(sizes.values()), total if tree else files[path.name], warnings)


def upload(store: Store, key: str, subject: Content, *, deadline: float, progress: Progress | None = None) -> None:
    """Sends its files below `key` (relative to the store's prefix), each whole or not at all.

    progress(bytes, files). Raises DataError: ChecksumMismatch where a file is another one by now, and the store's own
    reasons.
    """
    counter = Counter(progress)

    def send(name: str, fd: int) -> None:
        try:
            full = store.full_key(f"{key}/{name}")
            size, sha256 = _send(store, full, fd, deadline)
        finally:
            os.close(fd)
        if sha256 != subject.files.get(name):
            raise DataError("ChecksumMismatch", f"{subject.path}: {name} was changed while it was uploaded")
        counter.add(size, 1)

    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="put")
    try:
        with _opened(subject.path) as (found, _):
            running = set()
            for name, fd in found:
                running.add(pool.submit(send, name, fd))
                if len(running) >= AT_ONCE:
                    done, running = wait(running, return_when=FIRST_EXCEPTION)
                    for each in done:
                        each.result()
            for each in wait(running).done:
                each.result()
    finally:
        pool.shutdown(cancel_futures=True)
        counter.flush()


def pack(subject: Content, target: BinaryIO, folder: str, progress: Progress | None = None) -> None:
    """Writes its files as a tar stream, below `folder`. Raises DataError as `upload` does, and what `target` raises."""
    counter = Counter(progress)
    with _opened(subject.path) as (found, _), tarfile.open(fileobj=target, mode="w|", bufsize=PIECE_BYTES) as archive:
        for name, fd in found:
            with os.fdopen(fd, "rb") as file:
                status = os.fstat(fd)
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
                summed = _Summed(file)
                try:
                    archive.addfile(member, summed)  # type: ignore[arg-type] # it reads, and no more is asked for
                except tarfile.ReadError:  # shorter than it was
                    summed.sum = hashlib.sha256()
            if summed.sum.hexdigest() != subject.files.get(name):
                raise DataError("ChecksumMismatch", f"{subject.path}: {name} was changed while it was uploaded")
            counter.add(member.size, 1)
    counter.flush()


class _Summed:
    """A file that is hashed while it is read."""

    def __init__(self, file: BinaryIO) -> None:
        self.sum, self._file = hashlib.sha256(), file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sum.update(data)
        return data


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Iterator[tuple[str, int]], Tree | None]]:
    """(name, descriptor) of each file, which the caller closes, and the tree where it is a folder."""
    if not path.is_dir():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as exc:
            raise DataError("DiskError", f"{path}: {exc.strerror}") from None
        yield iter([(path.name, fd)]), None
        return
    with Tree(path) as tree:
        yield _files(tree), tree


def _files(tree: Tree) -> Iterator[tuple[str, int]]:
    for node in tree.walk():
        if node.is_folder:
            continue
        try:
            fd, _ = node.open()
        except Gone as gone:
            tree.left_out(node.name, str(gone))
            continue
        yield node.name, fd


def _send(store: Store, key: str, fd: int, deadline: float) -> tuple[int, str]:
    size = os.fstat(fd).st_size
    if size <= ONE_PUT_BYTES:
        return put_descriptor(store, key, fd, size, deadline=deadline)
    begun: list[str] = []

    def begin() -> str:
        begun.append(store.uploads.create(key, deadline=deadline)[0])
        return begun[-1]

    try:
        return put_parts(store, key, fd, size, begin, deadline=deadline)
    except BaseException:
        with suppress(DataError):
            for upload_id in begun:
                store.uploads.abort(key, upload_id, deadline=deadline)
        raise
