"""A connection to a port of a pod, as the API server's portforward frames it: over a real websocket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from millrace.cli import reach, relay
from millrace.cli.errors import Refused
from millrace.cli.streams import Connection, Incoming, Outgoing

PORT = (8467).to_bytes(2, "little")
OPENED = (b"\0" + PORT, b"\1" + PORT)


@asynccontextmanager
async def connected(messages: Sequence[bytes], heard: list[bytes] | None = None) -> AsyncIterator[Connection]:
    """A connection over which these messages come, after which it ends; or stays, and what is sent is `heard`."""

    async def portforward(request: web.Request) -> web.WebSocketResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        for message in messages:
            await near.send_bytes(message)
        if heard is not None:
            async for message in near:
                heard.append(message.data)
        return near

    application = web.Application()
    application.router.add_get("/", portforward)
    async with TestServer(application) as server, aiohttp.ClientSession() as session:
        connection = Connection(await session.ws_connect(server.make_url("/")))
        yield connection
        await connection.close()


async def test_what_comes_is_what_was_sent_also_where_it_looks_like_the_port() -> None:
    async with connected([*OPENED, b"\0ready", b"\0" + PORT, b"\0", b"\0rest"]) as connection:
        assert await connection.hears(b"ready")
        stream = Incoming(connection)
        assert await asyncio.to_thread(stream.read, 3) == PORT + b"r"
        assert await asyncio.to_thread(stream.read, 100) == b"est"
        assert await asyncio.to_thread(stream.read, 1) == b""


@pytest.mark.parametrize("messages", [[*OPENED, b"\1connection refused"], [*OPENED, b"\0rea"], []])
async def test_a_word_that_does_not_come_is_not_heard(messages: list[bytes]) -> None:
    async with connected(messages) as connection:
        assert not await connection.hears(b"ready")


async def test_a_connection_that_the_pod_breaks_is_no_end() -> None:
    async with connected([*OPENED, b"\0half", b"\1broken pipe"]) as connection:
        with pytest.raises(OSError, match="broken pipe"):
            await asyncio.to_thread(Incoming(connection).read, 100)


async def test_what_is_written_is_sent_as_data() -> None:
    heard: list[bytes] = []
    async with connected(OPENED, heard) as connection:
        assert await asyncio.to_thread(Outgoing(connection).write, memoryview(b"tar")) == 3
    assert heard == [b"\0tar"]


async def test_a_pod_that_says_no_more_is_waited_for_no_longer_than_a_transfer_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def listen(far: Connection) -> None:
        await asyncio.to_thread(Incoming(far).read, 100)

    monkeypatch.setattr(reach, "TRANSFER_SECONDS", 1.0)
    errand = relay.Errand("download", "rows", None, relay.SENDER, {}, listen)
    async with connected(OPENED, []) as connection, asyncio.timeout(20):
        with pytest.raises(Refused, match=r"rows was not downloaded within 1 seconds"):
            await relay._talk(errand, connection, "rows was not downloaded")
