"""A connection to a port of a pod: a websocket to the portforward of the API server, v4.channel.k8s.io.

A message begins with its channel, 0 data and 1 errors; the first one on each holds the port.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

DATA, ERRORS = 0, 1


class Connection:
    """What goes to the port and what comes from it, without channels and ports."""

    def __init__(self, far: aiohttp.ClientWebSocketResponse) -> None:
        self._far = far
        self._opened: set[int] = set()  # channels whose port has come

    async def send(self, data: bytes) -> None:
        """Sends bytes to the pod."""
        await self._far.send_bytes(bytes([DATA]) + data)

    async def receive(self) -> bytes:
        """The next bytes from the pod; none at its end. Raises OSError where the pod has refused or broken it."""
        async for message in self._far:
            data = message.data
            if not isinstance(data, bytes) or not data:
                continue
            channel, content = data[0], data[1:]
            if channel not in self._opened:
                self._opened.add(channel)
            elif channel == ERRORS:
                raise OSError(content.decode(errors="replace"))
            elif content:
                return content
        return b""

    async def hears(self, word: bytes) -> bool:
        """Whether the pod says so before its end."""
        said = b""
        try:
            while data := await self.receive():
                said += data
                if said.endswith(word):
                    return True
        except OSError:
            pass
        return False

    async def close(self) -> None:
        """Ends it."""
        await self._far.close()


class Outgoing(io.RawIOBase):
    """What is written, in a thread, goes to the connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._loop = connection, asyncio.get_running_loop()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        asyncio.run_coroutine_threadsafe(self._connection.send(bytes(data)), self._loop).result()
        return len(data)


class Incoming:
    """What comes from the connection, up to its end, read in a thread. Raises OSError where the pod has broken it."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._loop = connection, asyncio.get_running_loop()
        self._kept = bytearray()

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        while len(self._kept) < size:
            data = asyncio.run_coroutine_threadsafe(self._connection.receive(), self._loop).result()
            if not data:
                break
            self._kept += data
        found = bytes(self._kept[:size])
        del self._kept[:size]
        return found
