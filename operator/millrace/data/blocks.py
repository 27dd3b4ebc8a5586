"""Uploads to Azure as blocks that nobody sees until a block list names them.

A blob has one heap of such blocks. Each upload's begin with its id, which a list then names and no other; but every
list, and every other write to the blob, discards those that it does not name. The id stands in the blob's metadata, so
that an upload is recognised after it was completed.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import httpx

from millrace.data.errors import DataError
from millrace.data.objects import md5_of, place
from millrace.data.parts import PartWriter, pieces_of, sending
from millrace.data.retry import retrying
from millrace.data.stores import Upload

if TYPE_CHECKING:
    from millrace.data.azure import Azure

_MARK = "x-ms-meta-millrace_upload"


class BlockUploads:
    """The block calls of one container; keys are full ones."""

    def __init__(self, service: Azure) -> None:
        self._service = service

    def create(self, key: str, *, deadline: float) -> tuple[str, bool]:  # noqa: ARG002
        """See Uploads: an upload begins with its first block."""
        return secrets.token_hex(16), False

    def writer(self, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> PartWriter:
        """See Uploads."""
        where = place(self._service, key)
        return PartWriter(self.put_part, lambda _: "", where, key, size, begin, deadline=deadline)

    def put_part(
        self, key: str, upload_id: str, number: int, data: memoryview, *, deadline: float, stopped: Callable[[], bool]
    ) -> str:
        """See PutPart."""
        block = b64encode(f"{upload_id}{number:05}".encode()).decode()
        headers = {"Content-Length": str(len(data)), "Content-MD5": b64encode(md5_of(data)).decode()}

        def once() -> str:
            query = {"comp": "block", "blockid": block}
            self._service.request("PUT", key, query, headers=headers, content=pieces_of(data))
            return block

        return sending(once, where=place(self._service, key), deadline=deadline, stopped=stopped)

    def complete(self, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
        """See Uploads. Blocks that were committed once are not known as uncommitted ones again."""
        blocks = "".join(f"<Uncommitted>{part}</Uncommitted>" for part in parts)
        document = f'<?xml version="1.0" encoding="utf-8"?><BlockList>{blocks}</BlockList>'.encode()

        def once() -> bool:
            try:
                query = {"comp": "blocklist"}
                self._service.request("PUT", key, query, headers={_MARK: upload_id}, content=document, seconds=300)
            except DataError as error:
                if error.reason == "UploadGone":
                    return False
                raise
            return True

        return retrying(once, where=place(self._service, key), deadline=deadline)

    def abort(self, key: str, upload_id: str, *, deadline: float) -> None:
        """Nothing: the next write to the blob discards the blocks, or Azure does after a week."""

    def head(self, key: str, *, deadline: float) -> tuple[str, int] | None:
        """See Uploads."""
        found = self._head(key, deadline)
        return None if found is None else (found.get("etag", "").strip('"'), int(found.get("content-length", 0)))

    def published(self, key: str, upload_id: str, etag: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads: the blob's metadata tells."""
        found = self._head(key, deadline)
        return found is not None and found.get(_MARK) == upload_id

    def _head(self, key: str, deadline: float) -> httpx.Headers | None:
        def once() -> httpx.Headers | None:
            try:
                return self._service.request("HEAD", key).headers
            except DataError as error:
                if error.reason == "NotFound":
                    return None
                raise

        return retrying(once, where=place(self._service, key), deadline=deadline)

    def unfinished(self, key: str, *, deadline: float) -> list[Upload]:  # noqa: ARG002
        """See Uploads: none that could be aborted."""
        return []

    def is_empty(self, key: str, upload_id: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads."""
        return False
