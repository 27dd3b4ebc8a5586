"""Google Cloud Storage: its JSON interface, with tokens of a service account's key or of the run's own identity."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx
from obstore.store import GCSStore

from millrace.data.compose import ComposeUploads
from millrace.data.errors import DataError, explain
from millrace.data.keys import Keys
from millrace.data.model import CredentialSource, Identity
from millrace.data.objects import RETRIES, connect, md5_of, named, place, prefix_of
from millrace.data.stores import Entry
from millrace.data.tokens import Tokens, google_environment, google_key

if TYPE_CHECKING:
    from obstore import GetOptions

Json = dict[str, Any]
ENDPOINT = "https://storage.googleapis.com"


class Gcs:
    """One bucket. See Service."""

    scheme = "gs"

    def __init__(self, entry: Mapping[str, Any], credentials: CredentialSource, read_seconds: float) -> None:
        spec = entry["gcs"]
        self.bucket = str(spec["bucket"])
        self.connection = connect(entry, str(spec.get("endpoint") or ENDPOINT), read_seconds)
        if credentials is None:
            ask, self._given = google_environment(self.connection, os.environ), False
        else:
            keys = Keys(credentials)
            ask, self._given = google_key(self.connection, lambda: keys.current().secret_key, named(entry)), True
        self._tokens = Tokens(ask)
        self._open: dict[bool, GCSStore] = {}
        self.uploads = ComposeUploads(self, prefix_of(entry))

    @property
    def identity(self) -> Identity:
        """See Service: whether the run has one shows when it is asked."""
        return "Store" if self._given else "Job" if self._tokens.current() else "Anonymous"

    @property
    def objects(self) -> GCSStore:
        """See Service."""
        signed = bool(self._tokens.current())
        if signed not in self._open:
            extra: Json = {"credential_provider": self._tokens.for_obstore} if signed else {"skip_signature": True}
            self._open[signed] = GCSStore(
                self.bucket,
                base_url=self.connection.endpoint,
                client_options=self.connection.options,  # type: ignore[arg-type]
                retry_config=RETRIES,  # type: ignore[arg-type]
                **extra,
            )
        return self._open[signed]

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        key: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        """Sends one request with a token; `key` is for messages. See Connection.request. Raises DataError."""
        token = self._tokens.current()
        headers = {**(headers or {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        url = f"{self.connection.endpoint}/{path}?{urlencode(query, quote_via=quote)}"
        return self.connection.request(method, url, place(self, key), headers=headers, **more)

    def path(self, key: str) -> str:
        """The path of an object's description."""
        return f"storage/v1/b/{self.bucket}/o/{quote(key, safe='')}"

    def page(self, prefix: str, token: str, *, limit: int | None, seconds: float | None = None) -> tuple[list[Entry], str]:
        """See Service."""
        query = {"prefix": prefix, "fields": "items(name,size,generation,md5Hash),nextPageToken"}
        query |= {"maxResults": str(limit)} if limit is not None else {}
        query |= {"pageToken": token} if token else {}
        try:
            answer = self.request("GET", f"storage/v1/b/{self.bucket}/o", query, seconds=seconds)
        except DataError as error:
            if error.reason == "NotFound":
                raise explain("BucketNotFound", place(self), error.code) from None
            raise
        found = parse_json(answer, place(self))
        return [_entry(item) for item in found.get("items", [])], str(found.get("nextPageToken") or "")

    def stat(self, key: str) -> Json | None:
        """An object's description, None where there is none. Raises DataError."""
        try:
            return parse_json(self.request("GET", self.path(key), {}, key), place(self, key))
        except DataError as error:
            if error.reason == "NotFound":
                return None
            raise

    def pin(self, entry: Entry) -> GetOptions:
        """See Service."""
        return {"version": entry.etag} if entry.etag else {}

    def read_odd(self, entry: Entry, start: int, end: int) -> bytes:
        """See Service."""
        headers = {"Range": f"bytes={start}-{end - 1}"} if end > start else {}
        query = {"alt": "media", "generation": entry.etag}
        return self.request("GET", self.path(entry.key), query, entry.key, headers=headers).content

    def delete_odd(self, key: str) -> None:
        """See Service."""
        self.delete(key)

    def md5_is_content(self, entry: Entry) -> bool:  # noqa: ARG002
        """See Service: the service has computed it."""
        return True

    def put(self, key: str, data: bytes, *, create: bool) -> None:
        """See Service. obstore's PUT cannot be tried here: the emulator knows the JSON interface only."""
        self.insert(key, len(data), md5_of(data), data, {"ifGenerationMatch": "0"} if create else {})

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """See Service."""
        self.insert(key, size, md5, pieces, {})

    def insert(self, key: str, size: int, md5: bytes, content: bytes | Iterable[bytes], query: Mapping[str, str]) -> str:
        """Writes an object in one request; its generation. Raises DataError, ChecksumMismatch when other bytes came in."""
        where = place(self, key)
        query = {"uploadType": "media", "name": key, **query}
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        path = f"upload/storage/v1/b/{self.bucket}/o"
        found = parse_json(self.request("POST", path, query, key, headers=headers, content=content), where)
        if found.get("md5Hash") != b64encode(md5).decode():
            raise explain("ChecksumMismatch", where)
        return str(found["generation"])

    def compose(
        self, key: str, sources: Iterable[tuple[str, str]], metadata: Mapping[str, str], *, expected: str = ""
    ) -> str:
        """Puts objects, (key, generation) each, together; the generation of the new one.

        Raises DataError; ObjectChanged when the key's present generation is not the `expected` one ("0": none).
        """
        document = {
            "sourceObjects": [{"name": name, "generation": generation} for name, generation in sources],
            "destination": {"contentType": "application/octet-stream", "metadata": metadata},
        }
        query = {"ifGenerationMatch": expected} if expected else {}
        headers = {"Content-Type": "application/json"}
        content = json.dumps(document).encode()
        answer = self.request("POST", f"{self.path(key)}/compose", query, key, headers=headers, content=content, seconds=300)
        return str(parse_json(answer, place(self, key))["generation"])

    def delete(self, key: str) -> None:
        """Deletes an object; one that is not there is no error. Raises DataError."""
        try:
            self.request("DELETE", self.path(key), {}, key)
        except DataError as error:
            if error.reason != "NotFound":
                raise


def parse_json(response: httpx.Response, where: str) -> Json:
    """The object of an answer. Raises DataError BadResponse."""
    try:
        found = json.loads(response.content)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise DataError("BadResponse", f"{where}: the answer is not one of Google Cloud Storage")
    return found


def _entry(item: Json) -> Entry:
    md5 = b64decode(item.get("md5Hash", "")).hex()
    return Entry(str(item["name"]), int(item["size"]), str(item["generation"]), md5)
