"""docs/failure-reasons.md names every reason that the code can give, and none that it cannot."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from millrace.data import errors
from millrace.domain.reasons import Reason

PAGE = Path(__file__).resolve().parents[3] / "docs" / "failure-reasons.md"
# The kubelet's own words, handed on.
KUBELET = {"OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity", "NodeShutdown", "NodePorts", "UnexpectedAdmissionError"}
KNOWN = set(map(str, Reason)) | set(get_args(errors.Reason))


def documented() -> set[str]:
    """The first cells of the page's tables, and the words of its lists."""
    text = PAGE.read_text()
    cells = re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", text, re.MULTILINE)
    assert cells
    return set(cells) | {word for word in re.findall(r"`([A-Z][A-Za-z]+)`", text) if word in KUBELET | {Reason.VALID}}


def test_every_reason_has_its_line() -> None:
    assert KNOWN - documented() == set()


def test_no_line_is_about_a_reason_that_is_not_there() -> None:
    assert documented() - KNOWN - KUBELET == set()


def test_no_reason_has_two_lines_in_one_table() -> None:
    for section in PAGE.read_text().split("\n## "):
        cells = re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", section, re.MULTILINE)
        assert len(cells) == len(set(cells)), section.splitlines()[0]
