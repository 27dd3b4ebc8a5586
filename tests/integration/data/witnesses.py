"""A container of Azurite and a bucket of fake-gcs-server, seen by the services' own clients: see servers.Bucket."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobServiceClient, ContainerClient
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from integration.data.servers import Bucket
from millrace.data import Credentials, Store, open_store
from support.emulators import ACCOUNT, ACCOUNT_KEY

AZURE_VERSION = "2025-07-05"  # the newest that Azurite knows


def azure_client(address: str) -> BlobServiceClient:
    credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    return BlobServiceClient(f"http://{address}/{ACCOUNT}", credential=credential, api_version=AZURE_VERSION)


@dataclass
class Container:
    """A container. Azurite keeps no versions, so those of a blob are the writes that its log has of it."""

    client: ContainerClient
    name: str
    address: str
    log: Path
    opened: list[Store] = field(default_factory=list)

    keys_of_store = Credentials("", ACCOUNT_KEY)
    scheme = "az"
    signs_host = True
    aborts = False  # blocks that are not committed go with the next write to the blob, or after a week
    conditional = True

    def entry(self, address: str | None = None, prefix: str = "") -> dict[str, Any]:
        endpoint = f"http://{address or self.address}/{ACCOUNT}"
        spec = {"account": ACCOUNT, "container": self.name, "endpoint": endpoint, "prefix": prefix}
        return {"name": "test", "azureBlob": spec, "credentials": True}

    def store(self, address: str | None = None, prefix: str = "") -> Store:
        self.opened.append(open_store(self.entry(address, prefix), self.keys_of_store))
        return self.opened[-1]

    def put(self, key: str, data: bytes) -> None:
        self.client.upload_blob(key, data, overwrite=True)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.download_blob(key).readall()
        return data

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(self.client.list_blob_names(name_starts_with=prefix))

    def versions(self, key: str) -> int:
        path = re.escape(f"/{ACCOUNT}/{self.name}/{quote(key)}")
        return len(re.findall(rf'"PUT {path}(?:\?comp=blocklist)? HTTP/1.1" 201', self.log.read_text()))

    def uploads(self, *keys: str) -> list[str]:
        """Keys with blocks that are not committed."""
        found = []
        for key in keys:
            with suppress(ResourceNotFoundError):
                if self.client.get_blob_client(key).get_block_list("uncommitted")[1]:
                    found.append(key)
        return found

    def discard(self, key: str, upload_id: str) -> None:
        """Ends an upload behind millrace's back: the older object is written anew, in a block."""
        blob, block = self.client.get_blob_client(key), "0" * 37  # the ids of a blob's blocks have one length
        blob.stage_block(block, self.get(key))
        blob.commit_block_list([BlobBlock(block)])


@dataclass
class GoogleBucket:
    """A bucket. fake-gcs-server forgets versions, so those of an object are the writes that its log has of it."""

    client: storage.Client
    name: str
    address: str
    log: Path
    key_file: dict[str, str]
    opened: list[Store] = field(default_factory=list)

    scheme = "gs"
    aborts = True
    signs_host = False  # and fake-gcs-server wants to hear its own name
    conditional = False  # fake-gcs-server composes whatever the conditions

    @property
    def keys_of_store(self) -> Credentials:
        return Credentials("", json.dumps(self.key_file))

    @property
    def _bucket(self) -> storage.Bucket:
        return self.client.bucket(self.name)

    def entry(self, address: str | None = None, prefix: str = "") -> dict[str, Any]:
        spec = {"bucket": self.name, "endpoint": f"http://{address or self.address}", "prefix": prefix}
        return {"name": "test", "gcs": spec, "credentials": True}

    def store(self, address: str | None = None, prefix: str = "") -> Store:
        self.opened.append(open_store(self.entry(address, prefix), self.keys_of_store))
        return self.opened[-1]

    def put(self, key: str, data: bytes) -> None:
        self._bucket.blob(key).upload_from_string(data)

    def get(self, key: str) -> bytes:
        data: bytes = self._bucket.blob(key).download_as_bytes()
        return data

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(blob.name for blob in self._bucket.list_blobs(prefix=prefix))

    def versions(self, key: str) -> int:
        composed = re.escape(f"/storage/v1/b/{self.name}/o/{quote(key, safe='')}/compose?")
        sent = re.escape(f"/upload/storage/v1/b/{self.name}/o?uploadType=media&name={quote(key, safe='')}")
        wrote = re.compile(rf'"POST (?:{composed}|{sent})[^ ]* HTTP/1.1.?" 200')
        return len(wrote.findall(self.log.read_text()))

    def uploads(self, *keys: str) -> list[str]:
        """The uploads whose parts are there, whatever their keys."""
        return sorted({blob.name.split("/")[2] for blob in self._bucket.list_blobs(prefix=".millrace/uploads/")})

    def discard(self, key: str, upload_id: str) -> None:
        """Ends an upload behind millrace's back."""
        for blob in list(self._bucket.list_blobs(prefix=f".millrace/uploads/{upload_id}/")):
            blob.delete()


def google_client(address: str) -> storage.Client:
    return storage.Client("test", credentials=AnonymousCredentials(), client_options={"api_endpoint": f"http://{address}"})


AnyBucket = Bucket | Container | GoogleBucket
ON_EACH = pytest.mark.parametrize("bucket", ["s3", "azure", "gcs"], indirect=True)
