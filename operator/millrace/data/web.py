"""Staging a file from a web address: by https, from the address that was checked, resumed after a reset."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpcore

from millrace.data.addresses import Policy, Refused, Target, read_url
from millrace.data.checked import CONNECT_SECONDS, READ_SECONDS, Checked, Resolve, numbers_of
from millrace.data.errors import DataError, Reason, untrusted
from millrace.data.fetch import Counter, open_file, write_at
from millrace.data.model import Identity, Progress, Staged
from millrace.data.retry import Backoff

REDIRECTS = 3
PATIENCE_SECONDS = 120.0  # a server may be away for so long
NAME_BYTES = 255
_MOVED = {301, 302, 303, 307, 308}
_STATUS: dict[int, Reason] = {401: "AccessDenied", 403: "AccessDenied", 404: "NotFound", 410: "NotFound", 429: "Throttled"}
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def stage_web(
    item: Mapping[str, Any],
    limits: Mapping[str, Any],
    *,
    authority: str | None,
    deadline: float,
    authorization: str | None = None,
    progress: Progress | None = None,
    resolve: Resolve | None = None,
) -> Staged:
    """Downloads the file of a web address into the folder `path`, under the base name of `key`.

    `item` is {"uri", "key", "path", "sha256": str | None, "optional": bool, "maxBytes": int}; `limits` {"allow",
    "deny": [str], "maxBytes"} (addresses.Policy). At most 3 redirects are followed, each checked as the first address.
    The bytes are stored as they come, not unpacked. A transfer that breaks off goes on where it was, if the server can
    say that the file is the same, else from its start.

    authority: a file of certificates to trust instead of the system's. deadline: instant of time.monotonic().
    authorization: the header of that name, which no other host gets that the first one leads to. resolve: the numbers of
    a name, instead of the system's.
    Raises DataError: AddressRefused, NotFound, AccessDenied, TooLarge, ChecksumMismatch, TlsUntrusted, Unreachable after
    2 minutes without a byte, BadResponse, NoSpace, Timeout.
    """
    begun = time.monotonic()
    identity: Identity = "Store" if authorization else "Anonymous"
    policy = Policy.of(limits["allow"], limits["deny"])
    target = Path(item["path"]) / os.path.basename(item["key"])  # noqa: PTH119 - a key is no path
    target.parent.mkdir(parents=True, exist_ok=True)
    counter = Counter(progress)
    first = _read(str(item["uri"]), "the address is refused")
    most = min(int(limits["maxBytes"]), item.get("maxBytes", int(limits["maxBytes"])))
    with open_file(target, first.where) as fd:
        web = _Web(policy, _context(authority), deadline, resolve or numbers_of, authorization)
        transfer = _Transfer(web, str(item["uri"]), fd, most, counter)
        try:
            transfer.run(deadline)
        except DataError as error:
            if error.reason != "NotFound" or not item.get("optional"):
                raise
            target.unlink()
            return Staged(bytes=0, files=0, sha256="", seconds=time.monotonic() - begun, identity=identity)
    counter.add(0, 1)
    counter.flush()
    digest = transfer.sha.hexdigest()
    if item.get("sha256") and digest != item["sha256"]:
        raise DataError("ChecksumMismatch", f"{first.where}: its SHA-256 is {digest}, not the one that the run names")
    seconds = time.monotonic() - begun
    return Staged(bytes=transfer.position, files=1, sha256=digest, seconds=seconds, identity=identity)


def probe_web(
    uri: str, limits: Mapping[str, Any], *, authority: str | None, authorization: str | None, seconds: float
) -> None:
    """Whether the server of that address answers; the parameters are stage_web's. Raises DataError."""
    policy, deadline = Policy.of(limits["allow"], limits["deny"]), time.monotonic() + seconds
    _Web(policy, _context(authority), deadline, numbers_of, authorization).probe(uri)


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

    def __init__(
        self, policy: Policy, context: ssl.SSLContext, deadline: float, resolve: Resolve, authorization: str | None
    ) -> None:
        self._policy, self._context, self._deadline, self._resolve = policy, context, deadline, resolve
        self._authorization = authorization

    @contextmanager
    def get(self, uri: str, headers: Mapping[str, str]) -> Iterator[tuple[str, int, dict[str, str], Iterable[bytes]]]:
        """(where, status, headers, chunks) of what the address leads to. Raises DataError."""
        target = first = _read(uri, "the address is refused")
        for _ in range(REDIRECTS + 1):
            own = {"Authorization": self._authorization} if self._authorization and _same_server(target, first) else {}
            with self._request(target, {**headers, **own}) as (status, answer, chunks):
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

    def probe(self, uri: str) -> None:
        """Asks for an address; whatever is answered, the server is there. Raises DataError: AccessDenied where it wants
        other credentials, ServerError, and what keeps it from answering.
        """
        target = _read(uri, "the address is refused")
        own = {"Authorization": self._authorization} if self._authorization else {}
        with self._request(target, own) as (status, _, _):
            if status == 401 or (status == 403 and own):
                raise DataError("AccessDenied", f"{target.where}: the server says HTTP {status}")
            if status >= 500:
                raise DataError("ServerError", f"{target.where}: the server says HTTP {status}")

    @contextmanager
    def _request(self, target: Target, headers: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str], Iterable[bytes]]]:
        backend = Checked(target, self._policy, self._deadline, self._resolve)
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


def _same_server(one: Target, other: Target) -> bool:
    return (one.host, one.port) == (other.host, other.port)


def _read(uri: str, what: str) -> Target:
    try:
        return read_url(uri)
    except Refused as error:
        raise DataError("AddressRefused", f"{what}: {error}") from None


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
