"""Where the paths of the contract are on this machine.

In a pod they are what millrace.protocol says. Tests and local runs set MILLRACE_ROOT to a folder that takes the place of
`/` for every path of the contract: /millrace/in is $MILLRACE_ROOT/millrace/in, and so for /tmp and /dev/termination-log.
The variable is not handed on to user code.
"""

from __future__ import annotations

import os

from millrace import protocol

ROOT_VARIABLE = protocol.RESERVED_PREFIX + "ROOT"


def root() -> str:
    """The folder that stands for `/`, without a slash at its end: empty in a pod."""
    return os.environ.get(ROOT_VARIABLE, "").rstrip("/")


def here(path: str) -> str:
    """The path of the contract as this process reaches it."""
    return root() + path


def termination_log(container: str) -> str:
    """The container's termination log; below MILLRACE_ROOT each container has a file of its own."""
    return here(protocol.TERMINATION_LOG) + ("-" + container if root() else "")
