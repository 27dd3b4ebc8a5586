"""Copies user code's output to our own and to run/main.log, and keeps its end.

The copying thread is `_thread`'s: threading takes milliseconds to import. Nothing waits for it but `finish`, and that one
with a bound: a reader of our output that stands still must not keep deadlines from being enforced.
"""

from __future__ import annotations

import _thread
import os
import select

CHUNK = 65536
TAIL_BYTES = 2048
STDERR_TAIL_BYTES = 16384  # a traceback is looked for in it


class Tail:
    """The last bytes of a stream."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._data = b""

    def add(self, data: bytes) -> None:
        """Append, and forget what is too old."""
        self._data = (self._data + data[-self._size :])[-self._size :]

    def text(self) -> str:
        """As text; cut on a character boundary, and not inside the first line where there is another."""
        data = self._data
        while data and data[0] & 0xC0 == 0x80:
            data = data[1:]
        return data.decode("utf-8", "replace")


class CappedLog:
    """A file that keeps the first `limit` bytes and then says how many were dropped.

    fd is None where there is no run folder. A full disk is no fault of user code: its output still goes to our own.
    """

    def __init__(self, fd: int | None, limit: int) -> None:
        self._fd = fd
        self._limit = limit
        self._left = limit
        self._dropped = 0

    def add(self, data: bytes) -> None:
        """Keep what fits."""
        if self._fd is None:
            return
        kept = data[: self._left]
        try:
            while kept:
                done = os.write(self._fd, kept)
                self._left -= done
                data, kept = data[done:], kept[done:]
        except OSError:
            pass
        self._dropped += len(data)

    def close(self) -> None:
        """Say what is missing; nothing can be added afterwards."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            if self._dropped:
                kept = self._limit - self._left
                os.write(fd, f"\n[millrace] {self._dropped} bytes dropped after the first {kept}\n".encode())
        except OSError:
            pass
        try:
            os.close(fd)
        except OSError:  # a network file system may tell here that it is full
            pass


class Copier:
    """Two pipes into our stdout and stderr, the log and the tails."""

    def __init__(self, stdout: int, stderr: int, log: CappedLog) -> None:
        self._targets = {stdout: 1, stderr: 2}
        self._stderr = stderr
        self._log = log
        self._over = _thread.allocate_lock()
        self.tail = Tail(TAIL_BYTES)
        self.stderr_tail = Tail(STDERR_TAIL_BYTES)

    def start(self) -> None:
        """Begin to copy; call it after the child was forked."""
        self._over.acquire()
        _thread.start_new_thread(self._run, ())

    def finish(self, seconds: float) -> None:
        """Wait until both pipes are at their end, but not longer than that."""
        if self._over.acquire(timeout=seconds):
            self._log.close()  # else the thread may still be writing to it

    def _run(self) -> None:
        poll = select.poll()
        for source in self._targets:
            poll.register(source, select.POLLIN)
        open_pipes = len(self._targets)
        try:
            while open_pipes:
                for source, _ in poll.poll():
                    data = os.read(source, CHUNK)
                    if data:
                        self._copy(source, data)
                    else:
                        poll.unregister(source)
                        open_pipes -= 1
        finally:
            self._over.release()

    def _copy(self, source: int, data: bytes) -> None:
        self._log.add(data)
        self.tail.add(data)
        if source == self._stderr:
            self.stderr_tail.add(data)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._targets[source], view) :]
        except OSError:
            pass  # nobody reads our output any more; the log goes on
