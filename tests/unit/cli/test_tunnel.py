"""The way to a Service of the cluster: what is decided without it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from millrace.cli.tunnel import is_ready, origin_form, resolvable, service_of, target_port, used_by_clients


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://minio.minio:9000", ("minio", "minio", 9000)),
        ("http://minio.data.svc:9000", ("data", "minio", 9000)),
        ("https://minio.data.svc.cluster.local", ("data", "minio", 443)),
        ("http://minio.data.svc.cluster.local.", ("data", "minio", 80)),
        ("http://minio", ("mine", "minio", 80)),
        ("http://10.0.0.1:9000", None),
        ("https://s3.eu-west-1.amazonaws.com", None),
        ("https://example.org/", ("org", "example", 443)),  # asked only where the name does not resolve
    ],
)
def test_the_service_behind_an_endpoint(endpoint: str, expected: tuple[str, str, int] | None) -> None:
    assert service_of(endpoint, "mine") == expected


@pytest.mark.parametrize(
    ("target", "port", "expected"),
    [(9000, 80, 9000), ("s3", 80, 9000), (None, 80, 80), ("other", 80, None), (9000, 81, None)],
)
def test_the_pods_port(target: int | str | None, port: int, expected: int | None) -> None:
    entry: dict[str, Any] = {"port": 80} | ({"targetPort": target} if target is not None else {})
    pod = {"spec": {"containers": [{"name": "sidecar"}, {"ports": [{"name": "s3", "containerPort": 9000}]}]}}
    assert target_port({"spec": {"ports": [entry]}}, pod, port) == expected


def test_only_ready_pods_are_used() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert is_ready({"metadata": {}, "status": ready})
    assert not is_ready({"metadata": {"deletionTimestamp": "now"}, "status": ready})
    assert not is_ready({"metadata": {}})


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"GET http://minio.minio:9000/b/k?x=1 HTTP/1.1\r\n", b"GET /b/k?x=1 HTTP/1.1\r\n"),
        (b"GET http://minio.minio:9000 HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n"),
        (b"GET http://h/b/http://x HTTP/1.1\r\n", b"GET /b/http://x HTTP/1.1\r\n"),
        (b"GET /b/k HTTP/1.1\r\n", b"GET /b/k HTTP/1.1\r\n"),
    ],
)
def test_requests_reach_the_server_as_it_expects_them(head: bytes, expected: bytes) -> None:
    assert origin_form(head) == expected


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("https_proxy", "http://company:3128")
    monkeypatch.delenv("http_proxy", raising=False)
    before = dict(os.environ)
    with used_by_clients("http://127.0.0.1:1"):
        assert os.environ["http_proxy"] == os.environ["https_proxy"] == "http://127.0.0.1:1"
        assert "NO_PROXY" not in os.environ
    assert dict(os.environ) == before


def test_an_address_needs_no_name_server() -> None:
    assert resolvable("http://127.0.0.1:9000")
    assert not resolvable("http://no-such-host.invalid")
