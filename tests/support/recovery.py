"""How long a promise takes to be true again after a fault: measured in one way, and kept in the report of the run."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

PROPERTY = "recovery_seconds"


class Recovery:
    """Seconds that the block took, which begins when the fault ends and ends when all is as promised."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties  # of the test; pytest writes them into its report

    @contextlib.contextmanager
    def __call__(self, *, within: float = float("inf")) -> Iterator[None]:
        """Measures; fails where it took longer than `within` seconds. The longest of a fault's tests goes into its row."""
        began = time.monotonic()
        yield
        took = time.monotonic() - began
        self._properties.append((PROPERTY, round(took, 2)))
        assert took <= within, f"recovered after {took:.1f}s; promised are {within}s"
