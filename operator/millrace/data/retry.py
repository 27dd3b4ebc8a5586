"""One way to try again: exponential back-off with jitter, until a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from millrace.data.errors import DataError, classify

T = TypeVar("T")
FIRST_SECONDS = 0.1
LONGEST_SECONDS = 10.0


def remaining(deadline: float, where: str) -> float:
    """Seconds until `deadline` (an instant of time.monotonic()); raises DataError Timeout when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise DataError("Timeout", f"{where}: the time for this is over")
    return left


class Backoff:
    """How long to wait before the next try. `reset` after a success or after some progress."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._tries = 0

    def reset(self) -> None:
        self._tries = 0

    def wait(self, error: DataError) -> None:
        """Sleeps; raises `error` when it is not worth another try or the deadline would be over."""
        if not error.retryable:
            raise error
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2**self._tries) * random.uniform(0.5, 1.0)  # noqa: S311
        if time.monotonic() + pause >= self._deadline:
            raise error
        self._tries += 1
        time.sleep(pause)


def retrying(call: Callable[[], T], *, where: str, deadline: float) -> T:
    """Runs `call` until it succeeds. Raises DataError: at once what cannot heal, else the last failure at the
    deadline.
    """
    backoff = Backoff(deadline)
    while True:
        try:
            return call()
        except Exception as exc:  # noqa: BLE001 - classify knows each of them
            error = classify(exc, where)
        backoff.wait(error)
