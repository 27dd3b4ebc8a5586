"""Named points between the steps of publishing at which a test may end or hold the process. Without the variable they
do nothing.

MILLRACE_FAILPOINT=NAME=ACTION: `kill` is SIGKILL, `exit` is os._exit(99), `sleep:SECONDS` holds the step.
"""

from __future__ import annotations

import os
import signal
import time

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
    elif action.startswith("sleep:"):
        time.sleep(float(action.removeprefix("sleep:")))
