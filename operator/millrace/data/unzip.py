"""Unpacking a zip that may be anybody's: nothing is written outside of the folder, whatever the archive says."""

from __future__ import annotations

import errno
import io
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

COPY_BYTES = 1 << 20
ENCRYPTED = 0x1  # of a member's flags
# What zipfile says of bytes that are no archive, or one of a kind that it does not know.
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)

MALFORMED = {errno.ENAMETOOLONG, errno.EINVAL}  # what the system says of a name, or of a place before the archive's start


class Rejected(Exception):
    """The archive is not unpacked; the message names the member that is to blame, if one is."""


@dataclass(frozen=True)
class Caps:
    """What an archive may be at most: members, bytes when unpacked, and these as a multiple of what it has itself, where
    they are more than `free_bytes`. `directory_bytes`: of its list of members, all of which is read into memory.
    """

    members: int
    bytes: int
    ratio: int
    free_bytes: int
    directory_bytes: int

    def check(self, archive: Path, members: list[zipfile.ZipInfo]) -> None:
        """Raises Rejected."""
        if len(members) > self.members:
            raise Rejected(f"the archive has {len(members)} files and folders; {self.members} are possible")
        size, packed = sum(info.file_size for info in members), archive.stat().st_size
        if size > self.bytes:
            raise Rejected(f"the archive unpacks to {size} bytes; {self.bytes} are possible")
        if size > max(self.free_bytes, self.ratio * packed):
            largest = max(members, key=lambda info: info.file_size)
            what = f"{packed} bytes that unpack to {size}, most of them in {largest.orig_filename!r}"
            raise Rejected(f"the archive is not safe to unpack: {what}")


class _Bounded(io.FileIO):
    """A file of which no more is read at once: zipfile reads the list of members as a whole."""

    most = -1

    def read(self, size: int | None = -1, /) -> bytes:
        if self.most >= 0 and (size or 0) > self.most:
            raise Rejected(f"the archive's list of members has {size} bytes; {self.most} are possible")
        return super().read(-1 if size is None else size)


def member_path(name: str) -> PurePosixPath | None:
    """The path of a member below the folder; None for one that would leave it: pure."""
    if not name or "\0" in name or "\\" in name or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return None
    parts = name.removesuffix("/").split("/")
    return None if any(part in {"", ".", ".."} for part in parts) else PurePosixPath(*parts)


def check_member(info: zipfile.ZipInfo) -> PurePosixPath:
    """The path of a member. Rejected: one that leaves the folder, is no file or folder, or is packed as we do not pack."""
    path = member_path(info.orig_filename)
    if path is None:
        raise Rejected(f"the archive is not safe to unpack: {info.orig_filename!r} would leave the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        what = "a link" if kind == stat.S_IFLNK else "neither a file nor a folder"
        raise Rejected(f"the archive is not safe to unpack: {info.orig_filename!r} is {what}")
    if info.flag_bits & ENCRYPTED or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Rejected(
            f"the archive cannot be unpacked: {info.orig_filename!r} is encrypted, or neither stored nor deflated"
        )
    return path


def unzip(
    archive: Path, target: Path, *, caps: Caps | None = None, root: Callable[[frozenset[str]], str] | None = None
) -> int:
    """Unpacks into `target`, which is empty or not there yet; returns the number of files. All members are checked first.

    `root` takes the paths of the files, and returns the folder of the archive that is unpacked: "", or one in which all of
    them are. Raises Rejected, OSError of the disk.
    """
    try:
        with _Bounded(archive) as file, zipfile.ZipFile(_capped(file, caps)) as found:
            if caps:
                caps.check(archive, found.infolist())
            members = [(check_member(info), info) for info in found.infolist()]
            _check_room(archive, sum(info.file_size for _, info in members))
            top = root(frozenset(str(path) for path, info in members if not info.is_dir())) if root else ""
            target.mkdir(parents=True, exist_ok=True)
            return sum(_write(found, info, target / path.relative_to(top)) for path, info in members)
    except BROKEN as error:
        raise Rejected(f"{archive.name} is not a zip that can be read: {error}") from None


def _capped(file: _Bounded, caps: Caps | None) -> _Bounded:
    file.most = caps.directory_bytes if caps else -1
    return file


def _check_room(archive: Path, needed: int) -> None:
    free = shutil.disk_usage(archive.parent).free
    if needed > free:
        raise Rejected(f"unpacking needs {needed} bytes and {free} are free")


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> int:
    try:
        (path if info.is_dir() else path.parent).mkdir(parents=True, exist_ok=True)
        if info.is_dir():
            return 0
        with archive.open(info) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
    except (FileExistsError, NotADirectoryError):
        raise Rejected(f"the archive has {info.filename!r} twice, or as a file and as a folder") from None
    except OSError as error:
        if error.errno not in MALFORMED:
            raise
        raise Rejected(f"the archive cannot be unpacked: {info.filename[:255]!r}: {error.strerror}") from None
    path.chmod(0o755 if (info.external_attr >> 16) & 0o100 else 0o644)
    return 1
