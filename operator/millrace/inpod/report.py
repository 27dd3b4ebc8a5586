"""What stage and collect say: a log on stdout and in a file, and the termination message. Neither holds a credential."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.runtime.files import write_all
from millrace.inpod.runtime.paths import termination_log

MESSAGE_CHARACTERS = 1500
URL_USER = re.compile(r"(://)[^/@\s]+@")  # https://user:password@host
CREDENTIAL = re.compile(rf"^{protocol.RESERVED_PREFIX}STORE_\d+_|^{protocol.NOTIFY_URL_VARIABLE}$")
SHORTEST_SECRET = 4  # shorter values would blacken ordinary words


def redact(text: str) -> str:
    """The text without this process's store keys and without the user part of addresses."""
    for name, value in os.environ.items():
        if CREDENTIAL.match(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return URL_USER.sub(r"\1***@", text)


class Log:
    """Lines with the time, on stdout and at the end of a file. Safe from several threads."""

    def __init__(self, path: str) -> None:
        self._lock = threading.Lock()
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd: int | None = os.open(path, flags, 0o644)
        except OSError:
            self._fd = None  # a full or missing volume: stdout has it all

    def __call__(self, text: str) -> None:
        """Write one line, or several."""
        stamp = time.strftime("%H:%M:%S", time.gmtime())
        data = "".join(f"{stamp} {line}\n" for line in redact(text).splitlines()).encode("utf-8", "replace")
        with self._lock:
            for fd in (1, self._fd):
                if fd is not None:
                    try:
                        write_all(fd, data)
                    except OSError:
                        pass


def write_failure(container: str, fault: Fault, about: str) -> int:
    """Say why it failed, in the termination message and on stderr; the exit code. about: `input` or `output`."""
    body: dict[str, Any] = {"reason": fault.reason, "message": redact(fault.message)[:MESSAGE_CHARACTERS]}
    if fault.about is not None:
        body[about] = fault.about
    if fault.logs is not None:
        body["logs"] = fault.logs
    write_termination(container, body)
    _complain(f"{fault.reason}: {body['message']}")
    return fault.exit_code


def write_bug(container: str, error: BaseException) -> int:
    """An exception that nobody expects: traceback on stderr, RuntimeError in the termination message; the exit code."""
    import traceback

    _complain(redact("".join(traceback.format_exception(error))))
    return write_failure(container, Fault(protocol.EXIT_RUNTIME_ERROR, repr(error)), "input")


def _complain(text: str) -> None:
    """On stderr, unbuffered: this may be a signal handler."""
    with contextlib.suppress(OSError):
        write_all(2, f"{text}\n".encode("utf-8", "replace"))


def write_termination(container: str, body: dict[str, Any], lists: tuple[str, ...] = ()) -> None:
    """The termination message, at most 4,096 bytes; what is too long loses the ends of its `lists`, the first one first.

    `omitted` then says how many entries are missing in all.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        fd = os.open(termination_log(container), flags, 0o644)
    except OSError as error:
        _complain(f"no termination message: {error}")
        return
    try:
        write_all(fd, _fit(body, lists))
    finally:
        os.close(fd)


def _fit(body: dict[str, Any], lists: tuple[str, ...]) -> bytes:
    body = {key: list(value) if key in lists else value for key, value in body.items()}
    for name in lists:
        while body.get(name) and len(_json(body)) > protocol.TERMINATION_LOG_BYTES:
            body[name].pop()
            body["omitted"] = body.get("omitted", 0) + 1
    data = _json(body)
    while len(data) > protocol.TERMINATION_LOG_BYTES:  # nothing but one long text is left
        longest = max((key for key in body if isinstance(body[key], str)), key=lambda key: len(body[key]))
        body[longest] = body[longest][: len(body[longest]) // 2]
        data = _json(body)
    return data


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
