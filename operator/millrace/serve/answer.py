"""What the handler returned, as a response. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from millrace.serve.problems import Headers

JSON, TEXT, BYTES, LINES = (
    b"application/json",
    b"text/plain; charset=utf-8",
    b"application/octet-stream",
    b"application/x-ndjson",
)
OURS = frozenset(  # the server's, and those that end at the next hop
    (b"connection", b"content-length", b"date", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade")
)
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Unanswerable(Exception):
    """The handler returned what is no response."""


class Response(NamedTuple):
    """A value with a status, headers and a content type of its own; made by `context.response`."""

    value: Any
    status: int
    headers: dict[str, str]
    content_type: str | None


class Answer:
    """One of `body` and `stream` counts: the bytes, or the iterator whose items are encoded one by one."""

    __slots__ = ("body", "content_type", "headers", "status", "stream")

    def __init__(
        self, status: int, content_type: bytes, body: bytes, headers: Headers | None = None, stream: Any = None
    ) -> None:
        self.status = status
        self.content_type = content_type
        self.body = body
        self.headers = headers or []
        self.stream = stream


def answer(value: Any) -> Answer:
    """The response to a value. Raises Unanswerable."""
    kind = type(value)
    if kind is dict or kind is list:
        return Answer(200, JSON, to_json(value))
    if value is None:
        return Answer(204, b"", b"")
    if kind is Response:
        return _response(value)
    if is_stream(value):
        return Answer(200, b"", b"", stream=value)
    body, content_type = encode(value)
    return Answer(200, content_type, body)


def is_stream(value: Any) -> bool:
    """Whether it is handed on item by item: a generator of either kind, a file."""
    return hasattr(value, "__anext__") or hasattr(value, "__next__")


def encode(value: Any) -> tuple[bytes, bytes]:
    """Bytes and content type: bytes as they are, all else as JSON. Raises Unanswerable."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), BYTES
    return to_json(value), JSON


def item(value: Any) -> tuple[bytes, bytes]:
    """One item of a stream: bytes and text as they are, all else as a line of JSON. Raises Unanswerable."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), TEXT
    body, content_type = encode(value)
    return (body + b"\n", LINES) if content_type is JSON else (body, content_type)


def _response(response: Response) -> Answer:
    value, status, given, content_type = response
    if type(status) is not int or not 200 <= status <= 599:
        raise Unanswerable(f"status {status!r} is none of a response")
    headers = [_header(name, text) for name, text in given.items()]
    named = _header("content-type", content_type)[1] if content_type else b""
    if value is None:
        return Answer(status, named, b"", headers)
    if is_stream(value):
        return Answer(status, named, b"", headers, value)
    if isinstance(value, str) and content_type and not content_type.lower().partition(";")[0].strip().endswith("json"):
        return Answer(status, named, value.encode("utf-8", "replace"), headers)
    body, own = encode(value)
    return Answer(status, named or own, body, headers)


def _header(name: str, value: Any) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name) or name.lower().encode() in OURS:
        raise Unanswerable(f"a response cannot have the header {name!r}")
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        raise Unanswerable(f"the header {name} of the response is no line of text")
    return name.lower().encode(), value.encode("latin-1")


def to_json(value: Any) -> bytes:
    """JSON's bytes. Raises Unanswerable."""
    try:
        return _ENCODER.encode(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unanswerable(f"what the handler returned is no JSON: {error}") from error


def _plain(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # pydantic's
        return value.model_dump(mode="json")
    if hasattr(type(value), "__dataclass_fields__"):
        from dataclasses import asdict

        return asdict(value)
    if type(value).__module__ == "numpy":  # its arrays, and numbers that are none of Python's
        return value.tolist()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} is neither JSON, bytes nor a response")


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)
