"""Starts user code in a session of its own, with pipes for its output and none of our descriptors."""

from __future__ import annotations

import os
import signal
import sys

from millrace.inpod.runtime.files import write_all
from millrace.inpod.runtime.paths import here
from millrace.inpod.runtime.plan import Plan, arguments, parameters

CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
CALL_FD = 3  # where the child finds its call; the first after the standard streams
START_FAILED = 127  # as a shell says it
REPORT_LIMIT = 4096


class Child:
    """User code's process: its id, which is its group's too, and the read ends of its output."""

    def __init__(self, pid: int, stdout: int, stderr: int, call: int | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.over = False  # reaped: its id may be somebody else's by now
        self._call = call

    def report(self) -> str:
        """What the child wrote: why it gave up, or what it knows of the tables that were returned."""
        if self._call is None:
            return ""
        data = os.pread(self._call, REPORT_LIMIT, 0)
        return data.decode("utf-8", "replace")

    def signal(self, number: int) -> None:
        """Send a signal to the child's whole group."""
        if self.over:
            return
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):  # nobody left, or between fork and setsid
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                pass


def start(plan: Plan, env: dict[str, str], scratch: str) -> Child:
    """Fork and execute; `scratch` is a folder for the call's file, which has no name by the time the child runs.

    Raises OSError when pipes or processes have run out. The caller has no other thread yet.
    """
    call = None
    if plan.handler:
        call = _call_file(plan, scratch)
        command = [sys.executable, "-u", CHILD, str(CALL_FD)]
    else:
        command = [sys.executable, "-u", os.path.join(plan.source or "", plan.script or "")]
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become(command, env, plan.source, (out_write, err_write, call))
    os.close(out_write)
    os.close(err_write)
    return Child(pid, out_read, err_read, call)


def _call_file(plan: Plan, scratch: str) -> int:
    import marshal

    call = {
        "handler": plan.handler if ":" in (plan.handler or "") else f"main:{plan.handler}",
        "parameters": parameters(plan, os.environ),
        "inputs": arguments(plan),
        "source": plan.source,
        "outputs": {item["name"]: {**item, "path": here(item["path"])} for item in plan.outputs},
    }
    path = os.path.join(scratch, f".call-{os.getpid()}")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.unlink(path)
    write_all(fd, marshal.dumps(call))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _become(command: list[str], env: dict[str, str], cwd: str | None, fds: tuple[int, int, int | None]) -> None:
    """In the child: streams, session, signals, working directory, then exec. Never returns."""
    try:
        os.setsid()
        out, err, call = fds
        stdin = os.open(os.devnull, os.O_RDONLY)
        wanted = [stdin, out, err] + ([call] if call is not None else [])
        high = [os.dup(fd) for fd in wanted]  # first away from the numbers that they shall have
        high = [fd if fd > CALL_FD else _dup_above(fd) for fd in high]
        for number, fd in enumerate(high):
            os.dup2(fd, number)
        # Python ignores these, and exec hands that on; the mask and the handlers start from nothing.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if cwd and os.path.isdir(cwd):
            os.chdir(cwd)
        os.execve(command[0], command, env)  # noqa: S606
    except BaseException as error:  # noqa: BLE001 - this process must not go on as a second supervisor
        os.write(2, f"[millrace] user code cannot be started: {error}\n".encode())
    finally:
        os._exit(START_FAILED)


def _dup_above(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, CALL_FD + 1)
