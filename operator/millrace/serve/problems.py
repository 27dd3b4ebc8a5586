"""Errors for callers: problem+json (RFC 9457) with the request's id. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]
JSON = b"application/problem+json"
CLOSE = (b"connection", b"close")


class Problem(Exception):
    """Why a request has no answer of the handler. `detail` is for the caller: never what an exception of user code says."""

    def __init__(self, status: int, detail: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers


def render(status: int, detail: str, request_id: str) -> bytes:
    """The body."""
    document = {"status": status, "title": title(status), "detail": detail, "requestId": request_id}
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "replace")


def title(status: int) -> str:
    """The name of a status; that of its class for one that has none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def headers(request_id: str, more: Iterable[tuple[bytes, bytes]] = ()) -> Headers:
    """Those of a problem, without its length."""
    return [(b"content-type", JSON), (b"x-request-id", request_id.encode()), *more]
