"""Object stores of the tests' own, on loopback, in temporary folders; and a proxy in front of them that fails on purpose."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from integration.data.servers import ACCESS, SECRET, Bucket, Handler, Proxy, Server, running_minio
from integration.data.witnesses import AnyBucket, Container, GoogleBucket, azure_client, google_client
from millrace.data import Store, open_store
from support.emulators import running_azurite, running_fake_gcs
from support.identities import Authority, running_authority


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_minio(tmp_path_factory.mktemp("minio")) as address:
        yield address


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(host:port, its log)"""
    folder = tmp_path_factory.mktemp("azurite")
    with running_azurite(folder) as address:
        yield address, folder / "log"


@pytest.fixture(scope="session")
def fake_gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(host:port, its log)"""
    folder = tmp_path_factory.mktemp("gcs")
    with running_fake_gcs(folder) as address:
        yield address, folder / "log"


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    with running_authority() as made:
        yield made


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Iterator[AnyBucket]:
    """A new bucket of MinIO; `@ON_EACH` has the test run on each kind of object store."""
    made: AnyBucket = request.getfixturevalue(f"{getattr(request, 'param', 's3')}_bucket")
    yield made
    for opened in made.opened:
        opened.close()


@pytest.fixture
def s3_bucket(minio: str) -> Iterator[Bucket]:
    client = Minio(minio, ACCESS, SECRET, secure=False, region="us-east-1")
    name = f"t-{secrets.token_hex(5)}"
    client.make_bucket(name)
    client.set_bucket_versioning(name, VersioningConfig(ENABLED))
    yield Bucket(client, name, minio)
    client._http.clear()


@pytest.fixture
def azure_bucket(azurite: tuple[str, Path]) -> Iterator[Container]:
    with azure_client(azurite[0]) as client:
        made = client.create_container(f"t-{secrets.token_hex(5)}")
        yield Container(made, made.container_name, *azurite)


@pytest.fixture
def gcs_bucket(fake_gcs: tuple[str, Path], authority: Authority) -> Iterator[GoogleBucket]:
    client = google_client(fake_gcs[0])
    found = client.create_bucket(f"t-{secrets.token_hex(5)}")
    yield GoogleBucket(client, found.name, *fake_gcs, authority.key_file)
    client.close()


@pytest.fixture
def store(bucket: AnyBucket) -> Store:
    return bucket.store()


@pytest.fixture(params=["s3", "azure", "gcs", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, str]]:
    """A store of each kind, with a prefix, and its kind."""
    if request.param == "folder":
        yield open_store({"name": "folder", "folder": str(tmp_path / "store")}, None), "folder"
        return
    bucket: AnyBucket = request.getfixturevalue(f"{request.param}_bucket")
    store = bucket.store(prefix="team")
    yield store, request.param
    store.close()


@pytest.fixture
def deadline() -> float:
    return time.monotonic() + 120


@pytest.fixture
def proxy(bucket: AnyBucket) -> Iterator[Proxy]:
    """A proxy to the bucket's server."""
    handler = type("Handler", (Handler,), {})
    server = Server(("127.0.0.1", 0), handler)
    made = Proxy(f"127.0.0.1:{server.server_address[1]}", bucket.address, signs_host=bucket.signs_host)
    handler.proxy = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)
