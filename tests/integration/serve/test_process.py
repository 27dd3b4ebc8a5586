"""A service's process: its start, what it says when it cannot start, its end; who may call."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from integration.serve.conftest import Start, soon
from integration.serve.service import TOKEN, Service, entry

COUNTS = """
import os
import time

calls = []

{prefix}def load(path, factor=2):
    {wait}
    with open(os.environ["HOME"] + "/count", "a") as file:
        file.write("x")
    calls.append((path, factor))
    return factor

{prefix}def handle(body, context):
    return {{"calls": calls, "state": context.state, "file": open(os.environ["HOME"] + "/count").read()}}
"""


@pytest.mark.parametrize("prefix", ["", "async "])
def test_init_runs_once_before_the_service_is_ready(launch: Start, prefix: str) -> None:
    source = COUNTS.format(prefix=prefix, wait="time.sleep(1)")
    service = launch(source, init="main:load", parameters={"path": "m", "factor": 3}).ready()
    with service.client() as client, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: client.post("/", json=1).json(), range(20)))
    assert found == [{"calls": [["m", 3]], "state": 3, "file": "x"}] * 20


def test_nobody_listens_before_init_is_over(launch: Start) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = launch(COUNTS.format(prefix="", wait="time.sleep(3)"), init="main:load", parameters={"path": "m"}, port=port)
    refused = 0
    while not service.url:
        with socket.socket() as probe:
            refused += probe.connect_ex(("127.0.0.1", port)) != 0
        time.sleep(0.02)
        assert service.process.poll() is None, service.log
    assert refused > 20
    assert httpx.get(f"{service.operations}/ready").status_code == 200


@pytest.mark.parametrize(
    ("source", "plan", "code", "reason", "message"),
    [
        (
            "def load():\n    raise OSError('no model at /m')\ndef handle(b): ...",
            {"init": "main:load"},
            1,
            "InitFailed",
            "OSError: no model at /m",
        ),
        (
            "async def load():\n    raise OSError('no model at /m')\ndef handle(b): ...",
            {"init": "main:load"},
            1,
            "InitFailed",
            "OSError: no model at /m",
        ),
        ("import nothing_of_that_name\ndef handle(b): ...", {}, 1, "InitFailed", "No module named 'nothing_of_that_name'"),
        ("import sys\nsys.exit(0)", {}, 1, "InitFailed", "SystemExit: 0"),
        ("def handle(:", {}, 1, "InitFailed", "SyntaxError"),
        ("def other(b): ...", {}, 240, "HandlerNotFound", "handler handle is not there in module main: it has other"),
        ("def handle(b): ...", {"init": "main:load"}, 240, "HandlerNotFound", "handler load is not there"),
        ("def handle(b): ...", {"handler": "absent:handle"}, 240, "HandlerNotFound", "no module absent"),
        ("def handle(a, b, c): ...", {}, 241, "ParameterMismatch", "needs c too"),
        (
            "def load(path): ...\ndef handle(b): ...",
            {"init": "main:load", "parameters": {"paht": 1}},
            241,
            "ParameterMismatch",
            "main:load(path) was given paht; missing: path; unknown: paht",
        ),
        ("def handle(b): ...", {"concurrencyLimit": -1}, 249, "RuntimeError", "serve.concurrencyLimit is no whole number"),
    ],
)
def test_what_cannot_serve_ends_with_its_reason(
    launch: Start, source: str, plan: dict[str, Any], code: int, reason: str, message: str
) -> None:
    service = launch(source, **plan)
    assert service.wait() == code, service.log
    said = service.termination()
    assert (said["reason"], said["exitCode"]) == (reason, code)
    assert message in said["message"]


def test_the_log_of_a_failed_init_is_user_codes_traceback(launch: Start) -> None:
    service = launch("def load():\n    return 1 / 0\ndef handle(b): ...", init="main:load")
    service.wait()
    tail = service.termination()["logTail"]
    assert "line 2, in load" in tail
    assert tail.count("File ") == 1


def test_a_port_that_is_taken_ends_the_process(launch: Start) -> None:
    first = launch("def handle(b): ...").ready()
    second = launch("def handle(b): ...", port=first.port)
    assert second.wait() == 249
    assert "in use" in second.termination()["message"]


def test_sigterm_during_init_ends_it_at_once(launch: Start) -> None:
    service = launch(
        "import time\ndef load():\n    print('loading', flush=True)\n    time.sleep(60)\ndef handle(b): ...",
        init="main:load",
    )
    soon(lambda: "loading" in service.log)
    began = time.monotonic()
    service.stop()
    assert service.wait() == 244
    assert time.monotonic() - began < 5


ISOLATED = """
import click, h11, sys, uvicorn, httptools

def handle(body):
    return [click.MINE, h11.MINE, uvicorn.MINE, hasattr(httptools, "HttpRequestParser"), "millrace" in sys.modules, sys.path[0]]
