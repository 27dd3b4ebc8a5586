"""A bucket or container of an object store as a store: what all services have in common.

obstore reads. What it hides (uploads by their parts, listings with raw keys) are requests that the service signs and
httpx sends.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import httpx
import obstore

from millrace.data.errors import DataError, classify, from_status
from millrace.data.model import Identity
from millrace.data.retry import retrying
from millrace.data.stores import CHUNK_BYTES, SMALL_BYTES, Entry, Uploads, check_size, checked_key

if TYPE_CHECKING:
    from obstore import GetOptions

KINDS = ("s3", "azureBlob", "gcs")
CONNECT_SECONDS = 5.0
RETRIES: dict[str, Any] = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}  # of obstore: ours know the deadline
_ODD = re.compile(r"[\x00-\x1f\x7f]|//|(^|/)\.{1,2}(/|$)|/$")

# httpx writes every URL to its log, and ours are signed.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Connection:
    """One endpoint: for requests of ours, and the options for obstore's."""

    endpoint: str  # without a final "/"
    http: httpx.Client
    options: dict[str, Any]

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.endpoint).netloc

    def request(
        self,
        method: str,
        url: str,
        where: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> httpx.Response:
        """Sends one request and reads the answer; `where` names host, bucket and key for messages.

        Raises DataError, also for an HTTP status that is not a success and for a success with an `<Error>` document
        in it, which CompleteMultipartUpload may give.
        """
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)) if seconds else httpx.USE_CLIENT_DEFAULT
        try:
            response = self.http.request(method, url, headers=headers, content=content, timeout=timeout)
        except (httpx.HTTPError, OSError) as exc:
            raise classify(exc, where) from None
        if not response.is_success:
            body = response.text if method != "HEAD" else ""
            raise from_status(response.status_code, body, where, response.headers.get("x-ms-error-code", ""))
        if b"<Error>" in response.content[:1024]:
            raise from_status(500, response.text, where)
        return response


def connect(entry: Mapping[str, Any], endpoint: str, read_seconds: float, *, path: bool = False) -> Connection:
    """The connection of a store's entry; nothing is sent yet. path: the endpoint may have one. Raises DataError
    InvalidStore.
    """
    url, name = urlsplit(endpoint), named(entry)
    if url.scheme not in ("http", "https") or not url.netloc or url.username or (url.path.strip("/") and not path):
        raise DataError("InvalidStore", f"store {name}: the endpoint must be http(s)://HOST[:PORT]")
    authority = _read_authority(name, entry.get("ca"))
    options: dict[str, Any] = {
        "allow_http": url.scheme == "http",
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
        "read_timeout": timedelta(seconds=read_seconds),
        "timeout": timedelta(hours=6),
    }
    http = httpx.Client(
        verify=_context(authority) if url.scheme == "https" else False,
        timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
    )
    if authority is not None:
        options["root_certificate"] = authority
    return Connection(endpoint.rstrip("/"), http, options)


class Service(Protocol):
    """What a kind of object store does its own way, for one bucket. Keys are full ones; each call is tried once."""

    scheme: str  # of references
    bucket: str
    connection: Connection

    @property
    def uploads(self) -> Uploads:
        """Its uploads."""

    @property
    def identity(self) -> Identity:
        """Who the requests come from."""

    @property
    def objects(self) -> Any:
        """obstore's store, with credentials that hold. Raises DataError when there are none to be had."""

    def page(self, prefix: str, token: str, *, limit: int | None, seconds: float | None = None) -> tuple[list[Entry], str]:
        """One page of a listing, and the token of the next, "" after the last. Raises DataError."""

    def pin(self, entry: Entry) -> GetOptions:
        """Options of a read that gets the object which was listed, or fails."""

    def read_odd(self, entry: Entry, start: int, end: int) -> bytes:
        """Bytes of an object whose key obstore cannot express. Raises DataError."""

    def delete_odd(self, key: str) -> None:
        """Deletes an object whose key obstore cannot express. Raises DataError."""

    def md5_is_content(self, entry: Entry) -> bool:
        """Whether the MD5 of a listing should be the content's. Raises DataError."""

    def put(self, key: str, data: bytes, *, create: bool) -> None:
        """A small object under a key that obstore can express."""

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """An object from a stream, in one request. Raises DataError."""


