"""An HTTPS proxy in front of an API server that fails as it is told.

A rule picks requests and says what happens to them; a watch that is open can be cut, silenced or fed with old events.
All requests are in its log: what a client did, and what it never did, is read from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

T = TypeVar("T")

WRITES = "POST|PUT|PATCH|DELETE"
FORWARDED = ("Accept", "Authorization", "Content-Type", "User-Agent")
ANSWERED = ("Content-Type", "Retry-After", "Warning")
CLOSE_LOOKS = 200  # hundredths of a second that connections may take to close
LONGEST_LINE = 16 * 1024 * 1024

_RESOURCE = re.compile(
    r"^(?:/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[a-z]+))?$"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass
class Request:
    """One request, as the log has it. `status`: None while, or since, the API server did not answer."""

    method: str
    path: str
    query: str
    body: bytes = field(repr=False)
    at: float = field(default_factory=time.monotonic)
    status: int | None = None
    answered: int | None = None  # what the client was told; None: nothing
    fault: str | None = None

    @property
    def url(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def watches(self) -> bool:
        """Whether it is a watch."""
        return self.method == "GET" and "watch=true" in self.query

    @property
    def resource(self) -> str:
        """Plural, with its subresource; empty for a path that is not of an object."""
        found = _RESOURCE.match(self.path)
        return "/".join(part for part in (found["plural"], found["subresource"]) if part) if found else ""

    @property
    def name(self) -> str | None:
        """The object's name."""
        found = _RESOURCE.match(self.path)
        return found["name"] if found else None

    @property
    def namespace(self) -> str | None:
        """The object's namespace."""
        found = _RESOURCE.match(self.path)
        return found["namespace"] if found else None

    @property
    def verb(self) -> str:
        """The verb, as RBAC names it."""
        if self.method in _VERBS:
            return _VERBS[self.method]
        return "watch" if self.watches else "get" if self.name else "list"

    @property
    def object(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found

    def __str__(self) -> str:
        what = f"{self.method} {self.url} -> {self.status}"
        return f"{what} ({self.fault}: {self.answered})" if self.fault else what


class Exchange:
    """A request on its way; what a fault may do with it."""

    def __init__(self, proxy: Proxy, incoming: web.Request, record: Request) -> None:
        self._proxy, self._incoming, self.record = proxy, incoming, record

    async def forward(self) -> web.StreamResponse:
        """To the API server, and its answer back."""
        found = await self._proxy.forward(self._incoming, self.record)
        self.record.answered = found.status
        return found

    def drop(self) -> web.StreamResponse:
        """Ends the connection without an answer."""
        self.record.answered = None
        if self._incoming.transport:
            self._incoming.transport.abort()
        return web.Response(status=599)  # goes nowhere

    def answer(self, status: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
        """An answer as the API server would give it."""
        self.record.answered = status
        body = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": reason,
            "message": message,
            "code": status,
        }
        return web.json_response(body, status=status, headers=headers)

    def later(self, seconds: float) -> None:
        """Lets the request go to the API server later, whatever the client has come to by then."""
        self._proxy.later(seconds, self._incoming, self.record)


Fault = Callable[[Exchange], Awaitable[web.StreamResponse]]


def drop_before() -> Fault:
    """The request is lost."""

    async def drop(exchange: Exchange) -> web.StreamResponse:
        return exchange.drop()

    return drop


def drop_response() -> Fault:
    """The request goes through, its answer is lost."""

    async def drop_answer(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        return exchange.drop()

    return drop_answer


def lands_later(seconds: float) -> Fault:
    """The connection is lost at once, and the request goes through later."""

    async def land_later(exchange: Exchange) -> web.StreamResponse:
        exchange.later(seconds)
        return exchange.drop()

    return land_later


def delay(seconds: float) -> Fault:
    """The request waits."""

    async def wait(exchange: Exchange) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await exchange.forward()

    return wait


def wait_for(gate: threading.Event, after: Fault | None = None) -> Fault:
    """The request waits until the gate is open; then it goes on, or fails otherwise."""

    async def wait(exchange: Exchange) -> web.StreamResponse:
        while not gate.is_set():  # noqa: ASYNC110 - the gate is a thread's
            await asyncio.sleep(0.02)
        return await (after(exchange) if after else exchange.forward())

    return wait


def answer(status: int, reason: str, message: str = "by the proxy", **headers: str) -> Fault:
    """The request is answered by the proxy. Headers: Retry_After="3"."""

    async def reply(exchange: Exchange) -> web.StreamResponse:
        return exchange.answer(status, reason, message, {key.replace("_", "-"): value for key, value in headers.items()})

    return reply


def gone() -> Fault:
    """A watch is told that its resource version is too old, as the API server does it: by an event."""

    async def expire(exchange: Exchange) -> web.StreamResponse:
        message = "too old resource version"
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "code": 410,
            "reason": "Expired",
            "message": message,
        }
        exchange.record.answered = 200
        return web.Response(text=json.dumps({"type": "ERROR", "object": status}) + "\n", content_type="application/json")

    return expire


def instead(act: Callable[[], object], *, after: bool) -> Fault:
    """Does something (kills the client, say) before the request goes through, or after it, and gives no answer."""

    async def do(exchange: Exchange) -> web.StreamResponse:
        if after:
            await exchange.forward()
        act()
        return exchange.drop()

    return do


def first_of_each(fault: Fault) -> Fault:
    """Every other request of the same method and path fails, the first one to begin with."""
    odd: set[tuple[str, str]] = set()

    async def fail_first(exchange: Exchange) -> web.StreamResponse:
        key = exchange.record.method, exchange.record.path
        odd.symmetric_difference_update({key})
        return await (fault(exchange) if key in odd else exchange.forward())

    return fail_first


def sometimes(share: float, *faults: Fault, seed: int) -> Fault:
    """That share of the requests fails, by one of the faults.

    What becomes of a request depends on the seed and on how many of its method and resource came before, not on how the
    requests for several objects mix.
    """
    chances: dict[str, random.Random] = {}

    async def fail_sometimes(exchange: Exchange) -> web.StreamResponse:
        key = f"{exchange.record.verb} {exchange.record.resource}"
        chance = chances.setdefault(key, random.Random(f"{seed} {key}"))
        if chance.random() < share:
            return await chance.choice(faults)(exchange)
        return await exchange.forward()

    return fail_sometimes


@dataclass
class Rule:
    """Which requests, and what happens to them."""

    fault: Fault
    method: re.Pattern[str]
    url: re.Pattern[str]
    times: int | None
    skip: int
    hits: list[Request] = field(default_factory=list)

    def takes(self, request: Request) -> bool:
        """Whether the request is one of its; counts it."""
        if self.times is not None and len(self.hits) >= self.times:
            return False
        if not self.method.fullmatch(request.method) or not self.url.search(request.url):
            return False
        if self.skip:
            self.skip -= 1
            return False
        request.fault = self.fault.__name__
        self.hits.append(request)
        return True


class Watch:
    """A watch that is open."""

    def __init__(self, proxy: Proxy, request: Request, response: web.StreamResponse, transport: asyncio.Transport) -> None:
        self._proxy, self.request, self._response, self._transport = proxy, request, response, transport
        self.lines: list[bytes] = []  # all that came from the API server
        self._open = asyncio.Event()
        self._open.set()

    async def pass_on(self, line: bytes) -> None:
        """A line of the API server; kept back while the watch is silent."""
        self.lines.append(line)
        await self._open.wait()
        await self._response.write(line)

    def silence(self) -> None:
        """Nothing more comes; the connection stays."""
        self._proxy.call(self._open.clear)

    def resume(self) -> None:
        """What was kept back comes now."""
        self._proxy.call(self._open.set)

    def cut(self) -> None:
        """Ends the connection."""
        self._proxy.call(self._transport.abort)

    def replay(self, line: bytes) -> None:
        """Sends a line once more."""
        self._proxy.run(self._response.write(line))


class Proxy:
    """The proxy, in a thread of its own."""

    def __init__(self, upstream: str, trust: ssl.SSLContext, certificate: ssl.SSLContext) -> None:
        self._upstream, self._trust, self._certificate = upstream, trust, certificate
        self.log: list[Request] = []
        self._rules: list[Rule] = []
        self._watches: list[Watch] = []
        self._later: set[asyncio.Task[None]] = set()
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()  # to the API server
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._port = 0
        self._site: web.TCPSite | None = None

    # --- Life ---------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts to listen."""
        self._thread.start()
        self.run(self._start())

    def stop(self) -> None:
        """Ends all connections."""
        self.run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs something in the proxy's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, act: Callable[[], object]) -> None:
        """Calls something in the proxy's thread."""

        async def do() -> None:
            act()

        self.run(do())

    async def _start(self) -> None:
        connector = aiohttp.TCPConnector(ssl=self._trust, limit=0, socket_factory=self._socket)
        timeout = aiohttp.ClientTimeout(total=None)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=LONGEST_LINE)
        app = web.Application(client_max_size=LONGEST_LINE)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client that goes away ends what is done for it.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()

    def _socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, number, *_ = address
        made = socket.socket(family, kind, number)
        self._sockets.add(made)
        return made

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._certificate, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def _stop(self) -> None:
        for task in self._later:
            task.cancel()
        await asyncio.gather(*self._later, return_exceptions=True)
        await self._hang_up()
        await self._runner.cleanup()
        await self._session.close()
        # A connection that was given up says goodbye by TLS and waits for the API server's, which may be busy.
        for each in self._sockets:
            with contextlib.suppress(OSError):  # it is closed
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(CLOSE_LOOKS):
            if len(self._loop._selector.get_map()) <= 1:  # type: ignore[attr-defined] # only the loop's own pipe is left
                break
            await asyncio.sleep(0.01)

    async def _hang_up(self) -> None:
        if self._site:
            await self._site.stop()
            self._site = None
        for connection in self._runner.server.connections if self._runner.server else []:
            if connection.transport:
                connection.transport.abort()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    # --- Faults -------------------------------------------------------------------------------------------------------

    def rule(self, fault: Fault, method: str = ".*", url: str = "", *, times: int | None = 1, skip: int = 0) -> Rule:
        """From now on: the fault for requests of the method whose path and query match, `times` of them after `skip`."""
        found = Rule(fault, re.compile(method), re.compile(url), times, skip)
        self._rules.append(found)
        return found

    def remove(self, rule: Rule) -> None:
        """Ends a rule."""
        self._rules.remove(rule)

    def down(self) -> None:
        """The API server is away: connections end, and new ones are refused."""
        self.run(self._hang_up())

    def up(self) -> None:
        """It is back."""
        self.run(self._listen())

    def watches(self, resource: str) -> list[Watch]:
        """The open watches of a resource."""
        return [watch for watch in self._watches if watch.request.resource == resource]

    # --- Requests -----------------------------------------------------------------------------------------------------

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        body = await incoming.read()
        record = Request(incoming.method, incoming.path, incoming.query_string, body)
        self.log.append(record)
        exchange = Exchange(self, incoming, record)
        rule = next((rule for rule in list(self._rules) if rule.takes(record)), None)
        try:
            return await (rule.fault(exchange) if rule else exchange.forward())
        except (aiohttp.ClientError, ConnectionError):
            return exchange.drop()

    async def forward(self, incoming: web.Request, record: Request) -> web.StreamResponse:
        """To the API server and back."""
        headers = {key: incoming.headers[key] for key in FORWARDED if key in incoming.headers}
        url = self._upstream + incoming.raw_path
        async with self._session.request(incoming.method, url, headers=headers, data=record.body or None) as found:
            record.status = found.status
            answered = {key: found.headers[key] for key in ANSWERED if key in found.headers}
            if record.watches and found.status == 200:
                return await self._stream(incoming, record, found, answered)
            return web.Response(body=await found.read(), status=found.status, headers=answered)

    async def _stream(
        self, incoming: web.Request, record: Request, found: aiohttp.ClientResponse, headers: dict[str, str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(incoming)
        assert incoming.transport
        watch = Watch(self, record, response, incoming.transport)
        self._watches.append(watch)
        try:
            async for line in found.content:
                await watch.pass_on(line)
        finally:
            self._watches.remove(watch)
        return response

    def later(self, seconds: float, incoming: web.Request, record: Request) -> None:
        """Forwards a request later, for nobody."""

        async def forward() -> None:
            await asyncio.sleep(seconds)
            with contextlib.suppress(aiohttp.ClientError):
                await self.forward(incoming, record)

        task = self._loop.create_task(forward())
        self._later.add(task)
        task.add_done_callback(self._later.discard)
