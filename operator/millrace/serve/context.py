"""What a handler may know of a request besides its entity, and how it says more than a value."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from millrace.serve.answer import Response
from millrace.serve.entity import gather
from millrace.serve.problems import Problem

HIDDEN = (b"authorization", b"proxy-authorization")  # a caller's token is not for user code
HIDDEN_PREFIX = b"x-millrace-"  # what the gateway says of a caller; from anybody else it is a claim


class Service(NamedTuple):
    """Which service this is."""

    namespace: str = ""
    deployment: str = ""
    deployment_id: str = ""
    revision: str = ""
    function: str = ""
    function_revision: str = ""


class HTTPError(Problem):
    """An answer that the handler raises: `raise context.error(404, "no such customer")`."""


class Context:
    """One request. The handler gets it as its second argument."""

    __slots__ = ("_scope", "event", "request_id", "service", "state")

    def __init__(self, scope: Any, request_id: str, event: dict[str, Any] | None, service: Service, state: Any) -> None:
        self._scope = scope
        self.request_id = request_id
        self.event = event  # attributes of the CloudEvent whose data the entity is, or None
        self.service = service
        self.state = state  # what init returned

    @property
    def method(self) -> str:
        """GET, POST and so on."""
        return str(self._scope["method"])

    @property
    def path(self) -> str:
        """The decoded path."""
        return str(self._scope["path"])

    @property
    def query(self) -> dict[str, Any]:
        """The query's parameters; the values of a name that comes more than once are a list."""
        pairs = parse_qsl(self._scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return gather(pairs)

    @property
    def headers(self) -> dict[str, str]:
        """By lower-case name, without credentials; the values of a name that comes more than once are joined."""
        found: dict[str, str] = {}
        for name, value in self._scope["headers"]:
            if name not in HIDDEN and not name.startswith(HIDDEN_PREFIX):
                key, text = name.decode("latin-1"), value.decode("latin-1")
                found[key] = f"{found[key]}, {text}" if key in found else text
        return found

    @property
    def logger(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that names the request in each record's `request_id`."""
        return logging.LoggerAdapter(logging.getLogger("millrace.handler"), {"request_id": self.request_id})

    def response(
        self, value: Any = None, status: int = 200, headers: dict[str, str] | None = None, content_type: str | None = None
    ) -> Response:
        """A value with a status, headers and a content type of its own."""
        return Response(value, status, headers or {}, content_type)

    def error(self, status: int, detail: str) -> HTTPError:
        """To be raised: the caller gets a problem with that status (400 to 599) and detail."""
        if not 400 <= status <= 599:
            raise ValueError(f"an error has a status from 400 to 599, not {status}")
        return HTTPError(status, detail)
