"""stage with inputs at web addresses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.inpod.support import Pod
from support.https_server import Web, file, https_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with https_server(tmp_path_factory.mktemp("web")) as web:
        web.answers["/rows.csv"] = file(b"1,2\n", breaks=1, after=2)
        yield web


def prepare(pod: Pod, web: Web, *, allow: list[str], **item: Any) -> None:
    place = {"type": "uri_file", "path": "/millrace/in", "key": "rows.csv", "stage": True}
    pod.plan["inputs"] = [{"name": "rows", "uri": web.url("/rows.csv"), **place, **item}]
    pod.plan["httpsInputs"] = {"allow": allow, "deny": [], "maxBytes": 1000}
    pod.plan["index"] = {"url": None, "ca": "/millrace/ca/index/ca.crt"}
    authority = pod.path("/millrace/ca/index/ca.crt")
    authority.parent.mkdir(parents=True)
    authority.write_bytes(Path(web.authority).read_bytes())


def test_a_file_is_staged_and_told(pod: Pod, server: Web) -> None:
    prepare(pod, server, allow=["127.0.0.1"], sha256=hashlib.sha256(b"1,2\n").hexdigest())
    done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    assert pod.text("/millrace/in/rows.csv") == "1,2\n"
    [entry] = done.message["inputs"]
    assert (entry["bytes"], entry["files"], entry["identityUsed"]) == (4, 1, "Anonymous")
    assert entry["sha256"] == hashlib.sha256(b"1,2\n").hexdigest()


def test_an_address_inside_fails_stage_before_anything_is_sent(pod: Pod, server: Web) -> None:
    server.requests.clear()
    prepare(pod, server, allow=[])
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"], done.message["input"]) == (248, "AddressRefused", "rows")
    assert "127.0.0.1 is a loopback address" in done.message["message"]
    assert server.requests == []


def test_the_api_server_is_refused_wherever_it_is(pod: Pod, server: Web) -> None:
    """Some clusters have their Services at addresses that are not private."""
    prepare(pod, server, allow=[], uri="https://34.118.224.1/api")
    done = pod.begin("stage", KUBERNETES_SERVICE_HOST="34.118.224.1").wait()
    assert (done.code, done.message["reason"]) == (248, "AddressRefused")
    assert "34.118.224.1 is an address that this installation refuses" in done.message["message"]