"""


def test_user_code_finds_its_own_packages_not_ours(launch: Start) -> None:
    service = launch("")
    service.close()
    source = service.path("/millrace/source")
    for name in ("click", "h11", "uvicorn"):
        (source / f"{name}.py").write_text("MINE = True\n")
    (source / "main.py").write_text(ISOLATED)
    service = Service.again(service).ready()
    try:
        with service.client() as client:
            for _ in range(2):
                assert client.post("/", json=1).json() == [True, True, True, True, False, str(source)]
            assert client.post("/", files={"f": b"x"}).status_code == 200
    finally:
        service.close()


SLOW = """
import time

def handle(body):
    time.sleep(body)
    return "done"
"""


def test_what_goes_on_is_answered_after_sigterm_and_nothing_else_is_taken(launch: Start) -> None:
    service = launch(SLOW).ready()
    with service.client() as client, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(client.post, "/", json=2) for _ in range(4)]
        soon(lambda: httpx.get(f"{service.operations}/load").json()["inFlight"] == 4)
        service.stop()
        answers = [call.result() for call in calls]
    assert [(answer.json(), answer.headers["connection"]) for answer in answers] == [("done", "close")] * 4
    assert service.wait() == 0, service.log
    with pytest.raises(httpx.ConnectError):
        httpx.post(service.url, json=0)


def test_while_the_cluster_learns_of_it_a_draining_service_takes_requests(launch: Start) -> None:
    service = launch(SLOW, drain=2).ready()
    failed, answered, over = [], [], threading.Event()

    def call() -> None:
        while not over.is_set():
            try:
                answer = httpx.post(service.url, json=0.01)
                answered.append(answer.headers.get("connection"))
                assert answer.status_code == 200
            except httpx.HTTPError as error:
                failed.append(error)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for each in callers:
        each.start()
    soon(lambda: len(answered) > 20)
    service.stop()
    soon(lambda: httpx.get(f"{service.operations}/ready").status_code == 503)
    soon(lambda: "close" in answered)
    over.set()
    for each in callers:
        each.join()
    assert not failed
    assert service.wait() == 0


def test_what_takes_too_long_is_cut_off(launch: Start) -> None:
    service = launch(SLOW, stop=1).ready()
    with service.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.post, "/", json=60)
        soon(lambda: httpx.get(f"{service.operations}/load").json()["inFlight"] == 1)
        service.stop()
        assert service.wait() == 244
        assert call.result(10).status_code == 503
        assert "stopped before the handler had answered" in call.result().json()["detail"]
    assert any("1 requests were cut off after 1 s" in line for line in service.log)


def test_kept_connections_end_with_the_service(launch: Start) -> None:
    service = launch(SLOW).ready()
    with service.client() as client:
        assert client.post("/", json=0).status_code == 200
        service.stop()
        assert service.wait() == 0


def status(service: Service, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.post(service.url, json=1, headers=headers).status_code


@pytest.mark.parametrize("path", ["/", "/any/path", "/openapi.json", "/metrics", "/load", "/ready"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "OPTIONS", "TRACE"])
def test_each_route_of_the_public_port_needs_a_token(serve: Start, path: str, method: str) -> None:
    service = serve("def handle(b):\n    return 1\n", public=False)
    with service.client() as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dTpw"}):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
        answered = client.request(method, path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code
        assert answered == (405 if method == "TRACE" else 200)


def test_tokens_expire_are_revoked_and_added_while_the_service_runs(launch: Start) -> None:
    service = launch("def handle(b):\n    return 1\n", public=False).ready()
    assert [status(service, token) for token in (TOKEN, None, "wrong")] == [200, 401, 401]
    past, future = (datetime.now(UTC) + timedelta(seconds=s) for s in (-1, 3600))
    service.write_tokens(entry(TOKEN, "one", past.isoformat()), entry("two", "two", future.isoformat()))
    soon(lambda: status(service, TOKEN) == 401)
    assert status(service, "two") == 200
    soonest = datetime.now(UTC) + timedelta(seconds=3)
    service.write_tokens(entry("three", "three", soonest.isoformat()))
    soon(lambda: status(service, "three") == 200)
    assert status(service, "two") == 401
    soon(lambda: status(service, "three") == 401)
    service.path("/millrace/access/tokens.json").unlink()
    soon(lambda: status(service, "three") == 503)
    service.write_tokens(entry(TOKEN))
    soon(lambda: status(service, TOKEN) == 200)


def test_two_authorizations_are_none(serve: Start) -> None:
    service = serve("def handle(b):\n    return 1\n", public=False)
    for first, second in ((TOKEN, TOKEN), (TOKEN, "x"), ("x", TOKEN)):
        headers = [("Authorization", f"Bearer {first}"), ("Authorization", f"Bearer {second}")]
        assert httpx.post(service.url, headers=headers).status_code == 401
