"""A folder as a store: a volume that is mounted, or a folder of this machine in a local run."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace.data.beside import FolderUploads, etag, is_hidden, told
from millrace.data.errors import DataError
from millrace.data.model import Identity
from millrace.data.stores import CHUNK_BYTES, SMALL_BYTES, Entry, check_size, checked_key


class FolderStore:
    """A store whose keys are paths below a folder, which is made when something is first written."""

    prefix = ""
    identity: Identity = "Job"  # the user that the pod has

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self._claim = str(entry.get("claim") or "")
        self.folder = Path(os.path.realpath(entry["folder"]))
        self.uploads = FolderUploads(self.folder, self.where)

    def close(self) -> None:
        """Nothing is open."""

    def full_key(self, relative: str) -> str:
        """See Store."""
        return checked_key(self.name, "", relative)

    def where(self, key: str = "") -> str:
        """The path; of a claim with its name, since nobody knows where a pod has it."""
        place = f"claim {self._claim}:" if self._claim else str(self.folder)
        return f"{place}/{key}" if key else place

    def uri(self, key: str) -> str:
        """The path as a `file://` reference; of a claim as STORE/paths/PATH."""
        if self._claim:
            return f"{self.name}/paths/{key}"
        return (self.folder / key).as_uri() + ("/" if key.endswith("/") else "")

    def probe(self, *, seconds: float) -> None:  # noqa: ARG002 - a folder answers or blocks
        """See Store."""
        with told(self.where()):
            try:
                os.scandir(self.folder).close()
            except FileNotFoundError:
                raise DataError("NotFound", f"{self.where()}: no such folder") from None

    def list(self, prefix: str, *, deadline: float, limit: int | None = None) -> Iterator[Entry]:  # noqa: ARG002
        """See Store. An empty folder is listed as its key with a final "/"; links are followed as long as they stay in
        the store. Raises DataError KeyRefused for those that do not, and for what is no file."""
        above = prefix.rpartition("/")[0]
        found = self._below(f"{above}/" if above else "", prefix, ())
        for number, entry in enumerate(found, 1):
            yield entry
            if number == limit:
                return

    def _below(self, folder: str, prefix: str, passed: tuple[str, ...]) -> Iterator[Entry]:
        path = self.folder / folder
        with told(self.where(folder)):
            names = [child.name for child in path.iterdir() if not is_hidden(child.name)] if path.is_dir() else []
        states = [(name, *self._state(folder + name)) for name in names if _related(folder + name, prefix)]
        ordered = [(f"{name}/" if stat.S_ISDIR(status.st_mode) else name, real, status) for name, real, status in states]
        for name, real, status in sorted(ordered, key=lambda item: item[0].encode()):
            key = folder + name
            if not name.endswith("/"):
                if key.startswith(prefix):
                    yield Entry(key, status.st_size, etag(status))
                continue
            if real in passed:
                raise DataError("KeyRefused", f"{self.where(key)}: a link to a folder that it lies in")
            if not (key.startswith(prefix) or prefix.startswith(key)):
                continue
            empty = True
            for entry in self._below(key, prefix, (*passed, real)):
                empty = False
                yield entry
            if empty and key.startswith(prefix):
                yield Entry(key, 0, "")

    def type_of(self, key: str) -> str | None:
        """What lies under a key: "uri_file", "uri_folder" or None. Raises DataError."""
        with told(self.where(key)):
            if not os.path.lexists(self.folder / key):
                return None
            return "uri_folder" if stat.S_ISDIR(self._state(key)[1].st_mode) else "uri_file"

    def _state(self, key: str) -> tuple[str, os.stat_result]:
        """(real path, status) of what lies under a key. Raises DataError."""
        where = self.where(key)
        real = os.path.realpath(self.folder / key)
        try:
            key.encode()
            status = Path(real).lstat()
        except UnicodeEncodeError:
            raise DataError("KeyRefused", f"{where!r}: the name is not UTF-8") from None
        except FileNotFoundError:
            raise DataError("KeyRefused", f"{where}: a link that leads nowhere") from None
        if not Path(real).is_relative_to(self.folder):
            raise DataError("KeyRefused", f"{where}: a link that leads out of the store's folder")
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            raise DataError("KeyRefused", f"{where}: neither a file nor a folder")
        return real, status

    def read(self, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
        """See Store."""
        where = self.where(entry.key)
        with told(where):
            fd = os.open(self.folder / entry.key, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if etag(os.fstat(fd)) != entry.etag:  # also what a link leads to that was changed since
                raise DataError("ObjectChanged", f"{where}: it was changed while it was read")
            whole = end - start if end - start <= SMALL_BYTES else CHUNK_BYTES
            while start < end:
                with told(where):
                    piece = os.pread(fd, min(whole, end - start), start)
                if not piece:
                    return
                start += len(piece)
                yield memoryview(piece)
        finally:
            os.close(fd)

    def md5_is_content(self, entry: Entry) -> bool:  # noqa: ARG002
        """Never."""
        return False

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """See Store."""
        path = self.folder / key
        with told(self.where(key)):
            check_size(self.where(key), path.stat().st_size, limit)
            return path.read_bytes()

    def put(self, key: str, data: bytes, *, create: bool = False) -> None:
        """See Store."""
        self._write(key, [data], os.link if create else os.rename)

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:  # noqa: ARG002 - for a way to a server
        """See Store."""
        self._write(key, pieces, os.rename)

    def delete(self, keys: Sequence[str]) -> None:
        """See Store."""
        for key in keys:
            path = self.folder / key
            with told(self.where(key)), suppress(FileNotFoundError):
                path.rmdir() if key.endswith("/") else path.unlink()
            for above in path.parents:
                if above == self.folder or not _emptied(above):
                    break

    def modified(self, key: str) -> datetime:
        """See Store."""
        return datetime.fromtimestamp((self.folder / key).stat().st_mtime, UTC)

    def _write(self, key: str, pieces: Iterable[bytes], place: Callable[[Path, Path], None]) -> None:
        upload_id = self.uploads.begin(key)
        hidden = self.uploads.hidden(key, upload_id)
        try:
            with told(self.where(key)):
                with hidden.open("wb") as file:
                    file.writelines(pieces)
                    file.flush()
                    os.fsync(file.fileno())
                place(hidden, self.folder / key)
        finally:
            with suppress(FileNotFoundError):
                hidden.unlink()


def _emptied(folder: Path) -> bool:
    """Whether the folder was empty, and is gone."""
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _related(path: str, prefix: str) -> bool:
    """Whether a path has the prefix, or may have something below it that has."""
    return path.startswith(prefix) or prefix.startswith(path)
