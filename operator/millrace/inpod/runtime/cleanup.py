"""Ends what user code left behind: daemons that would hold the pod's output, or write outputs after the verdict."""

from __future__ import annotations

import os
import signal
import time

from millrace.inpod.runtime.files import read_file

BOUND = 5.0  # seconds; a process in an uninterruptible call may outlive SIGKILL


def end_leftovers(group: int) -> None:
    """SIGKILL to all processes of user code, and reap them.

    As process 1 of a PID namespace that is every other process. Elsewhere (local runs) it is the child's group and whatever
    the kernel has handed to us as the nearest subreaper.
    """
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        try:
            if os.getpid() == 1:
                os.kill(-1, signal.SIGKILL)
            else:
                _kill_others(group)
        except ProcessLookupError:
            pass
        if not _reap():
            return
        time.sleep(0.002)


def _kill_others(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    for pid in _children():
        os.kill(pid, signal.SIGKILL)


def _children() -> list[int]:
    """Our children, orphans that came to us included; empty where there is no /proc."""
    try:
        return [int(pid) for pid in read_file(f"/proc/self/task/{os.getpid()}/children", 65536).split()]
    except OSError:
        return []


def _reap() -> bool:
    """Collect what is over; true while there are children left."""
    try:
        while True:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
    except ChildProcessError:
        return False
