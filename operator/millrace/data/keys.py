"""The keys of a store, read anew now and then, and as the two libraries that sign for S3 take them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider

from millrace.data.model import Credentials

if TYPE_CHECKING:
    from obstore.store import S3Credential

RELOAD_SECONDS = 60


class Keys(Provider):
    """Hands the present keys to minio-py and obstore; asks a callable source again every minute."""

    def __init__(self, source: Credentials | Callable[[], Credentials]) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._known: Credentials | None = None
        self._until = 0.0

    def current(self) -> Credentials:
        if isinstance(self._source, Credentials):
            return self._source
        with self._lock:
            if self._known is None or time.monotonic() >= self._until:
                self._known, self._until = self._source(), time.monotonic() + RELOAD_SECONDS
            return self._known

    def forget(self) -> None:
        self._until = 0.0

    def until(self) -> datetime | None:
        """When obstore is to ask again."""
        return None if isinstance(self._source, Credentials) else datetime.now(UTC) + timedelta(seconds=RELOAD_SECONDS)

    def retrieve(self) -> MinioCredentials:
        keys = self.current()
        return MinioCredentials(keys.access_key, keys.secret_key, keys.session_token)

    def for_obstore(self) -> S3Credential:
        keys = self.current()
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.session_token,
            "expires_at": self.until(),
        }
