"""Uploads into a folder: an upload is a file with a hidden name beside its target.

Completing it renames it, so a reader sees the old object or the new one. An etag is inode, time and size: a rename keeps
all three, so an upload is recognised after it was completed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.data.errors import DataError
from millrace.data.stores import Upload

if TYPE_CHECKING:
    from millrace.data.deflate import Chunk

_HIDDEN = re.compile(r"\..*\.millrace-[0-9a-f]{16}", re.DOTALL)
_NAME_BYTES = 255 - 32  # of a target that stands in its upload's name
_REASONS = {errno.ENOSPC: "no space is left", errno.EDQUOT: "the quota is used up"}
_NOT_A_NAME = {errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EINVAL, errno.ELOOP}


def etag(status: os.stat_result) -> str:
    """What tells one state of a file from another."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


@contextmanager
def told(where: str) -> Iterator[None]:
    """The operating system's refusals in the words of stores; what is not found or exists is left to the caller."""
    try:
        yield
    except (FileNotFoundError, FileExistsError, DataError):
        raise
    except PermissionError as error:
        raise DataError("AccessDenied", f"{where}: {error.strerror}") from None
    except OSError as error:
        if error.errno in _REASONS:
            raise DataError("StoreFull", f"{where}: {_REASONS[error.errno]}") from None
        if error.errno == errno.EROFS:
            raise DataError("AccessDenied", f"{where}: {error.strerror}") from None
        if error.errno == errno.EOPNOTSUPP:  # of os.link, and final: hours of trying would not help
            raise DataError("InvalidStore", f"{where}: this file system has no hard links, which publishing needs") from None
        if error.errno in _NOT_A_NAME:
            raise DataError("KeyRefused", f"{where}: {error.strerror}") from None
        raise DataError("Unreachable", f"{where}: {error.strerror}") from None


def is_hidden(name: str) -> bool:
    """Whether it is the name of an upload's file."""
    return _HIDDEN.fullmatch(name) is not None


class FolderUploads:
    """Uploads into a folder: an upload's id is the end of a hidden file's name."""

    def __init__(self, folder: Path, where: Callable[[str], str]) -> None:
        """`where` names the place of a key for messages."""
        self._folder, self._where = folder, where

    def hidden(self, key: str, upload_id: str) -> Path:
        """The file of an upload."""
        target = self._folder / key
        name = target.name.encode()[:_NAME_BYTES].decode(errors="ignore")
        return target.with_name(f".{name}.millrace-{upload_id}")

    def begin(self, key: str) -> str:
        """An upload's empty file, and the folders above it; its id. Raises DataError."""
        upload_id = secrets.token_hex(8)
        path = self.hidden(key, upload_id)
        with told(self._where(key)):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise DataError("KeyRefused", f"{self._where(key)}: a file where a folder is needed") from None
            path.open("xb").close()
        return upload_id

    def create(self, key: str, *, deadline: float) -> tuple[str, bool]:  # noqa: ARG002
        """See Uploads."""
        return self.begin(key), False

    def writer(self, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> FileWriter:  # noqa: ARG002
        """See Uploads."""
        upload_id = begin()
        return FileWriter(self.hidden(key, upload_id), upload_id, self._where(key))

    def complete(self, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads."""
        with told(self._where(key)):
            try:
                self.hidden(key, upload_id).rename(self._folder / key)
            except FileNotFoundError:
                return False
        return True

    def abort(self, key: str, upload_id: str, *, deadline: float) -> None:  # noqa: ARG002
        """See Uploads."""
        with told(self._where(key)), suppress(FileNotFoundError):
            self.hidden(key, upload_id).unlink()

    def head(self, key: str, *, deadline: float) -> tuple[str, int] | None:  # noqa: ARG002
        """See Uploads."""
        with told(self._where(key)):
            try:
                status = (self._folder / key).stat()
            except FileNotFoundError:
                return None
        return etag(status), status.st_size

    def published(self, key: str, upload_id: str, etag: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads."""
        found = self.head(key, deadline=deadline)
        return bool(etag) and found is not None and found[0] == etag

    def unfinished(self, key: str, *, deadline: float) -> list[Upload]:  # noqa: ARG002
        """See Uploads."""
        start = self.hidden(key, "")
        found = []
        with told(self._where(key)), suppress(FileNotFoundError):
            for path in start.parent.iterdir():
                if path.name.startswith(start.name) and is_hidden(path.name):
                    begun = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    found.append(Upload(path.name[len(start.name) :], begun))
        return found

    def is_empty(self, key: str, upload_id: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads."""
        with suppress(FileNotFoundError):
            return self.hidden(key, upload_id).stat().st_size == 0
        return False


class FileWriter:
    """Writes an upload's file. `etag` is known once it is finished."""

    def __init__(self, path: Path, upload_id: str, where: str) -> None:
        self.upload_id, self.bytes, self.etag = upload_id, 0, ""
        self.parts: list[str] = []
        self._where, self._sum = where, hashlib.sha256()
        with told(where):
            self._file = path.open("r+b", buffering=0)

    def write(self, chunk: Chunk) -> None:
        """See Writer."""
        view = memoryview(chunk).cast("B")
        self._sum.update(view)
        self.bytes += len(view)
        with told(self._where):
            while view:
                view = view[self._file.write(view) :]

    def finish(self) -> str:
        """See Writer."""
        with told(self._where):
            os.fsync(self._file.fileno())
            self.etag = etag(os.fstat(self._file.fileno()))
            self._file.close()
        return self._sum.hexdigest()

    def stop(self) -> None:
        """See Writer."""
        self._file.close()
