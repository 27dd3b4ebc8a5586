"""Who may call: bearer tokens against a file of their hashes, which is read again when it changes.

    {"tokens": [{"name": "partner", "sha256": "<hex>", "expires": "2027-01-31T00:00:00Z"}]}

The file comes from a ConfigMap. What cannot be read lets nobody in.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from hmac import compare_digest
from typing import NamedTuple

from millrace.serve.problems import Problem

LOOK_SECONDS = 1.0  # between looks at whether the file is another one
FILE_BYTES = 1024 * 1024  # what a ConfigMap holds at most
TOKEN_CHARACTERS = 512
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
_HASH = re.compile(r"[0-9a-f]{64}")


class Token(NamedTuple):
    """What is known of a token."""

    name: str
    sha256: bytes  # hexadecimal
    expires: float  # seconds since the epoch; infinite without an end


class Unreadable(Exception):
    """The file is not as it should be."""


def parse(text: bytes) -> tuple[Token, ...]:
    """The file's tokens. Raises Unreadable: a part that is not understood may be the one that shuts somebody out."""
    try:
        entries = json.loads(text)["tokens"]
        return tuple(_token(entry) for entry in entries)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None


def _token(entry: dict[str, str]) -> Token:
    if not set(entry) <= {"name", "sha256", "expires"} or not _HASH.fullmatch(entry["sha256"]):
        raise ValueError("a token is {name, sha256, expires}")
    expires = float("inf")
    if entry.get("expires") is not None:
        end = datetime.fromisoformat(entry["expires"])
        if end.tzinfo is None:
            raise ValueError("expires has no time zone")
        expires = end.timestamp()
    return Token(str(entry["name"]), entry["sha256"].encode(), expires)


def refusal(header: bytes | None, tokens: tuple[Token, ...], now: float) -> str | None:
    """Why a request with that Authorization is not let in; None where it is. now: seconds since the epoch.

    All hashes are compared whatever the first ones say, each in constant time.
    """
    if header is None:
        return "a bearer token is needed"
    found = _BEARER.fullmatch(header)
    if found is None or len(found[1]) > TOKEN_CHARACTERS:
        return "Authorization is no single bearer token"
    digest = hashlib.sha256(found[1]).hexdigest().encode()
    matching = [token for token in tokens if compare_digest(token.sha256, digest)]
    if not matching:
        return "the token is not known"
    if all(token.expires <= now for token in matching):
        return "the token has expired"
    return None


class Access:
    """The file's tokens as they are now."""

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock = path, clock
        self._next_look = float("-inf")
        self._stamp: tuple[int, ...] = ()
        self._tokens: tuple[Token, ...] | None = None

    def check(self, header: bytes | None) -> None:
        """Raises Problem: 401 for who may not call, 503 while nobody can be told apart."""
        if self._clock() >= self._next_look:
            self._look()
        if self._tokens is None:
            raise Problem(503, "the tokens of this service cannot be read; its log says why", (b"retry-after", b"5"))
        why = refusal(header, self._tokens, time.time())
        if why is not None:
            known = b', error="invalid_token"' if header is not None else b""
            raise Problem(401, why, (b"www-authenticate", b'Bearer realm="millrace"' + known))

    def _look(self) -> None:
        self._next_look = self._clock() + LOOK_SECONDS
        try:
            found = os.stat(self._path)  # of the ConfigMap's file behind its links: a new one is another inode
            stamp = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return
            self._stamp, self._tokens = (), None
            with open(self._path, "rb") as file:
                self._tokens = parse(file.read(FILE_BYTES))
            self._stamp = stamp
        except (OSError, Unreadable) as error:
            self._stamp, self._tokens = (), None
            print(f"[millrace] {self._path} cannot be read, nobody is let in: {error}", file=sys.stderr, flush=True)
