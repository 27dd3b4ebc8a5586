"""A real MinIO on the loopback, and a client of its own to look into it."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any

import httpx
from minio import Minio

ACCESS_KEY = "in-pod-access"
SECRET_KEY = "in-pod-secret-canary"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class MinioServer:
    """One server process; it can be stopped and started again on the same port and data."""

    def __init__(self, binary: str, data: Path) -> None:
        self._command = [binary, "server", "--quiet", "--address", f"127.0.0.1:{free_port()}", str(data)]
        self.endpoint = "http://" + self._command[4]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {"PATH": os.environ["PATH"], "HOME": self._command[-1], "MINIO_BROWSER": "off", "MINIO_UPDATE": "off"}
        env |= {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}
        self._process = subprocess.Popen(self._command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 30
        while not self._answers():
            assert time.monotonic() < end, "MinIO does not start"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.endpoint + "/minio/health/ready").is_success
        except httpx.TransportError:
            return False

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def bucket(self) -> Bucket:
        return Bucket(self, "none")


class Bucket:
    """A bucket as an independent client sees it."""

    def __init__(self, server: MinioServer, name: str) -> None:
        self.server, self.name = server, name
        host = server.endpoint.removeprefix("http://")
        self.client = Minio(host, ACCESS_KEY, SECRET_KEY, secure=False)

    def fresh(self) -> Bucket:
        bucket = Bucket(self.server, "b" + uuid.uuid4().hex[:12])
        bucket.client.make_bucket(bucket.name)
        return bucket

    def entry(self) -> dict[str, Any]:
        """As in plan.json."""
        s3 = {"endpoint": self.server.endpoint, "bucket": self.name, "region": "us-east-1", "prefix": "", "pathStyle": True}
        return {"name": "heart", "s3": s3, "credentials": True}

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(self.name, key, io.BytesIO(data), len(data))

    def get(self, key: str) -> bytes:
        response = self.client.get_object(self.name, key)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    def zip(self, key: str) -> dict[str, bytes]:
        """The members of a zip."""
        with zipfile.ZipFile(io.BytesIO(self.get(key))) as file:
            return {name: file.read(name) for name in file.namelist()}

    def keys(self, prefix: str = "") -> set[str]:
        """All keys but our own records."""
        found = {str(item.object_name) for item in self.client.list_objects(self.name, prefix, recursive=True)}
        return {key for key in found if not key.startswith(".millrace/")}

    def uploads(self, key: str) -> list[str]:
        """Ids of the key's multipart uploads that were neither completed nor aborted (MinIO lists them by full key only)."""
        return [str(upload.upload_id) for upload in self.client._list_multipart_uploads(self.name, prefix=key).uploads]
