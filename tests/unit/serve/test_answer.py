"""What a handler returns, as a response."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from millrace.serve.answer import Response, Unanswerable, answer, item

JSON = b"application/json"


@dataclasses.dataclass
class Point:
    x: int


class Model:
    """As pydantic's are."""

    def model_dump(self, mode: str) -> dict[str, Any]:
        return {"mode": mode}


def response(value: Any = None, status: int = 200, headers: Any = None, content_type: str | None = None) -> Response:
    return Response(value, status, headers or {}, content_type)


@pytest.mark.parametrize(
    ("value", "status", "content_type", "body"),
    [
        ({"a": "ä"}, 200, JSON, '{"a":"ä"}'.encode()),
        ([1, None, True], 200, JSON, b"[1,null,true]"),
        ((1, 2), 200, JSON, b"[1,2]"),
        ("text", 200, JSON, b'"text"'),
        (0, 200, JSON, b"0"),
        (False, 200, JSON, b"false"),
        (1.5, 200, JSON, b"1.5"),
        (None, 204, b"", b""),
        (b"\x00", 200, b"application/octet-stream", b"\x00"),
        (bytearray(b"x"), 200, b"application/octet-stream", b"x"),
        (Point(1), 200, JSON, b'{"x":1}'),
        ([Point(2)], 200, JSON, b'[{"x":2}]'),
        (Model(), 200, JSON, b'{"mode":"json"}'),
        (response({"a": 1}, 201), 201, JSON, b'{"a":1}'),
        (response("<p>", content_type="text/html"), 200, b"text/html", b"<p>"),
        (response("x", content_type="application/json"), 200, b"application/json", b'"x"'),
        (response("x", content_type="application/a+json; v=1"), 200, b"application/a+json; v=1", b'"x"'),
        (response("x"), 200, JSON, b'"x"'),
        (response(b"x", content_type="image/png"), 200, b"image/png", b"x"),
        (response(status=404), 404, b"", b""),
    ],
)
def test_a_value_is_json_unless_it_says_otherwise(value: Any, status: int, content_type: bytes, body: bytes) -> None:
    found = answer(value)
    assert (found.status, found.content_type, found.body, found.stream) == (status, content_type, body, None)


def test_headers_of_a_response_are_its_own() -> None:
    assert answer(response(1, headers={"X-Model": "v3"})).headers == [(b"x-model", b"v3")]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), "a builtins.object is neither JSON, bytes nor a response"),
        ({"a": {1, 2}}, "builtins.set"),
        (float("nan"), "no JSON"),
        ("\ud800", "no JSON"),
        (response(1, 99), "status 99"),
        (response(1, True), "status True"),
        (response(1, 600), "status 600"),
        (response(1, headers={"Content-Length": "5"}), "Content-Length"),
        (response(1, headers={"Transfer-Encoding": "chunked"}), "Transfer-Encoding"),
        (response(1, headers={"Connection": "x"}), "Connection"),
        (response(1, headers={"X": "a\r\nSet-Cookie: b"}), "header X"),
        (response(1, headers={"X:": "a"}), "'X:'"),
        (response(1, headers={"X": 5}), "header X"),
        (response(1, content_type="text/html\r\nX: y"), "content-type"),
    ],
)
def test_what_is_no_answer_says_why(value: Any, told: str) -> None:
    with pytest.raises(Unanswerable, match=told.replace("(", r"\(")):
        answer(value)


def test_a_value_that_holds_itself_is_no_answer() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Unanswerable):
        answer(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00", (b"\x00", b"application/octet-stream")),
        ("ä", ("ä".encode(), b"text/plain; charset=utf-8")),
        ({"a": 1}, (b'{"a":1}\n', b"application/x-ndjson")),
        (7, (b"7\n", b"application/x-ndjson")),
    ],
)
def test_items_of_a_stream(value: Any, expected: tuple[bytes, bytes]) -> None:
    assert item(value) == expected


def test_generators_are_streams() -> None:
    source = (n for n in range(3))
    assert answer(source).stream is source
    assert answer(response(source, 202, content_type="text/event-stream")).stream is source
