"""Requirements come from the index once (row B11). The operator is one of this test, since the index is a value of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.inpod.index import wheel
from support.cluster import Namespace, function, job_run
from support.host_operator import host_operator
from support.server import serve
from support.store import Bucket, data_store, install
from support.waiting import wait_for

CODE = "import ready\ndef main():\n    print('ready', ready.VALUE)\n"
NAME, FILE = wheel("ready", "1.0", "VALUE = 41")


def install_index(namespace: Namespace) -> None:
    """A simple repository with one package, by Python's own server: it logs each request."""
    page = f'<a href="/files/{NAME}#sha256={hashlib.sha256(FILE).hexdigest()}">{NAME}</a>'
    items = [{"key": "page", "path": "simple/ready/index.html"}, {"key": "file", "path": f"files/{NAME}"}]
    content = {"page": base64.b64encode(page.encode()).decode(), "file": base64.b64encode(FILE).decode()}
    namespace.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "index"}, "binaryData": content})
    serve(
        namespace,
        "index",
        {"/srv": {"configMap": {"name": "index", "items": items}}},
        port=8080,
        served_at=80,
        command=["python3", "-u", "-m", "http.server", "8080", "--directory", "/srv"],
    )


@pytest.fixture
def index(namespace: Namespace, tmp_path: Path) -> Iterator[None]:
    """The operator with an index in the test's namespace."""
    install_index(namespace)
    with host_operator(tmp_path, indexUrl=f"http://index.{namespace.name}/simple/"):
        yield


def asked(namespace: Namespace) -> list[str]:
    """The requests that the index has answered."""
    lines = namespace.kubectl("logs", "index").splitlines()
    return [line for line in lines if "HTTP/1." in line]


def ran(namespace: Namespace, name: str) -> str:
    """What a run has printed, and that it was good."""
    status = namespace.finished(name)
    assert status["phase"] == "Succeeded", status
    (pod,) = namespace.pods(name)
    return namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")


def stage_log(namespace: Namespace, name: str) -> str:
    (pod,) = namespace.pods(name)
    return namespace.kubectl("logs", pod["metadata"]["name"], "-c", "stage")


def test_the_second_start_asks_the_index_for_nothing(namespace: Namespace, bucket: Bucket, index: None) -> None:
    install(namespace, bucket)
    wait_for("the store is ready", lambda: "True" in namespace.kubectl("get", "dstore", "store", "--no-headers"))
    namespace.apply(function("needs", CODE, requirements=["ready"]), job_run("needs-1", "needs"))
    assert ran(namespace, "needs-1") == "ready 41\n"
    first = asked(namespace)
    assert first
    namespace.apply(job_run("needs-2", "needs"))
    assert ran(namespace, "needs-2") == "ready 41\n"
    assert asked(namespace) == first
    lock = next(key for key in bucket.names(".millrace/requirements/") if key.endswith("lock.json"))
    assert [line.split()[0] for line in json.loads(bucket.get(lock))["lines"]] == ["ready==1.0"]
    # What is damaged in the store is told, and installed anew.
    (tree,) = bucket.names(".millrace/requirements/trees/")
    kept = bucket.get(tree)
    bucket.put(tree, kept[:40] + bytes([kept[40] ^ 1]) + kept[41:])
    namespace.apply(job_run("needs-3", "needs"))
    assert ran(namespace, "needs-3") == "ready 41\n"
    assert "damaged" in stage_log(namespace, "needs-3")
    assert len(asked(namespace)) > len(first)
    # Another revision with the same requirements has them too, and the index need not be there.
    namespace.kubectl("delete", "pod", "index")
    namespace.apply(
        function("needs", CODE.replace("'ready'", "'again'"), requirements=["ready"]), job_run("needs-4", "needs")
    )
    assert ran(namespace, "needs-4") == "again 41\n"


def test_a_default_store_that_is_not_ready_holds_up_no_run(namespace: Namespace, index: None) -> None:
    namespace.apply(data_store("store", "none", secret_name="nobody-has-made-this"))
    namespace.apply(function("needs", CODE, requirements=["ready"]), job_run("needs-1", "needs"))
    assert ran(namespace, "needs-1") == "ready 41\n"
    assert "no default store that is ready" in stage_log(namespace, "needs-1")


def test_a_secret_that_was_deleted_since_holds_up_no_run(namespace: Namespace, bucket: Bucket, index: None) -> None:
    install(namespace, bucket)
    wait_for("the store is ready", lambda: "True" in namespace.kubectl("get", "dstore", "store", "--no-headers"))
    namespace.delete("secret", "store")
    namespace.apply(function("needs", CODE, requirements=["ready"]), job_run("needs-1", "needs"))
    assert ran(namespace, "needs-1") == "ready 41\n"
    assert "its Secret has no access_key" in stage_log(namespace, "needs-1")
