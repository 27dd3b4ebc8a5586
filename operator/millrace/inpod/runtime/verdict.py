"""What became of user code: exit code, reason, message. Pure."""

from __future__ import annotations

import os

from millrace import protocol

COMPLETED = protocol.REASON_COMPLETED
MESSAGE_CHARACTERS = 1000
SIGKILL = 9
CHILDS = (protocol.EXIT_HANDLER_NOT_FOUND, protocol.EXIT_PARAMETER_MISMATCH, protocol.EXIT_RETURN_REJECTED)  # with a report


class Verdict:
    """exit_code is that of process 1; tables: what is known of those that were returned, by output."""

    def __init__(self, exit_code: int, reason: str, message: str = "") -> None:
        self.exit_code = exit_code
        self.reason = reason
        self.message = message[:MESSAGE_CHARACTERS]
        self.tables: dict[str, object] = {}


class Stop:
    """Why user code was told to stop; the first cause counts."""

    def __init__(self, exit_code: int, message: str) -> None:
        self.exit_code = exit_code
        self.message = message


def judge(status: int, stop: Stop | None, oom_kills: int, report: str, stderr_tail: str) -> Verdict:
    """The verdict over a child.

    status: as waitpid gives it. stop: why it was told to stop, if it was. oom_kills: processes that the kernel killed for
    lack of memory meanwhile. report: what the handler's child says of its arguments. stderr_tail: the end of its stderr.
    """
    if stop is not None:
        return Verdict(stop.exit_code, protocol.REASONS[stop.exit_code], stop.message)
    if os.WIFSIGNALED(status):
        return _signalled(os.WTERMSIG(status), oom_kills)
    code = os.WEXITSTATUS(status)
    if code == 0:
        return Verdict(0, COMPLETED)
    if oom_kills:
        # The child saw one of its own processes die and gave up.
        return Verdict(137, protocol.REASON_OOM_KILLED, f"{_killed(oom_kills)}; user code then exited with {code}")
    if code in CHILDS and report:
        return Verdict(code, protocol.REASONS[code], report)
    if code in protocol.OWN_EXIT_CODES:
        message = f"user code exited with {code}, which is reserved; it counts as 1"
        return Verdict(1, protocol.REASON_USER_ERROR, message)
    return Verdict(code, protocol.REASON_USER_ERROR, last_error(stderr_tail) or f"user code exited with {code}")


def _signalled(number: int, oom_kills: int) -> Verdict:
    if number == SIGKILL and oom_kills:
        return Verdict(137, protocol.REASON_OOM_KILLED, _killed(oom_kills))
    import signal

    try:
        name = signal.Signals(number).name
    except ValueError:
        name = "a real-time signal"
    return Verdict(128 + number, protocol.REASON_USER_ERROR, f"user code was killed by signal {number} ({name})")


def _killed(count: int) -> str:
    return "a process was killed for lack of memory" if count == 1 else f"{count} processes were killed for lack of memory"


def last_error(stderr: str) -> str:
    """The line of the last traceback that names the error; else the last line that is not empty."""
    lines = [line.rstrip() for line in stderr.splitlines() if line.strip()]
    starts = [at for at, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")]
    if starts:
        for line in lines[starts[-1] + 1 :]:
            if not line.startswith(" "):
                return line
    return lines[-1].strip() if lines else ""
