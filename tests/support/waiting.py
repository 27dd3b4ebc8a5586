"""Waiting for a condition with a deadline, instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL = 0.2


def wait_for(what: str, look: Callable[[], T | None], *, seconds: float = 60, poll: float = POLL) -> T:
    """Calls `look` until it returns something true; fails with `what` and the last value after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds}s: {what}; last seen: {found!r}")
        time.sleep(poll)
