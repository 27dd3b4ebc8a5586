"""Requests and answers of a service, over HTTP."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from integration.serve.conftest import Start, soon

ECHO = """
def shown(value):
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if hasattr(value, "data"):
        return {"name": value.name, "type": value.content_type, "data": value.data.hex()}
    if isinstance(value, dict):
        return {key: shown(each) for key, each in value.items()}
    return value

{prefix}def handle(body, context):
    return {{"got": shown(body), "type": type(body).__name__}}
"""
MULTIPART = (
    b'--X\r\nContent-Disposition: form-data; name="f"; filename="a.bin"\r\nContent-Type: image/png\r\n\r\n\x00\r\n--X--\r\n'
)


def source(prefix: str = "") -> str:
    return ECHO.replace("{prefix}", prefix).replace("{{", "{").replace("}}", "}")


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize(
    ("content_type", "body", "got", "kind"),
    [
        ("application/json", b'{"a": [1, null]}', {"a": [1, None]}, "dict"),
        ("application/json", b"[1]", [1], "list"),
        ("text/plain", "ä".encode(), "ä", "str"),
        ("application/octet-stream", b"\x00\xff", {"bytes": "00ff"}, "bytes"),
        ("application/x-www-form-urlencoded", b"a=1&a=2", {"a": ["1", "2"]}, "dict"),
        ("multipart/form-data; boundary=X", MULTIPART, {"f": {"name": "a.bin", "type": "image/png", "data": "00"}}, "dict"),
        ("", b"", None, "NoneType"),
    ],
)
def test_the_entity_is_what_its_content_type_says(
    serve: Start, prefix: str, content_type: str, body: bytes, got: Any, kind: str
) -> None:
    with serve(source(prefix)).client() as client:
        answer = client.post("/", content=body, headers={"content-type": content_type} if content_type else {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == {"got": got, "type": kind}


CONTEXT = """
def load(path):
    return {"loaded": path}

def handle(body, context):
    return {
        "method": context.method, "path": context.path, "query": context.query, "headers": context.headers,
        "id": context.request_id, "event": context.event, "state": context.state, "service": context.service._asdict(),
    }
"""


def test_the_context_tells_of_the_request_and_the_service(serve: Start) -> None:
    service = serve(CONTEXT, init="main:load", parameters={"path": "m.bin"})
    headers = {
        "Authorization": "Bearer secret", "X-Millrace-User": "root", "X-Request-Id": "me-1", "X-Two": "a",
        "ce-specversion": "1.0", "ce-id": "7", "ce-source": "/s", "ce-type": "t",
    }  # fmt: skip
    with service.client() as client:
        answer = client.put("/a%20b/c?x=1&x=2&y=", content=b"{}", headers={**headers, "content-type": "application/json"})
        found = answer.json()
    assert (found["method"], found["path"], found["query"]) == ("PUT", "/a b/c", {"x": ["1", "2"], "y": ""})
    assert found["id"] == "me-1" == answer.headers["x-request-id"]
    assert found["state"] == {"loaded": "m.bin"}
    assert found["event"]["type"] == "t"
    assert found["service"]["deployment"] == "svc"
    assert found["service"]["deployment_id"] == "uid-1"
    assert found["headers"]["x-two"] == "a"
    assert "secret" not in answer.text
    assert "root" not in answer.text


def test_an_unfit_request_id_is_replaced(serve: Start) -> None:
    with serve(CONTEXT, init="main:load", parameters={"path": "m.bin"}).client() as client:
        for given in ("", "a b", "x" * 129, "a\tb"):
            found = client.get("/", headers={"X-Request-Id": given}).headers["x-request-id"]
            assert found != given
            assert found


ANSWERS = """
import asyncio, sys, time

class Row:
    pass

def handle(body, context):
    if body == "raise":
        raise ValueError("the secret of the database is hunter2")
    if body == "exit":
        sys.exit(3)
    if body == "stop":
        raise StopIteration
    if body == "unanswerable":
        return Row()
    if body == "error":
        raise context.error(409, "no such customer")
    if body == "created":
        return context.response({"id": 7}, status=201, headers={"Location": "/7"})
    if body == "html":
        return context.response("<p>", content_type="text/html")
    if body == "nothing":
        return None
    return body
