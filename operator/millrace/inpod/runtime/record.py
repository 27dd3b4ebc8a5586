"""What process 1 leaves behind: the sealed exit record for collect, the termination message for the kubelet."""

from __future__ import annotations

import json
import os
import sys
import time

from millrace import protocol
from millrace.inpod.runtime.files import Folder, write_all
from millrace.inpod.runtime.paths import termination_log
from millrace.inpod.runtime.seal import seal
from millrace.inpod.runtime.verdict import Verdict


def timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03d}Z"


def write(verdict: Verdict, tail: str, began: float, run: Folder | None, key: bytes | None) -> Verdict:
    """Record and termination message; the verdict that holds.

    A success that cannot be recorded is none: collect would publish nothing.
    """
    body: dict[str, object] = {
        "exitCode": verdict.exit_code,
        "reason": verdict.reason,
        "message": verdict.message,
        "started": timestamp(began),
        "exited": timestamp(time.time()),
        "logTail": tail,
    }
    if verdict.tables:
        body["tables"] = verdict.tables
    try:
        if run is not None:
            run.write("exit.json", seal(body, key or b""))
    except OSError as error:
        print(f"[millrace] the exit record cannot be written: {error}", file=sys.stderr)
        if verdict.exit_code == 0 and key is not None:
            code = protocol.EXIT_RUNTIME_ERROR
            verdict = Verdict(code, protocol.REASONS[code], f"the exit record cannot be written: {error}")
    write_termination(verdict, tail)
    return verdict


def write_termination(verdict: Verdict, tail: str, path: str | None = None) -> None:
    """The termination message; without the file (a local run) nothing. path: where user code has changed the environment."""
    message = termination_message(verdict, tail)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path or termination_log(protocol.MAIN), flags, 0o644)
        try:
            write_all(fd, message)
        finally:
            os.close(fd)
    except OSError:
        pass  # the kubelet has the exit code


def termination_message(verdict: Verdict, tail: str) -> bytes:
    """JSON of at most 4,096 bytes: as much of the end of the log as fits, cut on a character boundary."""
    body = {"reason": verdict.reason, "message": verdict.message, "exitCode": verdict.exit_code, "logTail": tail}
    while True:
        data = _json(body)
        over = len(data) - protocol.TERMINATION_LOG_BYTES
        if over <= 0:
            return data
        longest = "logTail" if body["logTail"] else "message"
        text = str(body[longest])
        # A character makes at most six bytes of JSON, so this never cuts too much and soon ends.
        cut = max(over // 6, 1)
        body[longest] = text[cut:] if longest == "logTail" else text[:-cut]


def _json(body: dict[str, object]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
