"""Watches how much user code writes, so that it is ended with a reason before the kubelet evicts the pod.

A tree is walked in slices of a few milliseconds between which the supervisor goes on, and the pauses are a multiple of what
a slice took: the walk never costs more than a few per cent of one CPU, however many files there are.
"""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FULL = 0.95
SLICE_ENTRIES = 500
PAUSE = 30.0  # times what a slice took: some 3 % of one CPU
SHORTEST_PAUSE = 0.2  # seconds between two walks


class Scratch:
    """The bytes below some folders against a limit."""

    def __init__(self, folders: list[str], limit: float | None) -> None:
        self._folders = folders
        self.limit = limit
        self.used = 0
        self._walk: Iterator[int] | None = None
        self._sum = 0
        self.next_step = 0.0 if limit else float("inf")

    def step(self) -> bool:
        """Walk one slice when it is time to; true when more than 95 % of the limit is used."""
        began = time.monotonic()
        if self.limit is None or began < self.next_step:
            return False
        if self._walk is None:
            self._walk, self._sum = self._entries(), 0
        over = self._slice(self._walk)
        pause = (time.monotonic() - began) * PAUSE
        if over:
            self._walk, self.used = None, self._sum
            pause = max(pause, SHORTEST_PAUSE)
        self.next_step = time.monotonic() + pause
        return max(self._sum, self.used if over else 0) > self.limit * FULL

    def _slice(self, walk: Iterator[int]) -> bool:
        """Add up to SLICE_ENTRIES entries; true at the end of the trees."""
        for _ in range(SLICE_ENTRIES):
            size = next(walk, None)
            if size is None:
                return True
            self._sum += size
        return False

    def _entries(self) -> Iterator[int]:
        """Bytes on disk of each entry; links are not followed, what goes away meanwhile is left out."""
        todo = list(self._folders)
        while todo:
            try:
                with os.scandir(todo.pop()) as entries:
                    for entry in entries:
                        try:
                            status = entry.stat(follow_symlinks=False)
                            if entry.is_dir(follow_symlinks=False):
                                todo.append(entry.path)
                        except OSError:
                            continue
                        yield status.st_blocks * 512
            except OSError:
                continue
