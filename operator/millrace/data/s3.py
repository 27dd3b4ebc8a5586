"""An S3 bucket as a store.

obstore moves bytes. minio-py signs what obstore hides (multipart calls, listings with raw keys) as presigned URLs,
which httpx sends.
"""

from __future__ import annotations

import hashlib
import logging
import re
import ssl
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
import obstore
from minio import Minio
from minio.signer import presign_v4
from obstore.store import S3Store as Objects

from millrace.data.errors import DataError, classify, from_status
from millrace.data.keys import Keys
from millrace.data.model import CredentialSource
from millrace.data.multipart import S3Uploads
from millrace.data.retry import retrying
from millrace.data.stores import CHUNK_BYTES, SMALL_BYTES, Entry, check_size, checked_key

if TYPE_CHECKING:
    from obstore import GetOptions

CONNECT_SECONDS = 5.0
PRESIGNED = timedelta(hours=1)
_ODD = re.compile(r"[\x00-\x1f\x7f]|//|(^|/)\.{1,2}(/|$)|/$")

# httpx writes every URL to its log, and ours are signed.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


class S3Store:
    """An S3 bucket below a prefix. Safe for use from several threads."""

    def __init__(self, entry: Mapping[str, Any], credentials: CredentialSource, read_seconds: float) -> None:
        spec = entry["s3"]
        self.name = str(entry.get("name") or spec["bucket"])
        self.bucket = str(spec["bucket"])
        self.region = str(spec.get("region") or "us-east-1")
        self.endpoint = str(spec.get("endpoint") or f"https://s3.{self.region}.amazonaws.com").rstrip("/")
        self.prefix = str(spec.get("prefix") or "").strip("/")
        self.anonymous = credentials is None
        self._keys = None if credentials is None else Keys(credentials)
        self._path_style = bool(spec.get("pathStyle", True))
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.netloc or url.username or url.path:
            raise DataError("InvalidStore", f"store {self.name}: the endpoint must be http(s)://HOST[:PORT]")
        self.host = url.netloc
        authority = _read_authority(self.name, entry.get("ca"))
        try:
            self._minio = Minio(
                self.host, secure=url.scheme == "https", region=self.region, credentials=self._keys, cert_check=True
            )
        except ValueError:
            raise DataError("InvalidStore", f"store {self.name}: the endpoint {self.host} cannot be used") from None
        if not self._path_style:
            self._minio.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        self.objects = self._open_objects(authority, read_seconds)
        self.uploads = S3Uploads(self)
        self.http = httpx.Client(
            verify=_context(authority) if url.scheme == "https" else False,
            timeout=httpx.Timeout(read_seconds, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    def _open_objects(self, authority: str | None, read_seconds: float) -> Objects:
        scheme, _, host = self.endpoint.partition("://")
        options: dict[str, Any] = {
            "allow_http": scheme == "http",
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=read_seconds),
            "timeout": timedelta(hours=6),
        }
        if authority is not None:
            options["root_certificate"] = authority
        extra: dict[str, Any] = (
            {"skip_signature": True} if self._keys is None else {"credential_provider": self._keys.for_obstore}
        )
        return Objects(
            self.bucket,
            endpoint=self.endpoint if self._path_style else f"{scheme}://{self.bucket}.{host}",
            region=self.region,
            virtual_hosted_style_request=not self._path_style,
            client_options=options,  # type: ignore[arg-type]
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=1)},
            **extra,
        )

    def close(self) -> None:
        """Closes the idle connections."""
        self.http.close()

    def reload_keys(self) -> None:
        """Makes the next request ask the credential source anew."""
        if self._keys is not None:
            self._keys.forget()

    def full_key(self, relative: str) -> str:
        """See Store."""
        return checked_key(self.name, self.prefix, relative)

    def where(self, key: str = "") -> str:
        """Host, bucket and key for messages; `key` is a full one."""
        return f"{self.host}/{self.bucket}" + (f"/{key}" if key else "")

    def uri(self, key: str) -> str:
        """The `s3://` reference of a full key."""
        return f"s3://{self.bucket}/{key}"

    def _url(self, method: str, key: str, query: dict[str, str]) -> str:
        if key:
            return self._minio.get_presigned_url(method, self.bucket, key, expires=PRESIGNED, extra_query_params=dict(query))
        scheme, _, host = self.endpoint.partition("://")
        base = f"{scheme}://{host}/{quote(self.bucket)}" if self._path_style else f"{scheme}://{self.bucket}.{host}/"
        url = urlsplit(f"{base}?{urlencode(query, quote_via=quote)}")
        if self._keys is None:
            return url.geturl()
        keys = self._keys.retrieve()
        signed = presign_v4(
            method=method,
            url=url,
            region=self.region,
            credentials=keys,
            date=datetime.now(UTC),
            expires=int(PRESIGNED.total_seconds()),
        )
        return signed.geturl()

    def request(
        self,
        method: str,
        key: str,
        query: dict[str, str] | None = None,
        *,
        headers: dict[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> httpx.Response:
        """Sends one presigned request (`key` is a full one, empty for the bucket) and reads the answer.

        Raises DataError, also for an HTTP status that is not a success and for a success with an `<Error>` document
        in it, which CompleteMultipartUpload may give.
        """
        where = self.where(key)
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS)) if seconds else httpx.USE_CLIENT_DEFAULT
        try:
            response = self.http.request(
                method, self._url(method, key, query or {}), headers=headers, content=content, timeout=timeout
            )
        except (httpx.HTTPError, OSError) as exc:
            raise classify(exc, where) from None
        if not response.is_success:
            raise from_status(response.status_code, response.text if method != "HEAD" else "", where)
        if b"<Error>" in response.content[:1024]:
            raise from_status(500, response.text, where)
        return response

    def list(self, prefix: str, *, deadline: float, limit: int | None = None) -> Iterator[Entry]:
        """All objects whose full key begins with `prefix`, in key order, page by page. Raises DataError."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        if limit is not None:
            query["max-keys"] = str(limit)
        while True:
            ask = partial(self.xml, "GET", "", query)
            root = retrying(ask, where=self.where(prefix), deadline=deadline)
            for item in root.iterfind("Contents"):
                key = unquote((item.findtext("Key") or "").replace("+", " "))
                etag = (item.findtext("ETag") or "").strip('"')
                yield Entry(key, int(item.findtext("Size") or 0), etag)
            token = root.findtext("NextContinuationToken")
            if not token or limit is not None:
                return
            query = {**query, "continuation-token": token}

    def probe(self, *, seconds: float) -> None:
        """Asks for one key of the prefix."""
        query = {"list-type": "2", "max-keys": "1", "prefix": f"{self.prefix}/" if self.prefix else ""}
        root = self.xml("GET", "", query, seconds=seconds)
        if root.tag != "ListBucketResult":
            raise DataError("BadResponse", f"{self.where()}: the answer is not one of an S3 store")

    def read(self, entry: Entry, start: int, end: int) -> Iterator[memoryview]:
        """See Store."""
        if is_odd(entry.key):
            headers = {"If-Match": f'"{entry.etag}"'} | ({"Range": f"bytes={start}-{end - 1}"} if end > start else {})
            yield memoryview(self.request("GET", entry.key, headers=headers).content)
            return
        options: GetOptions = {"range": (start, end)} if (start, end) != (0, entry.size) else {}
        if entry.etag:
            options["if_match"] = f'"{entry.etag}"'
        result = obstore.get(self.objects, entry.key, options=options)
        if result.meta["size"] != entry.size:
            raise DataError("ObjectChanged", f"{self.where(entry.key)}: its size changed while it was read")
        if end - start <= SMALL_BYTES:
            yield memoryview(result.bytes())
        else:
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                yield memoryview(chunk)

    def etag_is_md5(self, entry: Entry) -> bool:
        """Whether the etag should be the content's MD5: not with keys of a key service, where it is random."""
        headers = self.request("HEAD", entry.key).headers
        kind = headers.get("x-amz-server-side-encryption", "")
        return not (kind.startswith("aws:") or "x-amz-server-side-encryption-customer-algorithm" in headers)

    def get(self, key: str, *, limit: int | None = None) -> bytes:
        """See Store."""
        found = obstore.get(self.objects, key)
        check_size(self.where(key), found.meta["size"], limit)
        return bytes(found.bytes())

    def put(self, key: str, data: bytes, *, create: bool = False) -> None:
        """See Store."""
        if is_odd(key):
            self.send(key, len(data), hashlib.md5(data, usedforsecurity=False).digest(), [data])
        else:
            obstore.put(self.objects, key, data, mode="create" if create else "overwrite", use_multipart=False)

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """See Store."""
        headers = {"Content-Length": str(size), "Content-MD5": b64encode(md5).decode()}
        self.request("PUT", key, headers=headers, content=pieces)

    def modified(self, key: str) -> datetime:
        """See Store."""
        return obstore.head(self.objects, key)["last_modified"]

    def xml(
        self, method: str, key: str, query: dict[str, str], *, content: bytes | None = None, seconds: float | None = None
    ) -> ET.Element:
        """Like `request`, for an answer that is an XML document."""
        response = self.request(method, key, query, content=content, seconds=seconds)
        try:
            root = ET.fromstring(response.content)  # noqa: S314 - expat reads no external entity and bounds expansion
        except ET.ParseError:
            raise DataError("BadResponse", f"{self.where(key)}: the answer is not one of an S3 store") from None
        for node in root.iter():
            node.tag = node.tag.rpartition("}")[2]  # some servers leave the namespace away
        return root


def is_odd(key: str) -> bool:
    """Whether obstore cannot express the key, so that a presigned request has to do."""
    return _ODD.search(key) is not None


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
