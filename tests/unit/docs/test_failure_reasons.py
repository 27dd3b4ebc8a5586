"""docs/failure-reasons.md names every reason that the code can give, and none that it cannot."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from millrace import protocol
from millrace.data.errors import Reason
from millrace.observe import failure
from millrace.runtime import execute

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = ROOT / "operator" / "millrace"
PAGE = ROOT / "docs" / "failure-reasons.md"
LAYERS = ("domain", "observe", "reconcile", "runtime")

CAMEL = re.compile(r"[A-Z][A-Za-z]+")
# Calls that state a reason, and the place of it among their arguments; `reason=` counts everywhere.
PLACES = {"Failure": 0, "Obstacle": 0, "_end": 2, "note": 2, "wait": 2, "EndJob": 3}
READINGS = {"ContainerFacts"}  # what Kubernetes says, not we
# Texts at these places that are no reasons of a run that waits or has failed.
PHASES = {"Resolved", "Admitted", "Started", "Succeeded"}
# The kubelet's own words, handed on; and what is only said inside of the pod.
KUBELET = {"OutOfcpu", "OutOfmemory", "OutOfpods", "NodeAffinity", "NodeShutdown", "NodePorts", "UnexpectedAdmissionError"}
INSIDE = {"Terminated"}


def stated() -> Iterator[str]:
    """Reasons that stand as text in the calls that state one."""
    for layer in LAYERS:
        for path in sorted((PACKAGE / layer).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    yield from _of_call(node)
                elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and node.value.elts:
                    yield from _texts(node.value.elts[0])  # (reason, message)


def _of_call(call: ast.Call) -> Iterator[str]:
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name in READINGS:
        return
    places = [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
    if name in PLACES and len(call.args) > PLACES[name]:
        places.append(call.args[PLACES[name]])
    for place in places:
        yield from _texts(place)


def _texts(expression: ast.expr) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CAMEL.fullmatch(node.value):
            yield node.value


def known() -> set[str]:
    """All reasons of the code."""
    tables = (failure.WAITING, failure.DISRUPTIONS, failure.OWN_CODES, execute.EVENTS)
    found = {reason for table in tables for reason in table.values()} | {reason for _, reason in execute.EVENT_REASONS}
    found |= set(protocol.REASONS.values()) | {protocol.REASON_USER_ERROR, protocol.REASON_OOM_KILLED}
    return (found | set(stated()) | set(get_args(Reason))) - PHASES - INSIDE


def documented() -> set[str]:
    """The first cells of the page's tables, and the words of its lists."""
    text = PAGE.read_text()
    cells = re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", text, re.MULTILINE)
    assert cells
    return set(cells) | {word for word in re.findall(r"`([A-Z][A-Za-z]+)`", text) if word in KUBELET | {"Valid"}}


def test_the_source_of_reasons_is_found() -> None:
    """The walk sees calls of each layer; were one renamed, the next test would pass for nothing."""
    assert {"FunctionNotFound", "NodeLost", "NameTaken", "JobDeleted", "Killed", "Unschedulable", "Starting"} <= known()


def test_every_reason_has_its_line() -> None:
    assert known() - documented() == set()


def test_no_line_is_about_a_reason_that_is_not_there() -> None:
    assert documented() - known() - KUBELET == set()


def test_no_reason_has_two_lines_in_one_table() -> None:
    for section in PAGE.read_text().split("\n## "):
        cells = re.findall(r"^\| `([A-Z][A-Za-z]+)` \|", section, re.MULTILINE)
        assert len(cells) == len(set(cells)), section.splitlines()[0]