"""


@pytest.mark.parametrize(
    ("body", "status", "content_type", "content"),
    [
        ("created", 201, "application/json", b'{"id":7}'),
        ("html", 200, "text/html", b"<p>"),
        ("nothing", 204, None, b""),
        ("text", 200, "application/json", b'"text"'),
    ],
)
def test_what_the_handler_returns_is_the_answer(
    serve: Start, body: str, status: int, content_type: str | None, content: bytes
) -> None:
    with serve(ANSWERS).client() as client:
        answer = client.post("/", json=body)
    assert (answer.status_code, answer.headers.get("content-type"), answer.content) == (status, content_type, content)
    assert answer.headers.get("location") == ("/7" if body == "created" else None)


@pytest.mark.parametrize("body", ["raise", "exit", "stop", "unanswerable"])
def test_a_fault_of_the_handler_is_500_with_an_id_that_the_log_has(serve: Start, body: str) -> None:
    service = serve(ANSWERS)
    with service.client() as client:
        answer = client.post("/", json=body)
        problem = answer.json()
        assert client.post("/", json="text").status_code == 200, "the service goes on"
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert (problem["status"], problem["title"]) == (500, "Internal Server Error")
    assert "hunter2" not in answer.text
    soon(lambda: any(f"request {problem['requestId']} failed" in line for line in service.log))
    errors = [
        line for line in httpx.get(f"{service.operations}/metrics").text.splitlines() if "handler_errors_total " in line
    ]
    assert float(errors[-1].split()[-1]) >= 1


def test_an_error_that_the_handler_means_is_told(serve: Start) -> None:
    with serve(ANSWERS).client() as client:
        answer = client.post("/", json="error")
    assert (answer.status_code, answer.json()["detail"]) == (409, "no such customer")


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "application/json"}, b"{", 400),
        ({"content-type": "text/plain; charset=klingon"}, b"x", 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, b"x", 415),
    ],
)
def test_a_bad_entity_is_the_callers_fault(serve: Start, headers: dict[str, str], content: bytes, status: int) -> None:
    with serve(ANSWERS).client() as client:
        answer = client.post("/", content=content, headers=headers)
        assert client.post("/", json="text").status_code == 200
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


def test_methods_that_are_not_answered_are_named(serve: Start) -> None:
    with serve(ANSWERS).client() as client:
        answer = client.request("TRACE", "/")
        assert client.head("/").content == b""
    assert answer.status_code == 405
    assert "POST" in answer.headers["allow"]


def test_the_description_is_served(serve: Start) -> None:
    with serve(ANSWERS).client() as client:
        assert client.get("/openapi.json").json()["paths"]["/"]["post"]["operationId"] == "handle"


STREAMS = """
import asyncio, time
closed = []

def chunks(body):
    try:
        for n in range(body["n"]):
            yield body["of"] if body["of"] != "dict" else {"n": n}
            if body.get("fail") == n:
                raise ValueError("in the midst")
            time.sleep(body.get("pause", 0))
    finally:
        closed.append(1)

async def achunks(body):
    try:
        for n in range(body["n"]):
            yield body["of"] if body["of"] != "dict" else {"n": n}
            if body.get("fail") == n:
                raise ValueError("in the midst")
            await asyncio.sleep(body.get("pause", 0))
    finally:
        closed.append(1)

def handle(body, context):
    if body == "closed":
        return len(closed)
    if body.get("sse"):
        return context.response(achunks(body), content_type="text/event-stream")
    return achunks(body) if body.get("async") else chunks(body)
"""


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize(
    ("of", "content_type", "content"),
    [("ä", "text/plain; charset=utf-8", "äää"), ("dict", "application/x-ndjson", '{"n":0}\n{"n":1}\n{"n":2}\n')],
)
def test_a_generator_is_a_stream(serve: Start, kind: bool, of: str, content_type: str, content: str) -> None:
    with serve(STREAMS).client() as client:
        answer = client.post("/", json={"n": 3, "of": of, "async": kind})
        assert client.post("/", json={"n": 0, "of": of, "async": kind}).text == ""
    assert (answer.text, answer.headers["content-type"]) == (content, content_type)
    assert answer.headers["transfer-encoding"] == "chunked"


def test_items_come_as_they_are_made(serve: Start) -> None:
    with (
        serve(STREAMS).client() as client,
        client.stream("POST", "/", json={"n": 2, "of": "data: x\n\n", "pause": 60, "sse": True}) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        assert next(answer.iter_text()) == "data: x\n\n"


@pytest.mark.parametrize("kind", [True, False])
def test_an_error_in_the_midst_breaks_the_connection(serve: Start, kind: bool) -> None:
    with serve(STREAMS).client() as client, pytest.raises(httpx.RemoteProtocolError):
        client.post("/", json={"n": 3, "of": "x", "async": kind, "fail": 1})


@pytest.mark.parametrize("kind", [True, False])
def test_a_client_that_leaves_ends_the_generator(serve: Start, kind: bool) -> None:
    service = serve(STREAMS)
    with service.client() as client:
        before = client.post("/", json="closed").json()
        with client.stream("POST", "/", json={"n": 1000, "of": "x", "async": kind, "pause": 0.05}) as answer:
            assert next(answer.iter_text())
        soon(lambda: client.post("/", json="closed").json() > before)
        assert httpx.get(f"{service.operations}/load").json()["inFlight"] == 0


LIMITS = """
import threading, time
lock, now, most = threading.Lock(), 0, 0
go = threading.Event()

