"""A web server behind a certificate of the tests' own authority, that does to its clients what servers do."""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from support.authority import Authority


class Request(BaseHTTPRequestHandler):
    """One request; an answer is a function of it."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        """Answers as the server was told to for that path."""
        self.server.web.requests.append((self.path, dict(self.headers)))
        answer = self.server.web.answers.get(self.path.partition("?")[0], status(404))
        with suppress(OSError):
            answer(self)
        self.close_connection = True

    def do_POST(self) -> None:
        """The same, after its body."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Not here."""

    def head(self, code: int, headers: dict[str, str]) -> None:
        """Status and headers."""
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


Answer = Callable[[Request], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    web: Web

    def handle_error(self, *_: object) -> None:
        """Clients that do not trust it, or go away."""


@dataclass
class Web:
    """The server, as its tests see it."""

    port: int
    authority: Path
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"


@contextmanager
def https_server(folder: Path, *names: str) -> Iterator[Web]:
    """Starts it at 127.0.0.1, with a certificate for that and those names."""
    authority = Authority(folder / "authority").make()
    authority.sign("127.0.0.1", *names)
    server = _Server(("127.0.0.1", 0), Request)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.folder / "server.crt", authority.folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    server.web = Web(server.server_address[1], authority.folder / "ca.crt")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def status(code: int, **headers: str) -> Answer:
    """An answer without a body."""
    return lambda request: request.head(
        code, {"Content-Length": "0", **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


def redirect(to: str, code: int = 302) -> Answer:
    return status(code, Location=to)


def file(data: bytes, *, breaks: int = 0, after: int = 0, ranges: bool = True, etag: bool = True) -> Answer:
    """A file. The first `breaks` answers end `after` so many of their bytes."""
    tag = f'"{hashlib.sha256(data).hexdigest()[:8]}"'
    left = [breaks]

    def answer(request: Request) -> None:
        start, code = 0, 200
        asked = request.headers.get("Range")
        if ranges and asked and request.headers.get("If-Range") == tag:
            start, code = int(asked.removeprefix("bytes=").rstrip("-")), 206
        headers = {"Content-Length": str(len(data) - start)} | ({"ETag": tag} if etag else {})
        if code == 206:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        request.head(code, headers)
        end = len(data)
        if left[0]:
            left[0] -= 1
            end = start + after
        request.wfile.write(data[start:end])

    return answer


def endless(pause: float = 0.0, piece: bytes = b"x" * 65536, **headers: str) -> Answer:
    """A body that never ends; with a pause between its pieces."""

    def answer(request: Request) -> None:
        request.head(200, {"Connection": "close", **headers})
        while True:
            request.wfile.write(piece)
            time.sleep(pause)

    return answer
