"""What the command line says when it cannot go on, and the exit codes."""

from __future__ import annotations

OK = 0
FAILED = 1
REFUSED = 2
CANCELLED = 3
TIMEOUT = 124
INTERRUPTED = 130


class Refused(Exception):
    """Something a person has to know: `message` says what failed, `hints` what to do. Printed without a traceback."""

    def __init__(self, message: str, *hints: str, code: int = REFUSED) -> None:
        super().__init__(message)
        self.message, self.hints, self.code = message, hints, code

    def __str__(self) -> str:
        """What a program shows that lets it pass."""
        return "\n  ".join((self.message, *self.hints))
