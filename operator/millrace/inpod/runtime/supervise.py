"""Process 1's loop: reaps, forwards signals, enforces deadlines, watches the scratch space, until the child is over."""

from __future__ import annotations

import os
import select
import signal
import time

from millrace import protocol
from millrace.inpod.runtime.launch import Child
from millrace.inpod.runtime.scratch import Scratch
from millrace.inpod.runtime.verdict import Stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
FULL_SECONDS = 1.0  # between SIGTERM and SIGKILL when the scratch space is full: 5 % of it are left


class Signals:
    """Signals of this process as bytes in a pipe, so that poll wakes for them.

    Made first of all: the kernel does not deliver to process 1 a signal that it has no handler for. Those that came before
    were blocked by the first line that this process has run (bundle.py).
    """

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self.stops: list[int] = []
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.stops.append(number)

    def wait(self, seconds: float) -> None:
        """Return at the next signal, or after so long."""
        if self._poll.poll(min(max(seconds, 0.0), 3600.0) * 1000.0):
            try:
                os.read(self._read, 512)
            except BlockingIOError:
                pass


class Supervisor:
    """The child, and what may end it.

    running: seconds until the deadline, or None. stop: seconds between SIGTERM and SIGKILL.
    """

    def __init__(self, child: Child, signals: Signals, scratch: Scratch, running: float | None, stop: float) -> None:
        self._child = child
        self._signals = signals
        self._scratch = scratch
        self._stop_seconds = stop
        self._running = running
        self._deadline = time.monotonic() + running if running is not None else float("inf")
        self._kill_at = float("inf")
        self._forwarded = 0
        self.stop: Stop | None = None

    def run(self) -> int:
        """Until the child is over; its status as waitpid gives it."""
        while True:
            self._act()
            status = self._reap()
            # A signal that came before we saw the end came before the end: `_act` looks once more.
            if status is not None:
                self._act()
                return status
            now = time.monotonic()
            self._signals.wait(min(self._deadline, self._kill_at, self._scratch.next_step) - now)

    def _reap(self) -> int | None:
        """The child's status if it is over; orphans' zombies are reaped on the way."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == self._child.pid:
                    self._child.over = True
                    return status
                if pid == 0:
                    return None
        except ChildProcessError:
            return int(signal.SIGKILL)  # cannot be; as if it had died of SIGKILL

    def _act(self) -> None:
        now = time.monotonic()
        for number in self._signals.stops[self._forwarded :]:
            self._forwarded += 1
            name = signal.Signals(number).name
            self._end(protocol.EXIT_TERMINATED, f"stopped by {name}", self._stop_seconds, number)
        if now >= self._deadline:
            self._deadline = float("inf")
            message = f"user code ran longer than {self._running:g} s"
            self._end(protocol.EXIT_DEADLINE_EXCEEDED, message, self._stop_seconds)
        if self._scratch.step():
            self._scratch.next_step = float("inf")
            message = f"{self._scratch.used} of {self._scratch.limit:.0f} bytes of scratch space are used"
            self._end(protocol.EXIT_SCRATCH_FULL, message, FULL_SECONDS)
        if now >= self._kill_at:
            self._kill_at = float("inf")
            self._child.signal(signal.SIGKILL)

    def _end(self, exit_code: int, message: str, seconds: float, number: int = signal.SIGTERM) -> None:
        """Tell user code to stop; the first cause is the one that counts."""
        if self.stop is None:
            self.stop = Stop(exit_code, message)
        self._kill_at = min(self._kill_at, time.monotonic() + seconds)
        self._child.signal(number)
