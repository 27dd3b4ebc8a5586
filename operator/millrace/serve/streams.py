"""Hands on what a generator yields, for as long as the client is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple

from millrace.serve.answer import item
from millrace.serve.threads import Threads

_END = object()


class Left(Exception):
    """The client has gone."""


class Piece(NamedTuple):
    """One item as it is sent; data is None after the last."""

    data: bytes | None
    content_type: bytes


class Stream:
    """A generator of either kind. Items of one that is no coroutine are made in a thread."""

    def __init__(self, source: Any, threads: Threads) -> None:
        self._source, self._threads = source, threads
        self._gone: asyncio.Future[Any] | None = None

    async def first(self, receive: Callable[[], Awaitable[Any]]) -> Piece:
        """The first item, before the answer is begun. Raises Left, Unanswerable, what the generator raises."""
        self._gone = asyncio.ensure_future(receive())  # after the body this returns when the client has gone
        return await self._next()

    async def hand_on(self, piece: Piece, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]) -> None:
        """Send that item, all that follow and the end. Raises as `first`; then the answer has no end."""
        while piece.data is not None:
            if piece.data:
                await send({"type": "http.response.body", "body": piece.data, "more_body": True})
            piece = await self._next()
        await send({"type": "http.response.body", "body": b""})

    async def _next(self) -> Piece:
        assert self._gone is not None
        if hasattr(self._source, "__anext__"):
            step: asyncio.Future[Any] = asyncio.ensure_future(anext(self._source, _END))
        else:
            step = self._threads.call(next, self._source, _END)
        try:
            await asyncio.wait((step, self._gone), return_when=asyncio.FIRST_COMPLETED)
            if self._gone.done():
                raise Left
            value = step.result()
        finally:
            if not step.done():
                step.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await step
        return Piece(None, b"") if value is _END else Piece(*item(value))

    async def close(self) -> None:
        """End the generator: its `finally` runs, also when the client has gone."""
        if self._gone is not None:
            self._gone.cancel()
        with suppress(Exception):  # one that is still making an item cannot be closed; it is the last that it makes
            if hasattr(self._source, "aclose"):
                await self._source.aclose()
            elif hasattr(self._source, "close"):
                await self._threads.call(self._source.close)
