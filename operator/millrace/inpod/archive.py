"""The logs of a run go to the store: main's output, collect's and stage's own log."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from millrace import protocol
from millrace.inpod.podplan import Json, limit
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.stores import Store

READY = (protocol.LOG_FILE, protocol.STAGE_LOG_FILE)  # complete when main is over
STAGES = (protocol.STAGE_LOG_FILE,)  # when it fails and collect never starts
OWN = (protocol.COLLECT_LOG_FILE,)
NOTICE_BYTES = 256  # what the runtime writes after the cap


def archive_logs(plan: Json, store: Store, paths: tuple[str, ...], deadline: float) -> str:
    """Put those logs that are there below the plan's prefix; the prefix's uri. Raises DataError."""
    from millrace.data.transfer import put_descriptor

    prefix = plan["logs"]["prefix"]
    cap = int(min(limit(plan, "logBytes"), 2**40)) + NOTICE_BYTES
    for path in paths:
        fd = open_regular(here(path))
        if fd is None:
            continue
        try:
            key = store.full_key(prefix + os.path.basename(path))
            put_descriptor(store, key, fd, min(os.fstat(fd).st_size, cap), deadline=deadline)
        finally:
            os.close(fd)
    return store.uri(store.full_key(prefix))


def open_regular(path: str) -> int | None:
    """A descriptor of a regular file, None for anything else: user code owns the folder, and its link to a key, or a FIFO
    that nobody writes to, is not a log.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None
