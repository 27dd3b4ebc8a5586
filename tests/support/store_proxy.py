"""A program that stands before an S3 store and holds or loses requests on purpose. Standard library only: it runs in a
pod of the tests (support/faulty_store.py).

Port 9000 is the store. Port 9001 takes orders, all by GET, and answers in JSON: /add?q={"method", "url", "action",
"skip", "times"} adds a rule and says its number, /hits?q=N how many requests it has taken; /release drops what is held;
/away drops what is held and refuses everything until /back; /log lists all requests that came.

    hold    the request waits here, and the store never hears of it
    drop    the store does it, and the answer is lost
    refuse  the connection ends before the store hears of it
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

UPSTREAM = os.environ.get("UPSTREAM", "minio.minio:9000")
HOP = ("connection", "transfer-encoding", "expect")
LONGEST_HOLD = 120.0


class Rule:
    """Which requests, and what is done to them."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.method, self.url = order["method"], re.compile(order["url"])
        self.action, self.skip, self.times = order["action"], order.get("skip", 0), order.get("times", 1)
        self.seen = self.hits = 0

    def takes(self, method: str, url: str) -> bool:
        """Whether this request is one of its; counts it."""
        if method != self.method or not self.url.search(url):
            return False
        self.seen += 1
        if self.seen <= self.skip or self.hits >= self.times:
            return False
        self.hits += 1
        return True


class State:
    """What both ports share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: list[Rule] = []
        self.log: list[str] = []
        self.released = threading.Event()
        self.away = False

    def release(self) -> None:
        """Lets go of the requests that are held: their connections end."""
        self.released.set()
        self.released = threading.Event()

    def rule_for(self, method: str, url: str) -> Rule | None:
        """The first rule that takes the request."""
        with self.lock:
            self.log.append(f"{method} {url}")
            return next((rule for rule in self.rules if rule.takes(method, url)), None)


STATE = State()


class Base(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        if status != 204 and not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Storage(Base):
    """The store's port."""

    def serve(self) -> None:
        rule = STATE.rule_for(self.command, self.path)
        action = rule.action if rule else ""
        if STATE.away or action == "refuse":
            self.reset()
            return
        body = self.body()
        if action == "hold":
            STATE.released.wait(LONGEST_HOLD)
            self.reset()
            return
        upstream = http.client.HTTPConnection(UPSTREAM, timeout=60)
        try:
            # The host stays as the client has signed it.
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in HOP:
                    upstream.putheader(name, value)
            upstream.endheaders(body or None)
            found = upstream.getresponse()
            content = found.read()
        finally:
            upstream.close()
        if action == "drop":
            self.reset()
        else:
            self.answer(found.status, found.getheaders(), content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = serve  # noqa: N815 - http.server's names


class Orders(Base):
    """The port of the test."""

    def do_GET(self) -> None:
        order, _, query = self.path.partition("?")
        argument = parse_qs(query).get("q", [""])[0]
        found: object = None
        with STATE.lock:
            if order == "/add":
                STATE.rules.append(Rule(json.loads(argument)))
                found = len(STATE.rules) - 1
            elif order == "/hits":
                found = STATE.rules[int(argument)].hits
            elif order == "/release":
                STATE.release()
            elif order == "/away":
                STATE.away = True
                STATE.release()
            elif order == "/back":
                STATE.away = False
            else:
                found = list(STATE.log)
        self.answer(200, [("Content-Type", "application/json")], json.dumps(found).encode())


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        return


if __name__ == "__main__":
    threading.Thread(target=Server(("", 9001), Orders).serve_forever, daemon=True).start()
    Server(("", 9000), Storage).serve_forever()
