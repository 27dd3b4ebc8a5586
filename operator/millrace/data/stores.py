"""A store, opened from its entry in the plan. S3 is the kind there is; another kind is another class with these
methods.

obstore moves bytes. minio-py signs what obstore hides (multipart calls, listings with raw keys) as presigned URLs,
which httpx sends.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
from minio import Minio
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider
from minio.signer import presign_v4
from obstore.store import S3Store

from millrace.data.errors import DataError, classify, from_status
from millrace.data.model import Credentials, CredentialSource
from millrace.data.retry import retrying

if TYPE_CHECKING:
    from obstore.store import S3Credential

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
PRESIGNED = timedelta(hours=1)
RELOAD_SECONDS = 60
MAX_KEY_BYTES = 1024

# httpx writes every URL to its log, and ours are signed.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of a listing. `etag` has no quotes."""

    key: str
    size: int
    etag: str


class _Keys(Provider):
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

    def retrieve(self) -> MinioCredentials:
        keys = self.current()
        return MinioCredentials(keys.access_key, keys.secret_key, keys.session_token)

    def for_obstore(self) -> S3Credential:
        keys = self.current()
        expires = None if isinstance(self._source, Credentials) else datetime.now(UTC) + timedelta(seconds=RELOAD_SECONDS)
        return {
            "access_key_id": keys.access_key,
            "secret_access_key": keys.secret_key,
            "token": keys.session_token,
            "expires_at": expires,
        }


class Store:
    """An S3 bucket below a prefix. Safe for use from several threads."""

    def __init__(self, entry: Mapping[str, Any], credentials: CredentialSource) -> None:
        spec = entry["s3"]
        self.name = str(entry.get("name") or spec["bucket"])
        self.bucket = str(spec["bucket"])
        self.region = str(spec.get("region") or "us-east-1")
        self.endpoint = str(spec.get("endpoint") or f"https://s3.{self.region}.amazonaws.com").rstrip("/")
        self.prefix = str(spec.get("prefix") or "").strip("/")
        self.anonymous = credentials is None
        self._keys = None if credentials is None else _Keys(credentials)
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
        self.objects = self._open_objects(authority)
        self.http = httpx.Client(
            verify=_context(authority) if url.scheme == "https" else False,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=16),
        )

    def _open_objects(self, authority: str | None) -> S3Store:
        scheme, _, host = self.endpoint.partition("://")
        options: dict[str, Any] = {
            "allow_http": scheme == "http",
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "read_timeout": timedelta(seconds=READ_SECONDS),
            "timeout": timedelta(hours=6),
        }
        if authority is not None:
            options["root_certificate"] = authority
        extra: dict[str, Any] = (
            {"skip_signature": True} if self._keys is None else {"credential_provider": self._keys.for_obstore}
        )
        return S3Store(
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
        """The object's key in the bucket for one that is relative to the prefix; a final "/" stays, "" is the prefix.

        Raises DataError KeyRefused for what would leave the prefix or is no usable key: "..", ".", empty parts, a
        leading "/", NUL, more than 1,024 bytes.
        """
        key = "/".join(part for part in (self.prefix, relative) if part)
        parts = (relative.removesuffix("/")).split("/") if relative else []
        if any(part in ("", ".", "..") for part in parts) or "\0" in relative or len(key.encode()) > MAX_KEY_BYTES:
            raise DataError("KeyRefused", f"store {self.name}: the key {relative!r} is refused")
        return key

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


def open_store(entry: Mapping[str, Any], credentials: CredentialSource) -> Store:
    """Opens the store of a plan's entry; nothing is sent yet. `credentials` None means that requests are not signed.

    Raises DataError: CredentialsMissing when the entry says that there are keys, InvalidStore for a description that
    cannot be used.
    """
    if entry.get("credentials") and credentials is None:
        raise DataError("CredentialsMissing", f"store {entry.get('name')}: the store needs keys and has none")
    if "s3" not in entry:
        raise DataError("InvalidStore", f"store {entry.get('name')}: only s3 is known")
    return Store(entry, credentials)


def probe(store: Store, *, seconds: float = 10.0) -> None:
    """Asks for one key of the store's prefix. Raises DataError with the reason why the store cannot be used."""
    query = {"list-type": "2", "max-keys": "1", "prefix": f"{store.prefix}/" if store.prefix else ""}
    root = store.xml("GET", "", query, seconds=seconds)
    if root.tag != "ListBucketResult":
        raise DataError("BadResponse", f"{store.where()}: the answer is not one of an S3 store")


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
