"""The credentials of a store, read anew now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from millrace.data.model import Credentials

RELOAD_SECONDS = 60


class Keys:
    """Hands out the present credentials; asks a callable source again every minute. Safe for use from several threads."""

    def __init__(self, source: Credentials | Callable[[], Credentials]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: Credentials | None = None
        self._until = 0.0

    def current(self) -> Credentials:
        """The credentials to sign with now."""
        if isinstance(self._source, Credentials):
            return self._source
        with self._lock:
            if self._known is None or time.monotonic() >= self._until:
                self._known, self._until = self._source(), time.monotonic() + RELOAD_SECONDS
            return self._known

    def forget(self) -> None:
        """Makes the next call ask the source."""
        self._until = 0.0

    def until(self) -> datetime | None:
        """When obstore is to ask again; None: never."""
        return None if isinstance(self._source, Credentials) else datetime.now(UTC) + timedelta(seconds=RELOAD_SECONDS)
