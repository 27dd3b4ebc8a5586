"""Reads a request's body, within limits of size and memory; those of time are the connection's (wire.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from millrace.serve.problems import CLOSE, Problem

BODY_BYTES = 32 * 1024 * 1024  # of one request
ALL_BYTES = 4 * BODY_BYTES  # of all that have not come whole yet
DISCARDED = 64 * 1024  # what is read on and thrown away after a refusal, so that the client sees it

_partial = 0  # bytes of bodies that have not come whole yet


def stays_unread(headers: dict[bytes, bytes]) -> bool:
    """Whether the body may be too much to be thrown away, so that the connection ends with the refusal."""
    return b"transfer-encoding" in headers or int(headers.get(b"content-length", b"0")) > DISCARDED


async def read_body(headers: dict[bytes, bytes], receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> bytes | None:
    """The body; None where the client has gone.

    headers: by lower-case name. Raises Problem: 413, 415 for one that is compressed, 503 where too many come at once.
    """
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "content-encoding is not supported: send the body as it is", (b"accept-encoding", b"identity"))
    if int(headers.get(b"content-length", b"0")) > BODY_BYTES:
        raise _too_large()
    message = await receive()
    if message["type"] != "http.request":
        return None
    if not message.get("more_body"):
        body: bytes = message["body"]
        if len(body) > BODY_BYTES:
            raise _too_large()
        return body
    return await _rest(message["body"], receive)


async def _rest(first: bytes, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> bytes | None:
    global _partial  # noqa: PLW0603 - of the process, as its memory is
    pieces, size = [first], len(first)
    _partial += size
    try:
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            pieces.append(message["body"])
            size += len(message["body"])
            _partial += len(message["body"])
            if size > BODY_BYTES:
                raise _too_large()
            if _partial > ALL_BYTES:
                raise Problem(503, "too many large requests come at once: try again", (b"retry-after", b"1"), CLOSE)
            if not message.get("more_body"):
                return b"".join(pieces)
    finally:
        _partial -= size


def _too_large() -> Problem:
    return Problem(413, f"the body is longer than {BODY_BYTES} bytes", CLOSE)
