"""Why stage, collect or probe ends without having done its work."""

from __future__ import annotations

from millrace import protocol


class Fault(Exception):
    """An expected end: exit code, reason and a message for people; `about` names the input or output, if one is to blame;
    `logs` says where the container's own log was archived.
    """

    def __init__(self, exit_code: int, message: str, *, reason: str | None = None, about: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.reason = reason or protocol.REASONS[exit_code]
        self.message = message
        self.about = about
        self.logs: str | None = None