def handle(body):
    global now, most
    if body == "most":
        return most
    with lock:
        now += 1
        most = max(most, now)
    if body == "wait":
        go.wait(60)
    elif body == "go":
        go.set()
    else:
        time.sleep(0.02)
    with lock:
        now -= 1
    return body
"""


def test_no_more_calls_than_the_limit_go_on(serve: Start) -> None:
    service = serve(LIMITS, concurrencyLimit=2)
    with service.client() as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: client.post("/", json=n).json(), range(40)))
        assert answers == list(range(40))
        assert client.post("/", json="most").json() == 2


def test_beyond_the_queue_it_is_503_with_when_to_come_again(launch: Start) -> None:
    service = launch(LIMITS, concurrencyLimit=2).ready()
    load = f"{service.operations}/load"
    with service.client(limits=httpx.Limits(max_connections=100)) as client, ThreadPoolExecutor(40) as pool:
        held = [pool.submit(client.post, "/", json="wait")]
        soon(lambda: httpx.get(load).json()["inFlight"] == 1)
        held += [pool.submit(client.post, "/", json="wait")]
        soon(lambda: httpx.get(load).json()["inFlight"] == 2)
        held += [pool.submit(client.post, "/", json="wait") for _ in range(20)]
        soon(lambda: httpx.get(load).json()["waiting"] == 20)
        refused = client.post("/", json="wait")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.headers["content-type"] == "application/problem+json"
        service.stop(9)
        assert service.wait() == -9
        assert all(isinstance(each.exception(30), httpx.HTTPError) for each in held)


def test_who_waits_and_leaves_frees_the_place(launch: Start) -> None:
    service = launch(LIMITS, concurrencyLimit=1).ready()
    load = f"{service.operations}/load"
    with service.client() as client, ThreadPoolExecutor(2) as pool:
        held = pool.submit(client.post, "/", json="wait")
        soon(lambda: httpx.get(load).json()["inFlight"] == 1)
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(service.url, json=1, timeout=0.5)
        soon(lambda: httpx.get(load).json()["waiting"] == 0)
        assert not held.done()
        service.stop(9)
        service.wait()
        assert isinstance(held.exception(30), httpx.HTTPError)


SLOW = """
import asyncio, time

{prefix}def handle(body):
    {wait}(body)
    return "done"
"""


@pytest.mark.parametrize(("prefix", "wait"), [("", "time.sleep"), ("async ", "await asyncio.sleep")])
def test_a_late_handler_is_504_and_a_thread_keeps_its_place(serve: Start, prefix: str, wait: str) -> None:
    service = serve(SLOW.format(prefix=prefix, wait=wait), timeout=0.5, concurrencyLimit=1)
    load = f"{service.operations}/load"
    with service.client() as client:
        assert client.post("/", json=0).json() == "done"
        answer = client.post("/", json=3)
        assert (answer.status_code, answer.json()["detail"]) == (504, "the handler has not answered within 0.5 s")
        assert httpx.get(load).json()["inFlight"] == (1 if not prefix else 0)
        soon(lambda: httpx.get(load).json()["inFlight"] == 0)
        assert client.post("/", json=0).status_code == 200


BLOCKING = """
import time

async def handle(body):
    time.sleep(body)
    return "done"
"""


def test_whoever_asks_for_load_is_answered_while_user_code_blocks_the_loop(serve: Start) -> None:
    service = serve(BLOCKING)
    with service.client() as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.post, "/", json=3)
        soon(lambda: httpx.get(f"{service.operations}/load").json()["inFlight"] == 1)
        began = time.monotonic()
        assert httpx.get(f"{service.operations}/ready").status_code == 200
        assert not call.done(), time.monotonic() - began
        assert call.result().json() == "done"


def test_many_at_once_are_all_answered_with_their_own(serve: Start) -> None:
    for prefix in ("", "async "):
        service, seen = serve(source(prefix)), []

        def work(number: int, service: Any = service, seen: list[Any] = seen) -> None:
            with service.client() as client:
                for each in range(50):
                    body = {"n": [number, each]}
                    seen.append(
                        client.post("/", content=json.dumps(body), headers={"content-type": "application/json"}).json()[
                            "got"
                        ]
                        == body
                    )

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert seen == [True] * 800
