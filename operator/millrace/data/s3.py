"""S3: presigned requests by minio-py, which signs what obstore hides (multipart calls, listings with raw keys)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

import httpx
from minio import Minio
from minio.credentials.credentials import Credentials as MinioCredentials
from minio.credentials.providers import Provider
from minio.signer import presign_v4
from obstore.store import S3Store

from millrace.data.errors import DataError
from millrace.data.keys import Keys
from millrace.data.model import CredentialSource, Identity
from millrace.data.multipart import S3Uploads
from millrace.data.objects import RETRIES, connect, named, parse_xml, place, put_object, range_of
from millrace.data.stores import Entry
from millrace.data.sts import WebIdentityKeys

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import S3Credential

PRESIGNED = timedelta(hours=1)
_MD5 = re.compile(r"[0-9a-f]{32}")


class _ForMinio(Provider):
    """Credentials as minio-py asks for them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def retrieve(self) -> MinioCredentials:
        keys = self._keys.current()
        return MinioCredentials(keys.access_key, keys.secret_key, keys.session_token)


def _for_obstore(keys: Keys) -> S3Credential:
    found = keys.current()
    return {
        "access_key_id": found.access_key,
        "secret_access_key": found.secret_key,
        "token": found.session_token,
        "expires_at": keys.until(),
    }


class S3:
    """One bucket of an S3 service. See Service."""

    scheme = "s3"

    def __init__(self, entry: Mapping[str, Any], credentials: CredentialSource, read_seconds: float) -> None:
        spec = entry["s3"]
        self.bucket = str(spec["bucket"])
        self.region = str(spec.get("region") or "us-east-1")
        endpoint = str(spec.get("endpoint") or f"https://s3.{self.region}.amazonaws.com")
        self.connection = connect(entry, endpoint, read_seconds)
        self.identity: Identity = "Anonymous" if credentials is None else "Store"
        if credentials is None and "token" in entry:
            credentials, self.identity = WebIdentityKeys(entry, read_seconds), "Job"
        self._keys = None if credentials is None else Keys(credentials)
        self._provider = None if self._keys is None else _ForMinio(self._keys)
        self._path_style = bool(spec.get("pathStyle", True))
        host, secure = self.connection.host, self.connection.endpoint.startswith("https:")
        try:
            self._minio = Minio(host, secure=secure, region=self.region, credentials=self._provider, cert_check=True)
        except ValueError:
            raise DataError("InvalidStore", f"store {named(entry)}: the endpoint {host} cannot be used") from None
        if not self._path_style:
            self._minio.enable_virtual_style_endpoint()  # type: ignore[no-untyped-call]
        self._objects = self._open_objects()
        self.uploads = S3Uploads(self)

    def _base(self) -> str:
        """The bucket's address where it is part of the host name."""
        scheme, _, host = self.connection.endpoint.partition("://")
        return f"{scheme}://{self.bucket}.{host}"

    def _open_objects(self) -> S3Store:
        extra: dict[str, Any] = (
            {"skip_signature": True} if self._keys is None else {"credential_provider": partial(_for_obstore, self._keys)}
        )
        return S3Store(
            self.bucket,
            endpoint=self.connection.endpoint if self._path_style else self._base(),
            region=self.region,
            virtual_hosted_style_request=not self._path_style,
            client_options=self.connection.options,  # type: ignore[arg-type]
            retry_config=RETRIES,  # type: ignore[arg-type]
            **extra,
        )

    @property
    def objects(self) -> S3Store:
        """See Service."""
        if self._keys is not None:
            self._keys.current()  # here its failure has a reason; in obstore it would be a text
        return self._objects

    def reload_keys(self) -> None:
        """Makes the next request ask the credential source anew."""
        if self._keys is not None:
            self._keys.forget()

    def url(self, method: str, key: str, query: dict[str, str]) -> str:
        """The signed address of a request; an empty key is the bucket."""
        if key:
            return self._minio.get_presigned_url(method, self.bucket, key, expires=PRESIGNED, extra_query_params=dict(query))
        base = f"{self.connection.endpoint}/{quote(self.bucket)}" if self._path_style else f"{self._base()}/"
        keys = self._provider.retrieve() if self._provider else None
        if keys and keys.session_token:  # minio-py adds it to the addresses of objects only
            query = {**query, "X-Amz-Security-Token": keys.session_token}
        url = urlsplit(f"{base}?{urlencode(query, quote_via=quote)}")
        if keys is None:
            return url.geturl()
        signed = presign_v4(
            method=method,
            url=url,
            region=self.region,
            credentials=keys,
            date=datetime.now(UTC),
            expires=int(PRESIGNED.total_seconds()),
        )
        return signed.geturl()

    def request(self, method: str, key: str, query: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Sends one presigned request (`key` is a full one, empty for the bucket); `more` as of Connection.request.
        Raises DataError.
        """
        return self.connection.request(method, self.url(method, key, query or {}), place(self, key), **more)

    def xml(self, method: str, key: str, query: dict[str, str], **more: Any) -> ET.Element:
        """Like `request`, for an answer that is an XML document."""
        return parse_xml(self.request(method, key, query, **more), place(self, key))

    def page(self, prefix: str, token: str, *, limit: int | None, seconds: float | None = None) -> tuple[list[Entry], str]:
        """See Service."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix}
        query |= {"max-keys": str(limit)} if limit is not None else {}
        query |= {"continuation-token": token} if token else {}
        root = self.xml("GET", "", query, seconds=seconds)
        if root.tag != "ListBucketResult":
            raise DataError("BadResponse", f"{place(self)}: the answer is not one of an S3 store")
        entries = []
        for item in root.iterfind("Contents"):
            key = unquote((item.findtext("Key") or "").replace("+", " "))
            etag = (item.findtext("ETag") or "").strip('"')
            entries.append(Entry(key, int(item.findtext("Size") or 0), etag, etag if _MD5.fullmatch(etag) else ""))
        return entries, root.findtext("NextContinuationToken") or ""

    def pin(self, entry: Entry) -> GetOptions:
        """See Service."""
        return {"if_match": f'"{entry.etag}"'} if entry.etag else {}

    def read_odd(self, entry: Entry, start: int, end: int) -> bytes:
        """See Service."""
        return self.request("GET", entry.key, headers=range_of(entry, start, end)).content

    def delete_odd(self, key: str) -> None:
        """See Service."""
        self.request("DELETE", key)

    def md5_is_content(self, entry: Entry) -> bool:
        """See Service: not with keys of a key service, where an etag is random."""
        headers = self.request("HEAD", entry.key).headers
        kind = headers.get("x-amz-server-side-encryption", "")
        return not (kind.startswith("aws:") or "x-amz-server-side-encryption-customer-algorithm" in headers)

    def put(self, key: str, data: bytes, *, create: bool) -> None:
        """See Service."""
        put_object(self.objects, key, data, create=create)

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """See Service."""
        headers = {"Content-Length": str(size), "Content-MD5": b64encode(md5).decode()}
        self.request("PUT", key, headers=headers, content=pieces)
