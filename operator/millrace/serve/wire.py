"""HTTP/1.1 on a connection: uvicorn's protocol on llhttp, which refuses what two servers may understand differently, and
what it leaves to others: limits of heads, of silence and of connections, and the few ambiguities that llhttp lets pass.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from millrace.serve.problems import CLOSE, headers, render, title

HEAD_BYTES = 32 * 1024
HEAD_FIELDS = 100
HEAD_SECONDS = 10.0  # from the first byte, or the connection, to the end of the head
SILENCE_SECONDS = 30.0  # between two pieces of a body
KEEP_ALIVE_SECONDS = 75  # longer than proxies keep theirs, so that it is they who close
CONNECTIONS = 10_000


class Refusal(Exception):
    """What came is no request that is answered; it ends the parsing."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head = self._message = False  # in the midst of a head, of a message
        self._head_bytes = self._data_bytes = self._hosts = 0
        self._status, self._detail = 400, ""
        self._silence: asyncio.TimerHandle | None = None
        self._over = False

    def connection_made(self, transport: Any) -> None:
        """Refuse the one that is too many; else wait for its first head."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            self._give_up()
        else:
            self._silence = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing comes any more."""
        self._over = True
        self._listen_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        if self._over:
            return
        self._data_bytes = len(data)
        head_before = self._head
        super().data_received(data)
        if self._over:
            return
        if self._head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._status, self._detail = 431, f"the head is longer than {HEAD_BYTES} bytes"
                self.send_400_response("")
            elif not head_before or self._silence is None:
                self._wait(HEAD_SECONDS)
        elif self._message:
            self._wait(SILENCE_SECONDS)
        elif self._silence is not None:
            self._listen_no_more()

    def _wait(self, seconds: float) -> None:
        self._listen_no_more()
        self._silence = self.loop.call_later(seconds, self._give_up)

    def _listen_no_more(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _give_up(self) -> None:
        self._over = True
        self.transport.abort()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head = self._message = True
        self._head_bytes = self._hosts = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field. Those after the body are not those that were looked at before it: they are dropped."""
        if self._head:
            self._hosts += name.lower() == b"host"
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Look at the head before anybody acts on it."""
        self._head = False
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            self._refuse(505, f"HTTP/{version} is not spoken here")
        if self._hosts != 1 and (version == "1.1" or self._hosts):
            self._refuse(400, "a request has one Host header")
        if self.parser.should_upgrade():
            self._refuse(400, "Upgrade and CONNECT are not supported")
        if len(self.headers) > HEAD_FIELDS:
            self._refuse(431, f"the head has more than {HEAD_FIELDS} fields")
        if self._data_bytes > HEAD_BYTES and len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > HEAD_BYTES:
            self._refuse(431, f"the head is longer than {HEAD_BYTES} bytes")
        codings = [value for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or [coding.lower() for coding in codings] != [b"chunked"]):
            self._refuse(400 if version == "1.0" else 501, "transfer-encoding is not only chunked")
        super().on_headers_complete()

    def _refuse(self, status: int, detail: str) -> None:
        self._status, self._detail = status, detail
        raise Refusal(detail)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        self._message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's, and says less
        """Say what is wrong and close. Where an answer is being sent, nothing can be said any more."""
        self._over = True
        self._listen_no_more()
        if self.transport.is_closing():
            return
        if self.cycle and not self.cycle.response_complete:
            self.transport.abort()
            return
        body = render(self._status, self._detail or "what came is no HTTP/1.1 request", "")
        fields = headers("", (CLOSE, (b"content-length", b"%d" % len(body))))
        head = [b"%s: %s\r\n" % field for field in fields if field[1]]
        status = f"HTTP/1.1 {self._status} {title(self._status)}\r\n".encode()
        self.transport.write(b"".join([status, *head, b"\r\n", body]))
        self.transport.close()
