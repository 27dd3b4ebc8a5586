"""Files in folders that user code can write to: a link that it planted there must lead nowhere.

Everything is done relative to a directory descriptor; what lies under a name is taken away first and the file is made anew
(O_EXCL, O_NOFOLLOW), so that neither a link nor a FIFO nor a file that somebody holds open gets our bytes.
"""

from __future__ import annotations

import os

CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """One directory, held open.

    Raises OSError from every method, as the system call does.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def create(self, name: str, mode: int = 0o644) -> int:
        """A descriptor to write to a new file of that name; what was there is gone."""
        self.clear(name)
        return os.open(name, CREATE, mode, dir_fd=self._fd)

    def write(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Make the file with these bytes under a hidden name, then rename: a reader sees all of it or nothing."""
        hidden = ".new-" + name
        fd = self.create(hidden, mode)
        try:
            write_all(fd, data)
        finally:
            os.close(fd)
        self.clear(name)
        os.rename(hidden, name, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def take(self, name: str, limit: int) -> bytes:
        """Read a regular file of at most `limit` bytes and remove it; FileNotFoundError when there is none."""
        data = self.read(name, limit)
        os.unlink(name, dir_fd=self._fd)
        return data

    def read(self, name: str, limit: int) -> bytes:
        """The first `limit` bytes of a file; neither follows a link nor waits for a FIFO's writer."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            return read_all(fd, limit)
        finally:
            os.close(fd)

    def clear(self, name: str) -> None:
        """Make the name free: unlink what is there; a folder (which may be full) is renamed away."""
        try:
            os.unlink(name, dir_fd=self._fd)
        except FileNotFoundError:
            return
        except (IsADirectoryError, PermissionError):  # Linux and POSIX name the same refusal differently
            os.rename(name, f".planted-{os.urandom(8).hex()}", src_dir_fd=self._fd, dst_dir_fd=self._fd)


def read_all(fd: int, limit: int) -> bytes:
    """At most `limit` bytes of a descriptor."""
    parts = []
    while limit > 0:
        part = os.read(fd, min(limit, 65536))
        if not part:
            break
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however many calls that takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_file(path: str, limit: int) -> bytes:
    """At most `limit` bytes of a file whose place user code cannot write to."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_all(fd, limit)
    finally:
        os.close(fd)
