"""What exit code and reason a run gets."""

from __future__ import annotations

import pytest

from millrace import protocol
from millrace.inpod.runtime.record import termination_message, timestamp
from millrace.inpod.runtime.verdict import Stop, Verdict, judge, last_error

HEAD = "Traceback (most recent call last):\n"


def exited(code: int) -> int:
    return code << 8


@pytest.mark.parametrize("status", [exited(0), exited(3), 9])
@pytest.mark.parametrize("code", [243, 244, 245])
def test_whatever_stopped_user_code_decides(status: int, code: int) -> None:
    verdict = judge(status, Stop(code, "because"), 1, "", "")
    assert (verdict.exit_code, verdict.reason, verdict.message) == (code, protocol.REASONS[code], "because")


@pytest.mark.parametrize(
    ("status", "kills", "expected"),
    [
        (exited(0), 0, (0, "Completed")),
        (exited(0), 3, (0, "Completed")),  # user code coped with it
        (exited(1), 0, (1, "UserError")),
        (exited(1), 1, (137, "OOMKilled")),
        (9, 1, (137, "OOMKilled")),
        (9, 0, (137, "UserError")),
        (11, 1, (139, "UserError")),
        (exited(242), 0, (1, "UserError")),
        (exited(240), 0, (1, "UserError")),
    ],
)
def test_a_child_that_ended_by_itself(status: int, kills: int, expected: tuple[int, str]) -> None:
    verdict = judge(status, None, kills, "", "")
    assert (verdict.exit_code, verdict.reason) == expected


def test_a_report_counts_only_with_its_exit_codes() -> None:
    for code, reason in ((240, "HandlerNotFound"), (241, "ParameterMismatch"), (239, "ReturnRejected")):
        verdict = judge(exited(code), None, 0, "why", "")
        assert (verdict.exit_code, verdict.reason, verdict.message) == (code, reason, "why")
    assert judge(exited(3), None, 0, "no handler", "").message == "user code exited with 3"


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("", ""),
        ("\n\n", ""),
        ("warning\nlast words\n\n", "last words"),
        ("Traceback (most recent call last):\n  File\n    x\nValueError: a\nb\n", "ValueError: a"),
        (f"{HEAD}  F\nKeyError: 1\n\nDuring that:\n\n{HEAD}  F\nE: 2\n", "E: 2"),
        ("Traceback (most recent call last):\n  File\n", 'File'),
    ],
)  # fmt: skip
def test_the_line_that_names_the_error(stderr: str, expected: str) -> None:
    assert last_error(stderr) == expected


@pytest.mark.parametrize("tail", ["", "✓" * 3000, "\x00" * 2048, '\\"' * 4000, "a" * 10_000])
@pytest.mark.parametrize("message", ["", "💥" * 1000, "\x01" * 1000])
def test_a_termination_message_fits(tail: str, message: str) -> None:
    import json

    data = termination_message(Verdict(1, "UserError", message), tail)
    assert len(data) <= 4096
    body = json.loads(data)
    assert tail.endswith(body["logTail"])
    assert message.startswith(body["message"])
    assert len(data) > 4000 or body["logTail"] == tail


def test_times_are_rfc_3339() -> None:
    assert timestamp(1_700_000_000.1239) == "2023-11-14T22:13:20.123Z"
