"""Probing a store: every way in which it cannot be used has its own reason."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from minio.error import S3Error

from integration.data.servers import ACCESS, KEYS, SECRET, Bucket, Proxy, running_minio
from millrace.data import Credentials, DataError, open_store, put_file, stage_input


def reason(entry: dict[str, Any], keys: Credentials | None = KEYS, seconds: float = 5) -> str:
    opened = open_store(entry, keys)
    try:
        opened.probe(seconds=seconds)
    except DataError as error:
        assert SECRET not in str(error)
        assert ACCESS not in str(error)
        return error.reason
    finally:
        opened.close()
    return "ok"


def test_reasons(bucket: Bucket) -> None:
    entry = bucket.entry()
    assert reason(entry) == "ok"
    assert reason(bucket.entry(prefix="some/where")) == "ok"
    assert reason({**entry, "s3": {**entry["s3"], "bucket": "no-such-bucket"}}) == "BucketNotFound"
    assert reason(entry, Credentials(ACCESS, "wrong")) == "AccessDenied"
    assert reason(entry, Credentials("unknown", SECRET)) == "AccessDenied"
    assert reason({**entry, "credentials": False}, None) == "AccessDenied"
    assert reason({**entry, "s3": {**entry["s3"], "endpoint": "http://127.0.0.1:9"}}) == "Unreachable"
    assert reason({**entry, "s3": {**entry["s3"], "endpoint": "http://store.invalid"}}) == "Unreachable"


def test_answers_of_other_servers(bucket: Bucket, proxy: Proxy) -> None:
    entry = bucket.entry(proxy.address)
    for status, body, expected in (
        (200, b"<html>a login page", "BadResponse"),
        (200, b"<html></html>", "BadResponse"),
        (503, b"", "Throttled"),
        (500, b"", "ServerError"),
        (301, b"<Error><Code>PermanentRedirect</Code></Error>", "WrongRegion"),
    ):
        proxy.rules.clear()
        proxy.on("GET", "list-type", "answer", status=status, body=body, times=99)
        assert reason(entry) == expected


def test_a_server_that_never_answers(bucket: Bucket) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        entry = bucket.entry(f"127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        assert reason(entry, seconds=1) == "Unreachable"
        assert time.monotonic() - begun < 5


def test_signed_addresses_are_not_logged(bucket: Bucket, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert reason(bucket.entry()) == "ok"
    assert "X-Amz-Signature" not in caplog.text


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A MinIO that speaks https with a certificate of a private authority: (address, the authority's file)."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    (folder / "certs").mkdir()
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=Test authority",
            "-keyout", "ca.key", "-out", "ca.crt", "-addext", "basicConstraints=critical,CA:TRUE",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=minio", "-keyout", "certs/private.key", "-out", "s.csr")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "s.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "certs/public.crt")  # fmt: skip
    with running_minio(folder, "--certs-dir", str(folder / "certs"), scheme="https") as address:
        yield address, folder / "ca.crt"


def test_a_private_authority(tls: tuple[str, Path], tmp_path: Path, deadline: float) -> None:
    """Both clients, obstore and httpx, trust it when it is named, and neither does when it is not."""
    address, authority = tls
    spec = {"endpoint": f"https://{address}", "bucket": "private", "region": "us-east-1", "prefix": "", "pathStyle": True}
    entry = {"name": "t", "s3": spec, "credentials": True, "ca": str(authority)}
    import urllib3

    pool = urllib3.PoolManager(ca_certs=str(authority))
    client = Minio(address, ACCESS, SECRET, secure=True, region="us-east-1", http_client=pool)
    for _ in range(50):
        try:
            client.make_bucket("private")
            break
        except S3Error:  # not ready yet
            time.sleep(0.2)
    assert reason(entry) == "ok"
    (tmp_path / "file").write_bytes(b"x" * 400_000)
    opened = open_store(entry, KEYS)
    put_file(opened, "a/small", authority, deadline=deadline)
    put_file(opened, "a/large", tmp_path / "file", deadline=deadline)
    item = {"type": "uri_folder", "key": "a", "path": str(tmp_path / "in")}
    assert stage_input(opened, item, deadline=deadline).files == 2
    opened.close()
    pool.clear()
    assert reason({**entry, "ca": None}) == "TlsUntrusted"
    blind = open_store({**entry, "ca": None}, KEYS)
    with pytest.raises(DataError) as caught:
        put_file(blind, "a/small", authority, deadline=deadline)
    assert caught.value.reason == "TlsUntrusted"
    blind.close()


def test_authorities_that_cannot_be_used(tmp_path: Path, bucket: Bucket) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    for path in (tmp_path / "ca.crt", tmp_path / "missing"):
        with pytest.raises(DataError) as caught:
            open_store({**bucket.entry(), "ca": str(path)}, KEYS)
        assert caught.value.reason == "InvalidStore"
