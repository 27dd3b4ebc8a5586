"""The service as an ASGI application: one request from its head to the end of its answer."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from time import monotonic
from typing import Any

from millrace.serve import streams
from millrace.serve.access import Access
from millrace.serve.answer import Answer, Unanswerable, answer
from millrace.serve.body import read_body, stays_unread
from millrace.serve.context import Context, Service
from millrace.serve.events import read_entity
from millrace.serve.gate import Gate
from millrace.serve.handler import Handler
from millrace.serve.metrics import Metrics
from millrace.serve.problems import CLOSE, Problem, headers, render
from millrace.serve.threads import Threads

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
OPENAPI = "/openapi.json"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:=+/-]{1,128}")


class Gone(Exception):
    """The client has left; there is nobody to answer."""


class Late(Problem):
    """The handler has not answered in time. `call` goes on: no thread can be stopped."""

    def __init__(self, seconds: float, call: asyncio.Future[Any] | None = None) -> None:
        super().__init__(504, f"the handler has not answered within {seconds:g} s")
        self.call = call


class Application:
    """Checks the token, reads the entity, waits for a place, calls the handler, answers."""

    def __init__(
        self,
        handler: Handler,
        *,
        gate: Gate,
        threads: Threads,
        metrics: Metrics,
        access: Access | None,
        service: Service,
        openapi: bytes,
        state: Any = None,
        timeout: float | None = None,
    ) -> None:
        """access: None lets everybody in. state: what init returned. timeout: seconds of a call."""
        self.draining = False
        self._handler, self._gate, self._threads, self._metrics, self._access = handler, gate, threads, metrics, access
        self._service, self._openapi, self._state, self._timeout = service, openapi, state, timeout
        self._prefix, self._numbers = os.urandom(6).hex(), itertools.count(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request. What it raises is a fault of ours."""
        began = monotonic()
        given = dict(scope["headers"])
        request_id = self._request_id(given.get(b"x-request-id"))
        try:
            status = await self._answer(scope, given, request_id, receive, send)
        except Problem as problem:
            status = problem.status
            await self._refuse(problem, given, request_id, send)
        except Gone:
            status = 499  # as others count it; nothing is sent
        self._metrics.answered(status, monotonic() - began)

    def _request_id(self, given: bytes | None) -> str:
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given.decode()
        return f"{self._prefix}-{next(self._numbers):x}"

    async def _answer(self, scope: Message, given: dict[bytes, bytes], request_id: str, receive: Receive, send: Send) -> int:
        if self._access is not None:
            token = given.get(b"authorization")
            if token is not None and len(given) != len(scope["headers"]):
                token = _single(scope["headers"], token)
            self._access.check(token)
        if scope["method"] not in METHODS:
            raise Problem(405, f"{scope['method']} is not answered", (b"allow", ", ".join(sorted(METHODS)).encode()))
        if scope["path"] == OPENAPI and scope["method"] == "GET":
            await self._send(Answer(200, b"application/json", self._openapi), request_id, send)
            return 200
        body = await read_body(given, receive)
        if body is None:
            raise Gone
        if not self._gate.try_enter():
            await self._queue(receive)
        held = True
        try:
            found = await self._call(scope, given, body, request_id)
            if found.stream is not None:
                return await self._stream(found, request_id, receive, send)
        except Late as late:
            if late.call is not None:
                held = False
                late.call.add_done_callback(self._left)
            raise
        finally:
            if held:
                self._gate.leave()
        await self._send(found, request_id, send)
        return found.status

    async def _queue(self, receive: Receive) -> None:
        place = self._gate.queue()
        gone = asyncio.ensure_future(receive())
        try:
            await asyncio.wait((place, gone), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._gate.give_up(place)
            raise
        finally:
            left = gone.done()
            gone.cancel()
        if left:
            self._gate.give_up(place)
            raise Gone

    def _left(self, call: asyncio.Future[Any]) -> None:
        if not call.cancelled():
            call.exception()  # nobody else asks for it
        self._gate.leave()

    async def _call(self, scope: Message, given: dict[bytes, bytes], body: bytes, request_id: str) -> Answer:
        """What the handler makes of the request. Raises Problem: 500 for what is not the caller's fault."""
        entity, event = read_entity(given, given.get(b"content-type", b"").decode("latin-1"), body)
        handler = self._handler
        context = Context(scope, request_id, event, self._service, self._state)
        arguments = handler.arguments(body if handler.raw else entity, context)
        try:
            if not handler.inline:
                value = await self._in_thread(handler.function, arguments)
                if hasattr(value, "__await__"):
                    value = await self._in_time(value)
            elif handler.coroutine:
                value = await self._in_time(handler.function(*arguments))
            else:
                value = handler.function(*arguments)
            return answer(value)
        except Problem:
            raise
        except BaseException as error:  # noqa: BLE001 - sys.exit() in a handler ends the request, not the service
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise Problem(503, "the service was stopped before the handler had answered") from None
            raise self._failed(request_id, error) from None

    async def _in_thread(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        call = self._threads.call(function, *arguments)
        if self._timeout is not None:
            await asyncio.wait((call,), timeout=self._timeout)
            if not call.done():
                raise Late(self._timeout, call)
        return await call

    async def _in_time(self, coroutine: Awaitable[Any]) -> Any:
        if self._timeout is None:
            return await coroutine
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await coroutine
        except TimeoutError:
            if limit.expired():
                raise Late(self._timeout) from None
            raise

    def _failed(self, request_id: str, error: BaseException) -> Problem:
        """Log what the handler raised; what the caller is told of it."""
        self._metrics.errors += 1
        if isinstance(error, Unanswerable):
            text = f"{error}\n"
        else:
            trace = error.__traceback__
            while trace is not None and "/millrace/serve/" in trace.tb_frame.f_code.co_filename:
                trace = trace.tb_next
            text = "".join(traceback.format_exception(type(error), error, trace))
        print(f"[millrace] request {request_id} failed: {text}", file=sys.stderr, end="", flush=True)
        return Problem(500, "the handler failed; the log of the service has the cause under this request id")

    async def _stream(self, found: Answer, request_id: str, receive: Receive, send: Send) -> int:
        """Hand on what the handler yields. An error before the first item is a problem; one after it breaks the connection,
        which is the only way left to say so."""
        stream = streams.Stream(found.stream, self._threads)
        try:
            try:
                first = await stream.first(receive)
            except asyncio.CancelledError:
                raise
            except streams.Left:
                raise Gone from None
            except BaseException as error:  # noqa: BLE001
                raise self._failed(request_id, error) from None
            kind = found.content_type or first.content_type
            await self._start(found, kind, request_id, send)
            try:
                await stream.hand_on(first, send)
            except asyncio.CancelledError:
                raise
            except streams.Left:
                return 499
            except BaseException as error:  # noqa: BLE001
                self._failed(request_id, error)
                return 500
            return found.status
        finally:
            await stream.close()

    async def _send(self, found: Answer, request_id: str, send: Send) -> None:
        await self._start(found, found.content_type, request_id, send, len(found.body))
        await send({"type": "http.response.body", "body": found.body})

    async def _start(self, found: Answer, kind: bytes, request_id: str, send: Send, length: int | None = None) -> None:
        answered = [(b"x-request-id", request_id.encode())]
        if kind:
            answered.append((b"content-type", kind))
        if length is not None and (length or found.status not in {204, 304}):
            answered.append((b"content-length", b"%d" % length))
        if found.headers:
            answered += found.headers
        if self.draining:
            answered.append(CLOSE)
        await send({"type": "http.response.start", "status": found.status, "headers": answered})

    async def _refuse(self, problem: Problem, given: dict[bytes, bytes], request_id: str, send: Send) -> None:
        body = render(problem.status, problem.detail, request_id)
        length = (b"content-length", b"%d" % len(body))
        more = [*problem.headers, length]
        if self.draining or stays_unread(given):
            more.append(CLOSE)
        await send({"type": "http.response.start", "status": problem.status, "headers": headers(request_id, more)})
        await send({"type": "http.response.body", "body": body})


def _single(pairs: list[tuple[bytes, bytes]], token: bytes) -> bytes:
    """The Authorization header; no token at all where it comes more than once, since nobody knows which one counts."""
    return token if sum(name == b"authorization" for name, _ in pairs) == 1 else b""