class ObjectStore:
    """A bucket below a prefix. Safe for use from several threads."""

    def __init__(self, entry: Mapping[str, Any], service: Service) -> None:
        self.name, self.prefix, self.service = named(entry), prefix_of(entry), service
        self.uploads = service.uploads

    @property
    def identity(self) -> Identity:
        """See Store."""
        return self.service.identity

    def close(self) -> None:
        """Closes the idle connections."""
        self.service.connection.http.close()

    def full_key(self, relative: str) -> str:
        """See Store."""
        return checked_key(self.name, self.prefix, relative)

    def where(self, key: str = "") -> str:
        """Host, bucket and key for messages; `key` is a full one."""
        return place(self.service, key)

    def uri(self, key: str) -> str:
        """The reference of a full key, `s3://` for example."""
        return f"{self.service.scheme}://{self.service.bucket}/{key}"

    def list(self, prefix: str, *, deadline: float, limit: int | None = None) -> Iterator[Entry]:
        """All objects whose full key begins with `prefix`, in key order, page by page. Raises DataError."""
        token, left = "", limit
        while True:
            ask = partial(self.service.page, prefix, token, limit=left)
            entries, token = retrying(ask, where=self.where(prefix), deadline=deadline)
            yield from entries[:left]
            if left is not None:
                left -= len(entries)  # a page may have fewer than it could, or none
            if not token or (left is not None and left <= 0):
                return

    def probe(self, *, seconds: float) -> None:
        """Asks for one key of the prefix."""
        self.service.page(f"{self.prefix}/" if self.prefix else "", "", limit=1, seconds=seconds)

    def read(self, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
        """See Store."""
        if is_odd(entry.key):
            yield memoryview(self.service.read_odd(entry, start, end))
            return
        options = self.service.pin(entry)
        if (start, end) != (0, entry.size):
            options["range"] = (start, end)
        try:
            result = obstore.get(self.service.objects, entry.key, options=options)
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            if "version" not in options:
                raise
            # Google keeps no version that was replaced.
            raise DataError("ObjectChanged", f"{self.where(entry.key)}: the object was replaced or deleted") from None
        if result.meta["size"] != entry.size:
            raise DataError("ObjectChanged", f"{self.where(entry.key)}: its size changed while it was read")
        if end - start <= SMALL_BYTES:
            yield memoryview(result.bytes())
        else:
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                yield memoryview(chunk)

    def md5_is_content(self, entry: Entry) -> bool:
        """See Store."""
        return self.service.md5_is_content(entry)

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """See Store."""
        found = obstore.get(self.service.objects, key)
        check_size(self.where(key), found.meta["size"], limit)
        return bytes(found.bytes())

    def put(self, key: str, data: bytes, *, create: bool = False) -> None:
        """See Store."""
        if is_odd(key):
            self.service.send(key, len(data), md5_of(data), [data])
        else:
            self.service.put(key, data, create=create)

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """See Store."""
        self.service.send(key, size, md5, pieces)

    def delete(self, keys: Sequence[str]) -> None:
        """See Store."""
        for key in filter(is_odd, keys):
            self.service.delete_odd(key)
        if plain := [key for key in keys if not is_odd(key)]:
            obstore.delete(self.service.objects, plain)

    def modified(self, key: str) -> datetime:
        """See Store."""
        return obstore.head(self.service.objects, key)["last_modified"]


def named(entry: Mapping[str, Any]) -> str:
    """The store's name, for messages."""
    return str(entry.get("name") or "store")


def prefix_of(entry: Mapping[str, Any]) -> str:
    """What all keys of the store begin with, without a final "/"."""
    spec = next(entry[kind] for kind in KINDS if kind in entry)
    return str(spec.get("prefix") or "").strip("/")


def place(service: Service, key: str = "") -> str:
    """Host, bucket and key, for messages."""
    return f"{service.connection.host}/{service.bucket}" + (f"/{key}" if key else "")


def put_object(objects: Any, key: str, data: bytes, *, create: bool) -> None:
    """A small object in one PUT; `create`: only where there is none."""
    obstore.put(objects, key, data, mode="create" if create else "overwrite", use_multipart=False)


def range_of(entry: Entry, start: int, end: int) -> dict[str, str]:
    """Headers of a GET of the bytes [start, end) of an object with this etag."""
    return {"If-Match": f'"{entry.etag}"'} | ({"Range": f"bytes={start}-{end - 1}"} if end > start else {})


def parse_xml(response: httpx.Response, where: str) -> ET.Element:
    """The document of an answer, without namespaces, which some servers leave away. Raises DataError BadResponse."""
    try:
        root = ET.fromstring(response.content)  # noqa: S314 - expat reads no external entity and bounds expansion
    except ET.ParseError:
        raise DataError("BadResponse", f"{where}: the answer is not one of an object store") from None
    for node in root.iter():
        node.tag = node.tag.rpartition("}")[2]
    return root


def is_odd(key: str) -> bool:
    """Whether obstore cannot express the key, so that a request of ours has to do."""
    return _ODD.search(key) is not None


def md5_of(data: bytes | memoryview) -> bytes:
    """The MD5 that a server compares with what it got."""
    return hashlib.md5(data, usedforsecurity=False).digest()


def _read_authority(name: str, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        text = Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        raise DataError("InvalidStore", f"store {name}: the authority's file {path} cannot be read") from None
    if "BEGIN CERTIFICATE" not in text:
        raise DataError("InvalidStore", f"store {name}: {path} holds no certificate")
    return text


def _context(authority: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if authority is not None:
        context.load_verify_locations(cadata=authority)
    return context
