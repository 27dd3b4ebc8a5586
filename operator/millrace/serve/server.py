"""The two ports of a service: requests, and what is said to who runs it. From listening to the last answer."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
from time import monotonic
from typing import Any

import uvloop
from uvicorn import config as uvicorn_config
from uvicorn import server as uvicorn_server

from millrace import protocol
from millrace.serve.application import Application, Message, Receive, Send
from millrace.serve.gate import Gate
from millrace.serve.metrics import CONTENT_TYPE, Metrics
from millrace.serve.wire import KEEP_ALIVE_SECONDS, Protocol

BACKLOG = 2048
LOOK_SECONDS = 0.02


class Operations:
    """The application of the port for who runs it: /ready, /load, /metrics."""

    def __init__(self, metrics: Metrics, gate: Gate, application: Application) -> None:
        self._metrics, self._gate, self._application = metrics, gate, application

    async def __call__(self, scope: Message, _receive: Receive, send: Send) -> None:
        """One request."""
        status, kind, body = self._answer(scope["path"])
        fields = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, path: str) -> tuple[int, bytes, bytes]:
        if path == protocol.READY_PATH:
            return (503, b"text/plain", b"draining\n") if self._application.draining else (200, b"text/plain", b"ready\n")
        if path == protocol.LOAD_PATH:
            return 200, b"application/json", json.dumps(self._metrics.load(self._gate, monotonic())).encode()
        if path == protocol.METRICS_PATH:
            return 200, CONTENT_TYPE, self._metrics.render(self._gate)
        return 404, b"text/plain", b"/ready, /load and /metrics are here\n"


async def _nobody(scope: Message, receive: Receive, send: Send) -> None:
    """In the place of an application until there is one."""


def _config() -> uvicorn_config.Config:
    config = uvicorn_config.Config(
        _nobody,
        http=Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        backlog=BACKLOG,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # each bad request would be a line of the log
    config.load()
    return config


class Server(uvicorn_server.Server):
    """uvicorn's, whose signals are somebody else's.

    It is made before the application: to make one imports parts of uvicorn by name, and to start one nothing.
    """

    def __init__(self) -> None:
        super().__init__(_config())
        self.lifespan = self.config.lifespan_class(self.config)

    async def listen(self, application: Any, bound: socket.socket) -> None:
        """Take requests there for that application."""
        self.config.loaded_app = application
        await self.startup(sockets=[bound])

    async def drain(self, accept: float, finish: float) -> bool:
        """Go on accepting for so many seconds, then close and wait for so many for what goes on; whether all of it ended.

        Connections that wait for a next request are closed, others after their answer.
        """
        await asyncio.sleep(accept)
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        deadline = monotonic() + finish
        while (self.server_state.tasks or self.server_state.connections) and monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)  # uvicorn says nobody when they are over
        return not self.server_state.tasks


def bind(host: str | None, port: int) -> socket.socket:
    """A socket that is bound but not listening yet: until it is, a TCP probe finds nobody. host: None for all addresses.

    Raises OSError.
    """
    everywhere = host is None and socket.has_dualstack_ipv6()
    found = socket.socket(socket.AF_INET6 if everywhere else socket.AF_INET)
    if everywhere:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.bind(("::" if everywhere else host or "0.0.0.0", port))  # noqa: S104 - a pod's addresses are all its own
    return found


def serve_beside(server: Server, bound: socket.socket, application: Operations) -> None:
    """Serve that port in a thread with a loop of its own, so that it answers while user code blocks the other one."""

    async def run() -> None:
        await server.listen(application, bound)
        await server.main_loop()

    def work() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run())

    threading.Thread(target=work, daemon=True, name="operations").start()
