"""A MinIO server of the tests' own, on loopback, in a temporary folder; and a proxy in front of it that fails on purpose."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator

import pytest
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from integration.data.servers import ACCESS, SECRET, Bucket, Handler, Proxy, Server, running_minio
from millrace.data import Store


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_minio(tmp_path_factory.mktemp("minio")) as address:
        yield address


@pytest.fixture
def bucket(minio: str) -> Iterator[Bucket]:
    client = Minio(minio, ACCESS, SECRET, secure=False, region="us-east-1")
    name = f"t-{secrets.token_hex(5)}"
    client.make_bucket(name)
    client.set_bucket_versioning(name, VersioningConfig(ENABLED))
    made = Bucket(client, name, minio)
    yield made
    for opened in made.opened:
        opened.close()
    client._http.clear()


@pytest.fixture
def store(bucket: Bucket) -> Store:
    return bucket.store()


@pytest.fixture
def deadline() -> float:
    return time.monotonic() + 120


@pytest.fixture
def proxy(minio: str) -> Iterator[Proxy]:
    """A proxy to the session's MinIO. Requests are signed for its own address, which MinIO takes from the Host header."""
    handler = type("Handler", (Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    made = Proxy(f"127.0.0.1:{server.server_address[1]}", minio)
    handler.proxy = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)
