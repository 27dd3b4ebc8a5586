"""What goes over a connection to a port of a pod (portforward of the API server) as streams, read and written in a thread.

A message begins with its channel, 0 data and 1 errors; the first one on each holds the port.
"""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp

DATA, ERRORS = 0, 1


def _payload(message: object, port: int) -> tuple[int, bytes] | None:
    """Channel and bytes of a message; None for one that only holds the port: pure."""
    if not isinstance(message, bytes) or not message or message[1:] == port.to_bytes(2, "little"):
        return None
    return message[0], message[1:]


async def wait_for_word(far: aiohttp.ClientWebSocketResponse, word: bytes, port: int) -> bool:
    """Whether the other end says so."""
    said = b""
    async for message in far:
        found = _payload(message.data, port)
        if found is None:
            continue
        if found[0] == ERRORS:
            return False
        said += found[1]
        if said.endswith(word):
            return True
    return False


class Outgoing(io.RawIOBase):
    """What is written goes to the connection."""

    def __init__(self, far: aiohttp.ClientWebSocketResponse) -> None:
        self._far, self._loop = far, asyncio.get_running_loop()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        asyncio.run_coroutine_threadsafe(self._far.send_bytes(bytes([DATA]) + bytes(data)), self._loop).result()
        return len(data)


class Incoming:
    """What comes from the connection, up to its end. Raises OSError where the pod has broken it."""

    def __init__(self, far: aiohttp.ClientWebSocketResponse, port: int) -> None:
        self._far, self._port, self._loop = far, port, asyncio.get_running_loop()
        self._kept = bytearray()

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end."""
        while len(self._kept) < size:
            data = asyncio.run_coroutine_threadsafe(self._next(), self._loop).result()
            if not data:
                break
            self._kept += data
        found = bytes(self._kept[:size])
        del self._kept[:size]
        return found

    async def _next(self) -> bytes:
        async for message in self._far:
            found = _payload(message.data, self._port)
            if found and found[0] == ERRORS:
                raise OSError(found[1].decode(errors="replace"))
            if found and found[1]:
                return found[1]
        return b""
