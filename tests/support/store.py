"""The object store of the tests, by the minio package: the independent client that checks what millrace wrote."""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import zipfile
from dataclasses import dataclass
from typing import Any

from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from support.cluster import API_VERSION, Namespace, Object, condition, kubectl
from support.waiting import wait_for

ENDPOINT = "http://minio.minio:9000"  # as pods see it


def root_client() -> Minio:
    """MinIO's administrator, from outside the cluster."""
    secret = json.loads(kubectl("-n", "minio", "get", "secret", "minio-root", "-o", "json"))["data"]
    access, key = (base64.b64decode(secret[name]).decode() for name in ("access_key", "secret_key"))
    host = os.environ["MILLRACE_MINIO_ENDPOINT"].removeprefix("http://")
    return Minio(host, access_key=access, secret_key=key, secure=False)


def root_keys() -> dict[str, str]:
    """The administrator's credentials."""
    secret = json.loads(kubectl("-n", "minio", "get", "secret", "minio-root", "-o", "json"))["data"]
    return {name: base64.b64decode(value).decode() for name, value in secret.items()}


@dataclass(frozen=True)
class Bucket:
    """A versioned bucket, and the DataStore that names it."""

    client: Minio
    name: str

    def put(self, key: str, data: bytes) -> None:
        """Writes an object."""
        self.client.put_object(self.name, key, io.BytesIO(data), len(data))

    def get(self, key: str) -> bytes:
        """Reads an object."""
        response = self.client.get_object(self.name, key)
        try:
            data: bytes = response.read()
            return data
        finally:
            response.close()
            response.release_conn()

    def names(self, prefix: str = "") -> list[str]:
        """All keys, those of ours below .millrace/ and the logs too."""
        found = self.client.list_objects(self.name, prefix=prefix, recursive=True)
        return sorted(str(entry.object_name) for entry in found)

    def versions(self, key: str) -> list[Any]:
        """All versions of an object, delete markers too."""
        found = self.client.list_objects(self.name, prefix=key, recursive=True, include_version=True)
        return [entry for entry in found if entry.object_name == key]

    def uploads(self, key: str) -> list[Any]:
        """Multipart uploads of a key that were neither completed nor aborted (MinIO lists them by exact key only)."""
        answer = self.client._list_multipart_uploads(self.name, prefix=key)
        return list(answer.uploads)

    def unzip(self, key: str) -> dict[str, bytes]:
        """Members of a zip in the store."""
        with zipfile.ZipFile(io.BytesIO(self.get(key))) as archive:
            assert archive.testzip() is None
            return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members: dict[str, bytes]) -> bytes:
    """A zip with these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def signed(bucket: Bucket, key: str, method: str = "GET") -> str:
    """A signed address of an object, as pods reach it: user code has no other way to the store."""
    keys = root_keys()
    host = ENDPOINT.removeprefix("http://")
    client = Minio(host, keys["access_key"], keys["secret_key"], secure=False, region="us-east-1")
    return client.get_presigned_url(method, bucket.name, key)


def new_bucket() -> Bucket:
    """A fresh bucket with versioning, so that an object written twice shows."""
    client, name = root_client(), f"t-{secrets.token_hex(5)}"
    client.make_bucket(name)
    client.set_bucket_versioning(name, VersioningConfig(ENABLED))
    return Bucket(client, name)


def secret(name: str, **values: str) -> Object:
    """A Secret."""
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def data_store(name: str, bucket: str, *, default: bool = True, secret_name: str | None = None, **s3: Any) -> Object:
    """A DataStore on the cluster's MinIO."""
    annotations = {"annotations": {"millrace.dev/is-default": "true"}} if default else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "DataStore",
        "metadata": {"name": name, **annotations},
        "spec": {
            "s3": {"endpoint": ENDPOINT, "bucket": bucket, **s3},
            "credentials": {"secretRef": {"name": secret_name or name}},
        },
    }


def install(namespace: Namespace, bucket: Bucket, name: str = "store", *, default: bool = True) -> None:
    """Applies Secret and DataStore for a bucket."""
    namespace.apply(secret(name, **root_keys()), data_store(name, bucket.name, default=default))


def ready(namespace: Namespace, name: str) -> Object | None:
    """The store's condition Ready."""
    return condition(namespace.get("dstore", name), "Ready")


def becomes(namespace: Namespace, name: str, status: str, reason: str, *, seconds: float = 30) -> Object:
    """Waits until Ready has that status and reason."""
    return wait_for(
        f"DataStore {name} Ready={status} {reason}, is {ready(namespace, name)}",
        lambda: (c := ready(namespace, name)) and (c["status"], c["reason"]) == (status, reason) and c,
        seconds=seconds,
    )
