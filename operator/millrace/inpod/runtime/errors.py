"""The one exception of the runtime."""

from __future__ import annotations

from millrace import protocol


class RuntimeFault(Exception):
    """The pod is not as the contract says, or the runtime itself has a fault: exit code 249, RuntimeError."""

    exit_code = protocol.EXIT_RUNTIME_ERROR
