"""Named points between the steps of publishing at which a test may end or hold the process. Without the variable they
do nothing.

MILLRACE_FAILPOINT=NAME=ACTION: `kill` is SIGKILL, `exit` is os._exit(99). `hold:FILE` makes the file and waits until it is
removed; who finds it there goes on, so that of a process and those after it only the first is held.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

VARIABLE = "MILLRACE_FAILPOINT"


def failpoint(name: str) -> None:
    """Does what the variable says for this name."""
    wanted, _, action = os.environ.get(VARIABLE, "").partition("=")
    if wanted != name:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "exit":
        os._exit(99)
    elif action.startswith("hold:"):
        _hold(Path(action.removeprefix("hold:")))


def _hold(file: Path) -> None:
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return
    while file.exists():
        time.sleep(0.02)
