"""A store behind https, whose certificate is signed by an authority that nobody but its users knows (row A3)."""

from __future__ import annotations

import re
import secrets
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import urllib3
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from support.authority import Authority
from support.cluster import Namespace, Object, condition, function, job_run, kubectl
from support.server import serve
from support.store import Bucket, data_store, secret
from support.waiting import wait_for

NAME = "vault"
ACCESS, SECRET = "vault-access", "vault-secret-canary"
COPY = """
import os, pathlib
def main(data):
    for path in pathlib.Path(data).iterdir():
        (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / path.name).write_bytes(path.read_bytes().upper())
"""
RUN = job_run(
    "copy-1",
    "copy",
    inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}, "stage": "Download"}],
    outputs=[{"name": "out", "dataStore": {"name": "store", "path": "res"}}],
)


def bundle(name: str, authority: Authority) -> Object:
    """A ConfigMap with an authority's certificate."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"ca.crt": authority.certificate}}


def install(namespace: Namespace, key: str, certificate: str) -> None:
    """A MinIO with that certificate."""
    image = kubectl("-n", "minio", "get", "deployment", "minio", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    environment = {"MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "HOME": "/tmp"}
    environment |= {"MINIO_BROWSER": "off", "MINIO_UPDATE": "off"}
    namespace.apply(secret(f"{NAME}-tls", **{"private.key": key, "public.crt": certificate}))
    serve(
        namespace,
        NAME,
        {"/data": {"emptyDir": {}}, "/tmp": {"emptyDir": {}}, "/certs": {"secret": {"secretName": f"{NAME}-tls"}}},
        port=9000,
        image=image,
        args=["server", "/data", "--address", ":9000", "--certs-dir", "/certs"],
        env=[{"name": name, "value": value} for name, value in environment.items()],
        readinessProbe={"httpGet": {"path": "/minio/health/ready", "port": 9000, "scheme": "HTTPS"}, "periodSeconds": 1},
    )


@contextmanager
def forwarded(namespace: Namespace) -> Iterator[int]:
    """A port of this machine that leads to the server."""
    command = ["kubectl", "-n", namespace.name, "port-forward", f"pod/{NAME}", ":9000", "--address=127.0.0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    try:
        found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found, "no port is forwarded"
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """The authority that has signed the server's certificate."""
    return Authority(tmp_path / "private").make()


@pytest.fixture
def private(namespace: Namespace, authority: Authority) -> Iterator[Bucket]:
    """A bucket on a MinIO of the namespace, and the namespace's Secret with its keys."""
    host = f"{NAME}.{namespace.name}"
    install(namespace, *authority.sign(host, f"{host}.svc", NAME, "127.0.0.1"))
    namespace.apply(secret("store", access_key=ACCESS, secret_key=SECRET))
    with forwarded(namespace) as port:
        trust = ssl.create_default_context(cadata=authority.certificate)
        http = urllib3.PoolManager(ssl_context=trust)
        bucket = Bucket(Minio(f"127.0.0.1:{port}", ACCESS, SECRET, http_client=http), f"t-{secrets.token_hex(5)}")
        bucket.client.make_bucket(bucket.name)
        bucket.client.set_bucket_versioning(bucket.name, VersioningConfig(ENABLED))
        bucket.put("in/a.txt", b"a")
        yield bucket
        http.clear()


def store_of(namespace: Namespace, bucket: Bucket, config_map: str | None) -> Object:
    """The DataStore, with the bundle in that ConfigMap."""
    made = data_store("store", bucket.name, endpoint=f"https://{NAME}.{namespace.name}:9000")
    if config_map:
        made["spec"]["caBundleRef"] = {"configMap": config_map}
    return made


def ready(namespace: Namespace, status: str, reason: str) -> Object:
    """The store's condition Ready, once it says so."""

    def look() -> Object | None:
        found = condition(namespace.get("dstore", "store"), "Ready")
        return found if found and (found["status"], found["reason"]) == (status, reason) else None

    return wait_for(f"the store is Ready={status} {reason}", look, seconds=45)


def test_a_private_authority_is_trusted_when_the_store_names_it_and_the_waiting_run_starts(
    namespace: Namespace, private: Bucket, authority: Authority
) -> None:
    namespace.apply(function("copy", COPY), store_of(namespace, private, None), RUN)
    message = ready(namespace, "False", "TlsUntrusted")["message"]
    assert "caBundleRef" in message
    assert SECRET not in message
    blocked = namespace.phase("copy-1", "Blocked")
    assert blocked["reason"] == "DataStoreNotReady", blocked
    assert namespace.pods("copy-1") == []
    namespace.apply(bundle("authority", authority), store_of(namespace, private, "authority"))
    ready(namespace, "True", "Reachable")
    status = namespace.finished("copy-1")
    assert status["phase"] == "Succeeded", status
    assert private.unzip("res/out.zip") == {"a.txt": b"A"}
    assert [version.is_delete_marker for version in private.versions("res/out.zip")] == [False]
    assert private.uploads("res/out.zip") == []
    assert status["inputs"][0]["identityUsed"] == "Store"
    assert "logs/copy-1/1/main.log" in private.names("logs/")


def test_another_authority_of_the_same_shape_is_not_enough(
    namespace: Namespace, private: Bucket, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "stranger").make()
    namespace.apply(bundle("stranger", stranger), bundle("authority", authority), store_of(namespace, private, "stranger"))
    assert "caBundleRef" in ready(namespace, "False", "TlsUntrusted")["message"]
    namespace.apply(store_of(namespace, private, "authority"))
    assert ready(namespace, "True", "Reachable")["observedGeneration"] == 2


def test_a_bundle_that_is_not_there_is_named_and_waited_for(
    namespace: Namespace, private: Bucket, authority: Authority
) -> None:
    namespace.apply(function("copy", COPY), store_of(namespace, private, "later"), RUN)

    def look() -> Object | None:
        found = condition(namespace.get("dstore", "store"), "Ready")
        return found if found and found["status"] == "False" and "later" in found["message"] else None

    wait_for("the store says which ConfigMap it misses", look, seconds=60)
    namespace.apply(bundle("later", authority))
    # The kubelet mounts volumes again with a back-off of up to two minutes.
    assert namespace.finished("copy-1", seconds=200)["phase"] == "Succeeded"
