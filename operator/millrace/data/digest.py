"""Digests over whole folders, staged or put out. Their serialisation is part of the API."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def folder_digest(files: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 over a staged folder: for each (path, size, hex SHA-256), sorted by the path's UTF-8 bytes, the bytes
    `path NUL size NUL sha256 LF`, size in decimal."""
    total = hashlib.sha256()
    for path, size, digest in sorted((path.encode(), size, digest) for path, size, digest in files):
        total.update(b"%s\0%d\0%s\n" % (path, size, digest.encode()))
    return total.hexdigest()


class ContentDigest:
    """What an output contains, apart from how it is packed: SHA-256 over one line for each member, sorted by the
    UTF-8 bytes of its path:

        path NUL mode NUL size NUL sha256 LF

    mode is `0644` or `0755`, size decimal, sha256 lower-case hex. An empty folder's path ends in "/", its mode is
    0755, its size 0 and its sha256 that of no bytes. Folders that hold something have no line.
    """

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self._last = b""

    def add(self, path: str, *, executable: bool, size: int, sha256: str) -> None:
        """One member; raises ValueError when it does not come in order."""
        name = path.encode()
        if name <= self._last:
            raise ValueError("members must be added in the order of their paths")
        self._last = name
        self._sum.update(b"%s\0%s\0%d\0%s\n" % (name, b"0755" if executable else b"0644", size, sha256.encode()))

    def hexdigest(self) -> str:
        """64 hex digits."""
        return self._sum.hexdigest()
