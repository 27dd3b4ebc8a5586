"""Uploads to Google Cloud Storage: each part is an object of its own, and completing puts them together.

The parts lie below `.millrace/uploads/ID/`. Composing moves no bytes, takes 32 objects at once, and makes the object
visible as a whole, on the condition that nobody has written it since it was looked at. The id stands in the object's
metadata, so that an upload is recognised after it was completed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from millrace.data.errors import DataError, explain
from millrace.data.objects import md5_of, place
from millrace.data.parts import PartWriter, pieces_of, sending
from millrace.data.retry import retrying
from millrace.data.stores import Entry, Upload

if TYPE_CHECKING:
    from millrace.data.gcs import Gcs

AT_ONCE = 32  # objects that one call composes
DELETERS = 8
_MARK = "millrace-upload"


class ComposeUploads:
    """The parts of one bucket; keys are full ones."""

    def __init__(self, service: Gcs, prefix: str) -> None:
        self._service = service
        self._folder = f"{prefix}/.millrace/uploads" if prefix else ".millrace/uploads"

    def create(self, key: str, *, deadline: float) -> tuple[str, bool]:  # noqa: ARG002
        """See Uploads: an upload begins with its first part."""
        return secrets.token_hex(16), False

    def writer(self, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> PartWriter:
        """See Uploads."""
        where = place(self._service, key)
        return PartWriter(self.put_part, lambda _: "", where, key, size, begin, deadline=deadline)

    def put_part(
        self, key: str, upload_id: str, number: int, data: memoryview, *, deadline: float, stopped: Callable[[], bool]
    ) -> str:
        """See PutPart. What it returns is the part's generation."""
        part, md5 = self._part(upload_id, number), md5_of(data)

        def once() -> str:
            return self._service.insert(part, len(data), md5, pieces_of(data), {})

        return sending(once, where=place(self._service, key), deadline=deadline, stopped=stopped)

    def complete(self, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
        """See Uploads. True also where it was completed before and nobody has written the object since."""
        where = place(self._service, key)
        sources = [(self._part(upload_id, number), generation) for number, generation in enumerate(parts, 1)]

        def once() -> bool:
            found = self._service.stat(key)
            if _is(found, upload_id):
                return True
            there = {entry.key: entry.etag for entry in self._parts(upload_id, deadline)}
            if any(there.get(name) != generation for name, generation in sources):
                return False
            last = self._folded(upload_id, sources, deadline)
            try:
                self._service.compose(key, last, {_MARK: upload_id}, expected=str(found["generation"]) if found else "0")
            except DataError as error:
                if error.reason in ("ObjectChanged", "NotFound"):  # somebody was faster, perhaps with this very upload
                    raise explain("ServerError", where, error.code) from None
                raise
            return True

        done = retrying(once, where=where, deadline=deadline)
        if done:
            with suppress(DataError):  # the object stands
                self.abort(key, upload_id, deadline=deadline)
        return done

    def _folded(self, upload_id: str, sources: list[tuple[str, str]], deadline: float) -> list[tuple[str, str]]:
        """At most 32 objects with the same bytes."""
        level = 0
        while len(sources) > AT_ONCE:
            level += 1
            folder = f"{self._folder}/{upload_id}/level-{level}"
            groups = [sources[start : start + AT_ONCE] for start in range(0, len(sources), AT_ONCE)]
            sources = []
            for number, group in enumerate(groups):
                name = f"{folder}/{number:05}"
                compose = partial(self._service.compose, name, group, {})
                sources.append((name, retrying(compose, where=place(self._service, name), deadline=deadline)))
        return sources

    def _part(self, upload_id: str, number: int) -> str:
        return f"{self._folder}/{upload_id}/{number:05}"

    def _parts(self, upload_id: str, deadline: float) -> list[Entry]:
        prefix, token = f"{self._folder}/{upload_id}/", ""
        found: list[Entry] = []
        where = place(self._service, prefix)
        while True:
            ask = partial(self._service.page, prefix, token, limit=None)
            entries, token = retrying(ask, where=where, deadline=deadline)
            found += entries
            if not token:
                return found

    def abort(self, key: str, upload_id: str, *, deadline: float) -> None:
        """See Uploads: deletes the parts."""
        where = place(self._service, key)

        def delete(part: str) -> None:
            retrying(lambda: self._service.delete(part), where=where, deadline=deadline)

        with ThreadPoolExecutor(DELETERS, thread_name_prefix="delete") as pool:
            list(pool.map(delete, [entry.key for entry in self._parts(upload_id, deadline)]))

    def head(self, key: str, *, deadline: float) -> tuple[str, int] | None:
        """See Uploads."""
        found = retrying(lambda: self._service.stat(key), where=place(self._service, key), deadline=deadline)
        return None if found is None else (str(found["generation"]), int(found["size"]))

    def published(self, key: str, upload_id: str, etag: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads: the object's metadata tells."""
        where = place(self._service, key)
        return _is(retrying(lambda: self._service.stat(key), where=where, deadline=deadline), upload_id)

    def unfinished(self, key: str, *, deadline: float) -> list[Upload]:  # noqa: ARG002
        """See Uploads: none without a name."""
        return []

    def is_empty(self, key: str, upload_id: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads."""
        return False


def _is(found: dict[str, Any] | None, upload_id: str) -> bool:
    return found is not None and (found.get("metadata") or {}).get(_MARK) == upload_id
