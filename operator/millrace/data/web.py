"""Staging a file from a web address: by https, from the address that was checked, resumed after a reset."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpcore

from millrace.data.addresses import Policy, Refused, Target, check, check_name, is_number, read_url
from millrace.data.errors import DataError, Reason, untrusted
from millrace.data.fetch import Counter, open_file, write_at
from millrace.data.model import Progress, Staged
from millrace.data.retry import Backoff, remaining

REDIRECTS = 3
CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0  # a server may be silent for so long
PATIENCE_SECONDS = 120.0  # a server may be away for so long
NAME_BYTES = 255
_MOVED = {301, 302, 303, 307, 308}
_STATUS: dict[int, Reason] = {401: "AccessDenied", 403: "AccessDenied", 404: "NotFound", 410: "NotFound", 429: "Throttled"}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
Resolve = Callable[[str, int], list[str]]


def stage_web(
    item: Mapping[str, Any],
    limits: Mapping[str, Any],
    *,
    authority: str | None,
    deadline: float,
    progress: Progress | None = None,
    resolve: Resolve | None = None,
) -> Staged:
    """Downloads the file of a web address into the folder `path`, under the base name of `key`.

    `item` is {"uri", "key", "path", "sha256": str | None, "optional": bool}; `limits` {"allow", "deny": [str],
    "maxBytes"} (addresses.Policy). At most 3 redirects are followed, each checked as the first address. The bytes are
    stored as they come, not unpacked. A transfer that breaks off goes on where it was, if the server can say that the
    file is the same, else from its start.

    authority: a file of certificates to trust instead of the system's. deadline: instant of time.monotonic(). resolve:
    the numbers of a name, instead of the system's.
    Raises DataError: AddressRefused, NotFound, AccessDenied, TooLarge, ChecksumMismatch, TlsUntrusted, Unreachable after
    2 minutes without a byte, BadResponse, NoSpace, Timeout.
    """
    begun = time.monotonic()
    policy = Policy.of(limits["allow"], limits["deny"])
    target = Path(item["path"]) / os.path.basename(item["key"])  # noqa: PTH119 - a key is no path
    target.parent.mkdir(parents=True, exist_ok=True)
    counter = Counter(progress)
    first = _read(str(item["uri"]), "the address is refused")
    with open_file(target, first.where) as fd:
        web = _Web(policy, _context(authority), deadline, resolve or _numbers)
        transfer = _Transfer(web, str(item["uri"]), fd, int(limits["maxBytes"]), counter)
        try:
            transfer.run(deadline)
        except DataError as error:
            if error.reason != "NotFound" or not item.get("optional"):
                raise
            target.unlink()
            return Staged(bytes=0, files=0, sha256="", seconds=time.monotonic() - begun, identity="Anonymous")
    counter.add(0, 1)
    counter.flush()
    digest = transfer.sha.hexdigest()
    if item.get("sha256") and digest != item["sha256"]:
        raise DataError("ChecksumMismatch", f"{first.where}: its SHA-256 is {digest}, not the one that the run names")
    seconds = time.monotonic() - begun
    return Staged(bytes=transfer.position, files=1, sha256=digest, seconds=seconds, identity="Anonymous")


class _Transfer:
    """One file on its way: how much is here, and by what the server knows the same file again."""

    def __init__(self, web: _Web, uri: str, fd: int, most: int, counter: Counter) -> None:
        self._web, self._uri, self._fd, self._most, self._counter = web, uri, fd, most, counter
        self._same: str | None = None
        self.position = 0
        self.sha = hashlib.sha256()

    def run(self, deadline: float) -> None:
        """All of it. Raises DataError."""
        backoff = Backoff(min(deadline, time.monotonic() + PATIENCE_SECONDS))
        while True:
            before = self.position
            try:
                return self._once()
            except DataError as error:
                if self.position > before:
                    backoff = Backoff(min(deadline, time.monotonic() + PATIENCE_SECONDS))
                backoff.wait(error)

    def _once(self) -> None:
        headers = {"Range": f"bytes={self.position}-", "If-Range": self._same} if self.position and self._same else {}
        with self._web.get(self._uri, headers) as (where, status, answer, chunks):
            if status == 200:
                self._begin_anew(answer)
            elif not headers or not self._goes_on(answer):
                self._same = None
                raise DataError("BadResponse", f"{where}: a part of a file that was not asked for")
            size = self._size(where, answer)
            for chunk in chunks:
                if self.position + len(chunk) > self._most:
                    raise DataError("TooLarge", f"{where}: more than the {self._most} bytes that this installation takes")
                self.position = write_at(self._fd, memoryview(chunk), self.position, where)
                self.sha.update(chunk)
                self._counter.add(len(chunk), 0)
            if size is not None and self.position != size:
                raise DataError("Unreachable", f"{where}: the transfer broke off")

    def _goes_on(self, answer: Mapping[str, str]) -> bool:
        """Whether it is the rest of the same file, to its end."""
        found = _RANGE.fullmatch(answer.get("content-range", ""))
        if found is None or _validator(answer) != self._same:
            return False
        first, last, size = (int(number) for number in found.groups())
        return first == self.position and last == size - 1

    def _begin_anew(self, answer: Mapping[str, str]) -> None:
        os.ftruncate(self._fd, 0)
        self._counter.add(-self.position, 0)
        self.position, self.sha, self._same = 0, hashlib.sha256(), _validator(answer)

    def _size(self, where: str, answer: Mapping[str, str]) -> int | None:
        """How long the file is, if the server says so; that it may be so long, and that there is room for it."""
        length = answer.get("content-length", "")
        if not length.isdecimal():
            return None
        size = self.position + int(length)
        if size > self._most:
            raise DataError("TooLarge", f"{where}: {size} bytes; this installation takes {self._most}")
        disk = os.fstatvfs(self._fd)
        if int(length) > disk.f_bavail * disk.f_frsize:
            raise DataError("NoSpace", f"{where}: {length} bytes needed, {disk.f_bavail * disk.f_frsize} bytes are free")
        return size


def _validator(answer: Mapping[str, str]) -> str | None:
    """What If-Range takes: a strong etag, else the time of the last change."""
    etag = answer.get("etag", "")
    return etag if etag.startswith('"') else answer.get("last-modified")


class _Web:
    """Requests that go to checked addresses only."""

    def __init__(self, policy: Policy, context: ssl.SSLContext, deadline: float, resolve: Resolve) -> None:
        self._policy, self._context, self._deadline, self._resolve = policy, context, deadline, resolve

    @contextmanager
    def get(self, uri: str, headers: Mapping[str, str]) -> Iterator[tuple[str, int, dict[str, str], Iterable[bytes]]]:
        """(where, status, headers, chunks) of what the address leads to. Raises DataError."""
        target = _read(uri, "the address is refused")
        for _ in range(REDIRECTS + 1):
            with self._request(target, headers) as (status, answer, chunks):
                if status in (200, 206, 416):
                    yield target.where, status, answer, chunks
                    return
                if status not in _MOVED:
                    reason = _STATUS.get(status) or ("ServerError" if status >= 500 else "BadResponse")
                    raise DataError(reason, f"{target.where}: the server says HTTP {status}", final=reason == "BadResponse")
                if "location" not in answer:
                    raise DataError("BadResponse", f"{target.where}: HTTP {status} without a Location", final=True)
                uri = urljoin(uri, answer["location"])
                target = _read(uri, f"{target.where} leads to an address that is refused")
        raise DataError("BadResponse", f"{target.where}: more than {REDIRECTS} redirects", final=True)

    @contextmanager
    def _request(self, target: Target, headers: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str], Iterable[bytes]]]:
        backend = _Checked(target, self._policy, self._deadline, self._resolve)
        url = httpcore.URL(scheme=b"https", host=target.host.encode(), port=target.port, target=target.path.encode())
        sent = {
            "Host": target.authority,
            "User-Agent": "millrace",
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            **headers,
        }
        seconds = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": READ_SECONDS}
        with (
            _told(target),
            httpcore.ConnectionPool(ssl_context=self._context, network_backend=backend) as pool,
            pool.stream("GET", url, headers=list(sent.items()), extensions={"timeout": seconds}) as response,
        ):
            found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            yield response.status, found, response.iter_stream()


class _Checked(httpcore.NetworkBackend):
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


def _read(uri: str, what: str) -> Target:
    try:
        return read_url(uri)
    except Refused as error:
        raise DataError("AddressRefused", f"{what}: {error}") from None


def _numbers(host: str, port: int) -> list[str]:
    """By the system's resolver, as a whole name: a search domain would make `a.b` one of the cluster's names."""
    try:
        found = socket.getaddrinfo(host if is_number(host) else f"{host}.", port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        unknown = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        raise DataError("Unreachable", f"{host}: {error.strerror}", final=unknown) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _context(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except (OSError, ssl.SSLError):
        raise DataError("TlsUntrusted", f"the authorities in {authority} cannot be read") from None


@contextmanager
def _told(target: Target) -> Iterator[None]:
    try:
        yield
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as exc:
        if untrusted(exc):
            why = "the certificate is not this host's, or not signed by an authority that is known here (runs.caBundle)"
            raise DataError("TlsUntrusted", f"{target.where}: {why}") from None
        raise DataError("Unreachable", f"{target.where}: {exc or 'the server is silent'}") from None
