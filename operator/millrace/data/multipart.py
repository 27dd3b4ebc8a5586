"""Multipart uploads, call by call: what is sent is invisible until `complete`, and a call whose answer is lost may be
repeated.

Parts carry Content-MD5, so the server itself refuses a part that was damaged on its way, over plain HTTP too. It
costs about 1.3 s of one core for each GB that is sent, beside the MD5 that the server computes for the etag anyway.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from millrace.data.errors import DataError
from millrace.data.objects import md5_of, place
from millrace.data.parts import PartWriter, pieces_of, sending, whole_etag
from millrace.data.retry import retrying
from millrace.data.stores import Upload

if TYPE_CHECKING:
    from millrace.data.s3 import S3


class S3Uploads:
    """The multipart calls of one store; keys are full ones."""

    def __init__(self, service: S3) -> None:
        self._service = service

    def create(self, key: str, *, deadline: float) -> tuple[str, bool]:
        """Begins an upload to the full key: (its id, whether an earlier try's answer was lost, which leaves an upload
        without a name).

        Raises DataError.
        """
        tries = 0

        def once() -> str:
            nonlocal tries
            tries += 1
            found = self._service.xml("POST", key, {"uploads": ""}).findtext("UploadId")
            if not found:
                raise DataError("BadResponse", f"{place(self._service, key)}: the store gave no upload id")
            return found

        return retrying(once, where=place(self._service, key), deadline=deadline), tries > 1

    def put_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        data: memoryview,
        *,
        deadline: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> str:
        """Sends part `number` (from 1), again until it is there or `stopped()`; returns its etag without quotes.

        Raises DataError, UploadGone among them.
        """
        where = place(self._service, key)
        headers = {"Content-Length": str(len(data)), "Content-MD5": b64encode(md5_of(data)).decode()}
        query = {"partNumber": str(number), "uploadId": upload_id}

        def once() -> str:
            answer = self._service.request("PUT", key, query, headers=headers, content=pieces_of(data))
            etag = answer.headers.get("etag", "").strip('"')
            if not etag:
                raise DataError("BadResponse", f"{where}: the store gave no etag")
            return str(etag)

        return sending(once, where=where, deadline=deadline, stopped=stopped)

    def complete(self, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
        """Makes the object visible. True: done. False: the upload is not known, so it was completed before or aborted.

        A 200 with an error in it and a lost answer are tried again. Raises DataError.
        """
        root = ET.Element("CompleteMultipartUpload")
        for number, etag in enumerate(parts, 1):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = f'"{etag}"'
        document = ET.tostring(root)

        def once() -> bool:
            try:
                answer = self._service.xml("POST", key, {"uploadId": upload_id}, content=document, seconds=300)
            except DataError as error:
                if error.reason == "UploadGone":
                    return False
                raise
            if answer.tag != "CompleteMultipartUploadResult":
                raise DataError("BadResponse", f"{place(self._service, key)}: the upload's completion was not confirmed")
            return True

        return retrying(once, where=place(self._service, key), deadline=deadline)

    def abort(self, key: str, upload_id: str, *, deadline: float) -> None:
        """Ends an upload and frees its parts; one that is not known is no error. Raises DataError."""

        def once() -> None:
            try:
                self._service.request("DELETE", key, {"uploadId": upload_id})
            except DataError as error:
                if error.reason not in ("UploadGone", "NotFound"):
                    raise

        retrying(once, where=place(self._service, key), deadline=deadline)

    def head(self, key: str, *, deadline: float) -> tuple[str, int] | None:
        """(etag without quotes, size) of the full key, or None when there is no object. Raises DataError."""

        def once() -> tuple[str, int] | None:
            try:
                headers = self._service.request("HEAD", key).headers
            except DataError as error:
                if error.reason == "NotFound":
                    return None
                raise
            return str(headers.get("etag", "")).strip('"'), int(headers.get("content-length", 0))

        return retrying(once, where=place(self._service, key), deadline=deadline)

    def published(self, key: str, upload_id: str, etag: str, *, deadline: float) -> bool:  # noqa: ARG002
        """See Uploads: the etag tells, where it can be known."""
        found = self.head(key, deadline=deadline)
        return bool(etag) and found is not None and found[0] == etag

    def unfinished(self, key: str, *, deadline: float) -> list[Upload]:
        """The uploads to exactly this full key that are not completed (some servers list them by the exact key only).
        Raises DataError.
        """
        query = {"uploads": "", "prefix": key, "max-uploads": "1000"}
        root = retrying(lambda: self._service.xml("GET", "", query), where=place(self._service, key), deadline=deadline)
        found = []
        for node in root.iterfind("Upload"):
            if node.findtext("Key") == key:
                begun = datetime.fromisoformat(node.findtext("Initiated") or "1970-01-01T00:00:00Z")
                found.append(Upload(node.findtext("UploadId") or "", begun))
        return found

    def is_empty(self, key: str, upload_id: str, *, deadline: float) -> bool:
        """Whether no part was sent yet; False for an upload that is not known. Raises DataError."""

        def once() -> bool:
            try:
                return self._service.xml("GET", key, {"uploadId": upload_id, "max-parts": "1"}).find("Part") is None
            except DataError as error:
                if error.reason in ("UploadGone", "NotFound"):
                    return False
                raise

        return retrying(once, where=place(self._service, key), deadline=deadline)

    def writer(self, key: str, size: int, begin: Callable[[], str], *, deadline: float) -> PartWriter:
        """What sends a stream in parts of `size` bytes; `begin` makes the upload."""
        return PartWriter(self.put_part, whole_etag, place(self._service, key), key, size, begin, deadline=deadline)
