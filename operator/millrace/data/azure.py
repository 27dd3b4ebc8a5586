"""Azure Blob Storage, and ADLS Gen2 through the same interface: requests with a shared key, a signature (SAS) or a token."""

from __future__ import annotations

import hashlib
import hmac
import os
import xml.etree.ElementTree as ET
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import httpx
from obstore.store import AzureStore

from millrace.data.blocks import BlockUploads
from millrace.data.errors import DataError
from millrace.data.keys import Keys
from millrace.data.model import CredentialSource, Identity
from millrace.data.objects import RETRIES, connect, named, parse_xml, place, put_object, range_of
from millrace.data.stores import Entry
from millrace.data.tokens import Tokens, azure_workload

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import AzureCredential

VERSION = "2021-12-02"
_SIGNED = ("content-encoding", "content-language", "content-length", "content-md5", "content-type", "date",
           "if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range")  # fmt: skip


class Azure:
    """One container of a storage account. See Service."""

    scheme = "az"

    def __init__(self, entry: Mapping[str, Any], credentials: CredentialSource, read_seconds: float) -> None:
        spec = entry["azureBlob"]
        self.account, self.bucket = str(spec["account"]), str(spec["container"])
        endpoint = str(spec.get("endpoint") or f"https://{self.account}.blob.core.windows.net")
        self.connection = connect(entry, endpoint, read_seconds, path=True)
        self._name = named(entry)
        self._keys = None if credentials is None else Keys(credentials)
        ask = azure_workload(self.connection, os.environ) if credentials is None else None
        self._tokens = None if ask is None else Tokens(ask)
        self.identity: Identity = "Store" if self._keys else "Job" if self._tokens else "Anonymous"
        self._objects = self._open_objects()
        self.uploads = BlockUploads(self)

    def _open_objects(self) -> AzureStore:
        extra: dict[str, Any] = {"skip_signature": True}
        if self._tokens is not None:
            extra = {"credential_provider": self._tokens.for_obstore}
        elif self._keys is not None:
            extra = {"credential_provider": self._for_obstore}
        return AzureStore(
            self.bucket,
            account_name=self.account,
            endpoint=self.connection.endpoint,
            client_options=self.connection.options,  # type: ignore[arg-type]
            retry_config=RETRIES,  # type: ignore[arg-type]
            **extra,
        )

    @property
    def objects(self) -> AzureStore:
        """See Service."""
        if self._tokens is not None:
            self._tokens.current()  # here its failure has a reason; in obstore it would be a text
        elif self._keys is not None:
            self._secret()
        return self._objects

    def _secret(self) -> tuple[bytes | None, str]:
        """(the account's key, "") or (None, the SAS). Raises DataError."""
        assert self._keys is not None
        text = self._keys.current().secret_key.strip().removeprefix("?")
        if "sig=" in text:
            return None, text
        try:
            return b64decode(text, validate=True), ""
        except ValueError:
            what = "the Secret has neither an account key nor a shared access signature"
            raise DataError("AccessDenied", f"store {self._name}: {what}") from None

    def _for_obstore(self) -> AzureCredential:
        key, sas = self._secret()
        expires = self._keys.until() if self._keys else None
        if key is None:
            return {"sas_token": parse_qsl(sas), "expires_at": expires}
        return {"access_key": b64encode(key).decode(), "expires_at": expires}

    def signed(self, method: str, key: str, query: dict[str, str], headers: dict[str, str]) -> tuple[str, dict[str, str]]:
        """Address and headers of a request; an empty key is the container. Raises DataError."""
        address = f"{self.connection.endpoint}/{quote(self.bucket)}" + (f"/{quote(key)}" if key else "")
        given = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        headers = {
            **headers,
            "x-ms-version": VERSION,
            "x-ms-date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        }
        if self._tokens is not None:
            headers["Authorization"] = f"Bearer {self._tokens.current()}"
        elif self._keys is not None:
            secret, sas = self._secret()
            if secret is None:
                given = "&".join(part for part in (given, sas) if part)
            else:
                headers["Authorization"] = shared_key(self.account, secret, method, address, query, headers)
        return address + (f"?{given}" if given else ""), headers

    def request(
        self,
        method: str,
        key: str,
        query: dict[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> httpx.Response:
        """Sends one signed request; see Connection.request. Raises DataError."""
        known = {"Content-Length": str(len(content))} if isinstance(content, bytes) else {}
        url, signed = self.signed(method, key, query or {}, known | dict(headers or {}))
        where = place(self, key)
        return self.connection.request(method, url, where, headers=signed, content=content, seconds=seconds)

    def page(self, prefix: str, token: str, *, limit: int | None, seconds: float | None = None) -> tuple[list[Entry], str]:
        """See Service."""
        query = {"restype": "container", "comp": "list", "prefix": prefix}
        query |= {"maxresults": str(limit)} if limit is not None else {}
        query |= {"marker": token} if token else {}
        root = parse_xml(self.request("GET", "", query, seconds=seconds), place(self))
        if root.tag != "EnumerationResults":
            raise DataError("BadResponse", f"{place(self)}: the answer is not one of Azure Blob Storage")
        return [_entry(blob) for blob in root.iterfind("Blobs/Blob")], root.findtext("NextMarker") or ""

    def pin(self, entry: Entry) -> GetOptions:
        """See Service."""
        return {"if_match": f'"{entry.etag}"'} if entry.etag else {}

    def read_odd(self, entry: Entry, start: int, end: int) -> bytes:
        """See Service."""
        return self.request("GET", entry.key, headers=range_of(entry, start, end)).content

    def delete_odd(self, key: str) -> None:
        """See Service."""
        self.request("DELETE", key)

    def md5_is_content(self, entry: Entry) -> bool:  # noqa: ARG002
        """See Service: it is what the writer said, or what the service has computed."""
        return True

    def put(self, key: str, data: bytes, *, create: bool) -> None:
        """See Service."""
        put_object(self.objects, key, data, create=create)

    def send(self, key: str, size: int, md5: bytes, pieces: Iterable[bytes]) -> None:
        """See Service."""
        headers = {"Content-Length": str(size), "Content-MD5": b64encode(md5).decode(), "x-ms-blob-type": "BlockBlob"}
        self.request("PUT", key, headers=headers, content=pieces)


def shared_key(
    account: str, secret: bytes, method: str, address: str, query: Mapping[str, str], headers: Mapping[str, str]
) -> str:
    """The Authorization header: "Authorize with Shared Key" of Azure's reference."""
    lower = {name.lower(): value for name, value in headers.items()}
    lines = [method, *(lower.get(name, "") for name in _SIGNED)]
    lines[3] = "" if lines[3] == "0" else lines[3]
    lines += [f"{name}:{lower[name]}" for name in sorted(lower) if name.startswith("x-ms-")]
    lines.append(f"/{account}{urlsplit(address).path}")
    lines += [f"{name}:{query[name]}" for name in sorted(query)]
    mac = hmac.new(secret, "\n".join(lines).encode(), hashlib.sha256)
    return f"SharedKey {account}:{b64encode(mac.digest()).decode()}"


def _entry(blob: ET.Element) -> Entry:
    name = blob.find("Name")
    assert name is not None, "a blob without a name"
    key = unquote(name.text or "") if name.get("Encoded") == "true" else name.text or ""
    found = {item.tag: item.text or "" for item in blob.iterfind("Properties/*")}
    if found.get("ResourceType") == "directory":  # of a hierarchical namespace
        return Entry(f"{key}/", 0, "")
    md5 = b64decode(found.get("Content-MD5", "")).hex()
    return Entry(key, int(found.get("Content-Length") or 0), found.get("Etag", "").strip('"'), md5)
