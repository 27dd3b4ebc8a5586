"""Unpacking a zip from a store: nothing is written outside of the folder, whatever the archive says."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from millrace.cli.errors import Refused

COPY_BYTES = 1 << 20
ENCRYPTED = 0x1  # of a member's flags
# What zipfile says of bytes that are no archive, or one of a kind that it does not know.
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError)


def member_path(name: str) -> PurePosixPath | None:
    """The path of a member below the folder; None for one that would leave it: pure."""
    if not name or "\0" in name or "\\" in name or name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        return None
    parts = name.removesuffix("/").split("/")
    return None if any(part in {"", ".", ".."} for part in parts) else PurePosixPath(*parts)


def check_member(info: zipfile.ZipInfo) -> PurePosixPath:
    """The member's path. Refused: one that leaves the folder, is neither file nor folder, or is packed as we do not pack."""
    path = member_path(info.orig_filename)
    if path is None:
        raise Refused(f"the archive is not safe to unpack: {info.orig_filename!r} would leave the folder")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise Refused(f"the archive is not safe to unpack: {info.orig_filename!r} is neither a file nor a folder")
    if info.flag_bits & ENCRYPTED or info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise Refused(f"the archive cannot be unpacked: {info.orig_filename!r} is encrypted, or neither stored nor deflated")
    return path


def extract(archive: Path, target: Path) -> int:
    """Unpacks into `target`, which must not exist yet; returns the number of files. All members are checked first."""
    try:
        with zipfile.ZipFile(archive) as found:
            members = [(check_member(info), info) for info in found.infolist()]
            needed, free = sum(info.file_size for _, info in members), shutil.disk_usage(archive.parent).free
            if needed > free:
                raise Refused(f"unpacking needs {needed} bytes and {free} are free")
            target.mkdir(parents=True)
            return sum(_write(found, info, target / path) for path, info in members)
    except BROKEN as error:
        raise Refused(f"{archive.name} is not a zip that can be read: {error}") from None
    except OSError as error:
        raise Refused(f"{archive.name} cannot be unpacked: {error.strerror}: {error.filename or target}") from None


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> int:
    try:
        (path if info.is_dir() else path.parent).mkdir(parents=True, exist_ok=True)
        if info.is_dir():
            return 0
        with archive.open(info) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, COPY_BYTES)
    except (FileExistsError, NotADirectoryError):
        raise Refused(f"the archive has {info.filename!r} twice, or as a file and as a folder") from None
    path.chmod(0o755 if (info.external_attr >> 16) & 0o100 else 0o644)
    return 1
