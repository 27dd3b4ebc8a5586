"""Connections to addresses that were judged: a name is asked for once, and what it turned out to be is connected to."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpcore

from millrace.data.addresses import Policy, Refused, Target, check, check_name, is_number
from millrace.data.errors import DataError
from millrace.data.retry import remaining

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0  # a server may be silent for so long
Resolve = Callable[[str, int], list[str]]


class Checked(httpcore.NetworkBackend):
    """Connects to numbers that were judged: the name is asked for once, here."""

    def __init__(self, target: Target, policy: Policy, deadline: float, resolve: Resolve) -> None:
        self._target, self._policy, self._deadline, self._resolve = target, policy, deadline, resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **more: Any) -> _Stream:
        """The first of the host's numbers that answers."""
        left = remaining(self._deadline, self._target.where)
        try:
            check_name(host, self._policy)
            numbers = self._resolve(host, port)
            check(host, numbers, self._policy)
        except Refused as error:
            why = f"{self._target.where}: {error}; an administrator can allow it (chart value runs.httpsInputs.allow)"
            raise DataError("AddressRefused", why) from None
        for last, number in enumerate(numbers, 1):
            try:
                seconds = min(timeout or CONNECT_SECONDS, left)
                return _Stream(self._sockets.connect_tcp(number, port, seconds, *args, **more), self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if last == len(numbers):
                    raise
        raise httpcore.ConnectError("the name has no number")


class _Stream(httpcore.NetworkStream):
    """A connection with an end: a server that sends a byte now and then would keep each single read alive."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def _seconds(self, timeout: float | None) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this is over")
        return min(left, READ_SECONDS if timeout is None else timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._seconds(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._seconds(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> _Stream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._seconds(timeout)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def numbers_of(host: str, port: int) -> list[str]:
    """By the system's resolver, as a whole name: a search domain would make `a.b` one of the cluster's names."""
    try:
        found = socket.getaddrinfo(host if is_number(host) else f"{host}.", port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        unknown = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise DataError("Unreachable", f"{host}: {error.strerror}", final=unknown) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
