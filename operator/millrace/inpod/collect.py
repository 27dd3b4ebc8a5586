"""Container `collect`: waits until main is over, whatever ended it; then a worker publishes the outputs and the logs.

This is the supervisor. It stays small and does nothing that can fail for lack of memory: the worker is a fork of it that
may be killed and is then started again, until limits.uploading is over. The worker is forked at once, so that it has
imported what it needs and opened the stores by the time that main is over.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, limit, load_plan
from millrace.inpod.report import write_bug, write_failure
from millrace.inpod.runtime.files import Folder, read_file, write_all
from millrace.inpod.runtime.paths import here
from millrace.inpod.runtime.seal import KEY_BYTES, RECORD_LIMIT, unseal

POLL_SECONDS = 0.02
NEVER_STARTED_SECONDS = 2.0  # after SIGTERM; main gets it at the same time, and is there by then or never
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0  # before a crashed worker is started again
LATE_SECONDS = 30.0  # after the deadline the worker itself gives up: it aborts its uploads and archives the logs
WORD_SECONDS = 2.0  # before the end of the grace period, to say how far it came
LOOK_SECONDS = 5.0  # between looks at the clock, which SIGTERM may have moved
BUG = 70  # exit code of a worker that met an exception nobody expects
BUGS_ALLOWED = 3


def main() -> int:
    """Collect; the exit code: 0 also when main failed, since the kubelet has main's own."""
    try:
        plan = load_plan()
        supervisor = Supervisor(plan)
        supervisor.start_worker()
        wait_for_start(supervisor)
        wait_for_end()
        return supervisor.run(read_outcome())
    except Fault as fault:
        return write_failure(protocol.COLLECT, fault, "output")
    except OSError as error:
        return write_failure(protocol.COLLECT, Fault(protocol.EXIT_RUNTIME_ERROR, str(error)), "output")


def wait_for_start(supervisor: Supervisor) -> None:
    """Until main has begun: it holds the lock, or has written a file in `run` (it may be over by now).

    Raises Fault Terminated when the pod is told to stop and main never came.
    """
    traces = [here(protocol.STARTED_FILE), here(protocol.EXIT_FILE)]
    fd = _open_lock()
    try:
        while not any(os.path.lexists(path) for path in traces) and not _is_held(fd):
            told = supervisor.terminated
            if told is not None and time.monotonic() > told + NEVER_STARTED_SECONDS:
                raise Fault(protocol.EXIT_TERMINATED, "stopped by SIGTERM before main had started")
            time.sleep(POLL_SECONDS)
    finally:
        os.close(fd)


def wait_for_end() -> None:
    """Until process 1 of main is gone: it holds the lock from before user code starts to its own end."""
    fd = _open_lock()
    fcntl.flock(fd, fcntl.LOCK_SH)  # goes on when a signal comes: the handler returns
    os.close(fd)


def _open_lock() -> int:
    return os.open(here(protocol.LOCK_FILE), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_held(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def read_outcome() -> Json | None:
    """The sealed exit record; None when it is missing or forged, which is a failure: process 1 was killed."""
    key = read_file(here(protocol.SEAL_KEY_FILE), KEY_BYTES)
    try:
        record = Folder(here(protocol.RUN_DIR)).read(os.path.basename(protocol.EXIT_FILE), RECORD_LIMIT)
    except OSError:
        return None
    return unseal(record, key)


class Supervisor:
    """Keeps a worker at work until it is done or the time is over."""

    def __init__(self, plan: Json) -> None:
        self._plan = plan
        self._pid = 0
        self._order = -1  # write end of the pipe through which the worker hears what became of main
        self.terminated: float | None = None
        signal.signal(signal.SIGTERM, self._terminate)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # kept for sigtimedwait

    def _terminate(self, *_: Any) -> None:
        """SIGTERM comes to all containers at once: main ends user code, we publish what its end allows."""
        self.terminated = self.terminated or time.monotonic()

    def start_worker(self) -> None:
        """Fork the worker; it waits for `run`."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            _work(self._plan, read)
        os.close(read)
        self._pid, self._order = pid, write

    def run(self, outcome: Json | None) -> int:
        """Let the worker publish, again and again if it crashes. Raises Fault UploadFailed when the time is over."""
        end = time.monotonic() + limit(self._plan, "uploading")
        pause, bugs, again = FIRST_PAUSE, 0, False
        while True:
            status = self._let_work(outcome, end, again=again)
            again = True
            code = os.waitstatus_to_exitcode(status)
            if code >= 0 and code != BUG:
                return code
            bugs += code == BUG
            if bugs >= BUGS_ALLOWED:
                return protocol.EXIT_RUNTIME_ERROR  # the worker has said why
            ended = f"the worker was killed by signal {-code}" if code < 0 else "the worker failed"
            if time.monotonic() + pause > self._end(end):
                raise Fault(protocol.EXIT_UPLOAD_FAILED, f"{ended} until limits.uploading was over")
            print(f"{ended}; the next one starts in {pause:g} s", flush=True)
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
            self.start_worker()

    def _let_work(self, outcome: Json | None, end: float, *, again: bool) -> int:
        """Give the order and wait; the worker's status. One that does not see the end by itself is killed."""
        order = json.dumps({"outcome": outcome, "deadline": end, "again": again}).encode()
        try:
            write_all(self._order, order)
        except BrokenPipeError:
            pass  # it died while it waited; its status says so
        os.close(self._order)
        while True:
            seconds = self._kill_at(end) - time.monotonic()
            if seconds <= 0:
                os.kill(self._pid, signal.SIGKILL)
            pid, status = os.waitpid(self._pid, 0 if seconds <= 0 else os.WNOHANG)
            if pid:
                return status
            signal.sigtimedwait([signal.SIGCHLD], min(seconds, LOOK_SECONDS))

    def _end(self, end: float) -> float:
        """The deadline; after SIGTERM also that of the pod's grace period, which the worker does not know."""
        if self.terminated is None:
            return end
        grace = protocol.STOP_SECONDS + min(limit(self._plan, "uploading"), protocol.GRACE_UPLOAD_SECONDS)
        return min(end, self.terminated + grace - WORD_SECONDS)

    def _kill_at(self, end: float) -> float:
        return end + LATE_SECONDS if self.terminated is None else min(end + LATE_SECONDS, self._end(end))


def _work(plan: Json, order: int) -> None:
    """In the fork: never returns."""
    code = BUG
    try:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        from millrace.inpod.worker import work

        code = work(plan, order)
    except BaseException as error:  # noqa: BLE001 - the supervisor starts it again
        write_bug(protocol.COLLECT, error)
    finally:
        os._exit(code)
