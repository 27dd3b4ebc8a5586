"""The logs of a run go to the store: main's output, collect's and stage's own log."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from millrace import protocol
from millrace.inpod.podplan import Json, limit
from millrace.inpod.runtime.files import write_all
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.stores import Store

NOTICE_BYTES = 256  # what the runtime writes after the cap
COPY_CHUNK = 1024 * 1024


def archive_logs(plan: Json, store: Store, paths: tuple[str, ...], deadline: float) -> str:
    """Put those logs that are there below the plan's prefix; the prefix's uri, empty without any. Raises DataError."""
    from millrace.data.transfer import put_file

    prefix = plan["logs"]["prefix"]
    cap = int(min(limit(plan, "logBytes"), 2**40)) + NOTICE_BYTES
    uri = ""
    for path in paths:
        name = os.path.basename(path)
        fd = open_regular(here(path), cap)
        if fd is None:
            continue
        try:
            # User code owns the folder: the name may lead elsewhere by now, the descriptor does not.
            uri = put_file(store, prefix + name, Path(f"/proc/self/fd/{fd}"), deadline=deadline)
        finally:
            os.close(fd)
    return uri[: uri.rfind("/") + 1]


def open_regular(path: str, cap: int) -> int | None:
    """A descriptor of a regular file, or of a copy of its first `cap` bytes when it has more; None for anything else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        return None
    if status.st_size <= cap:
        return fd
    copy = os.open(here(protocol.TMP_DIR), os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        while cap > 0 and (data := os.read(fd, min(cap, COPY_CHUNK))):
            write_all(copy, data)
            cap -= len(data)
    finally:
        os.close(fd)
    return copy
