"""What is done about a Function."""

from __future__ import annotations

import pytest

from fixtures.objects import REVISION, SETTINGS, at, condition, function, stamp, status_writes
from millrace.reconcile.function import FunctionSnapshot, reconcile_function
from unit.reconcile.cases import short

READY = {"observedGeneration": 1, "revision": REVISION, "conditions": [condition("Ready", "True", "Valid")]}
HERE = {REVISION: "uid-1"}


def seen(
    subject: object = None, revisions: dict[str, str] | None = None, in_use: frozenset[str] = frozenset()
) -> FunctionSnapshot:
    return FunctionSnapshot(subject or function(), revisions or {}, in_use, SETTINGS, at(0))  # type: ignore[arg-type]


CASES: dict[str, tuple[FunctionSnapshot, str | None, tuple[str, ...]]] = {
    "a new function": (seen(), "Valid", (f"Create ConfigMap {REVISION}",)),
    "its revision is there": (seen(revisions=HERE), "Valid", ()),
    "all is said and done": (seen(function(status=READY), HERE), None, ()),
    "its revision was deleted": (seen(function(status=READY)), None, (f"Create ConfigMap {REVISION}",)),
    "an older revision that nobody uses": (
        seen(function(status=READY), {**HERE, "heart-old": "uid-0"}),
        None,
        ("Delete heart-old",),
    ),
    "an older revision that a run still uses": (
        seen(function(status=READY), {**HERE, "heart-old": "uid-0"}, frozenset({"heart-old"})),
        None,
        (),
    ),
    "a new revision, and a run may be about to start with the old one": (
        seen(revisions={"heart-old": "uid-0"}),
        "Valid",
        (f"Create ConfigMap {REVISION}",),
    ),
    "a Python that is not offered": (seen(function(pythonVersion="3.9")), "PythonVersionNotOffered", ()),
    "a Python that was not offered and is now": (
        seen(
            function(
                status={"observedGeneration": 1, "conditions": [condition("Stalled", "True", "PythonVersionNotOffered")]}
            ),
            HERE,
        ),
        "Valid",
        (),
    ),
    "being deleted": (seen(function(meta={"deletionTimestamp": stamp(0)})), None, ()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_done(name: str) -> None:
    shot, reason, does = CASES[name]
    plan = reconcile_function(shot)
    assert tuple(text for action in plan.actions if (text := short(action))) == does
    if reason is None:
        assert status_writes(plan) == []
    else:
        [status] = status_writes(plan)
        conditions = {found["type"]: found for found in status["conditions"]}
        assert conditions["Ready"]["reason"] == reason
        assert conditions["Ready"]["status"] == str(reason == "Valid")
        if "Stalled" in conditions:
            assert (conditions["Stalled"]["reason"], conditions["Stalled"]["status"]) == (reason, str(reason != "Valid"))
        assert reason == "Valid" or "Stalled" in conditions, "kstatus would wait for it"
        assert ("revision" in status) == (reason == "Valid")


def test_a_superseded_revision_is_looked_at_again() -> None:
    assert reconcile_function(seen(revisions={"heart-old": "uid-0"})).again == 60
