"""What is done about a Function."""

from __future__ import annotations

import hashlib

import pytest

from fixtures.objects import REVISION, SETTINGS, at, condition, function, stamp, status_writes
from millrace.reconcile.function import FunctionSnapshot, reconcile_function
from millrace.reconcile.plan import NOTHING, Delete, Plan
from unit.reconcile.cases import short

ZIP = {"uri": "lake/paths/code.zip", "sha256": "5" * 64}
READY = {
    "observedGeneration": 1,
    "revision": REVISION,
    "source": {"sha256": hashlib.sha256(b"def main(): ...").hexdigest()},
    "conditions": [condition("Ready", "True", "Valid")],
}
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
    "a zip source whose reference is none": (
        seen(function(source={"zip": {"uri": "hdfs://name/code.zip"}})),
        "ReferenceRejected",
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


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ({"inline": "pass"}, {"sha256": hashlib.sha256(b"pass").hexdigest()}),
        ({"zip": ZIP}, {"sha256": "5" * 64}),
        ({"zip": {"uri": ZIP["uri"]}}, None),
    ],
)
def test_the_status_says_which_code_it_is_as_far_as_the_manifest_says_it(
    source: dict[str, object], known: dict[str, str] | None
) -> None:
    before = {"source": {"sha256": "0" * 64}}
    [status] = status_writes(reconcile_function(seen(function(source=source, status=before))))
    assert status["source"] == known


def test_old_revisions_are_looked_at_until_the_last_that_needs_one_is_over() -> None:
    both = {**HERE, "heart-old": "uid-0"}
    assert reconcile_function(seen(revisions=both)).again == 60, "a run may be about to start with it"
    ready = function(status=READY)
    assert reconcile_function(seen(ready, both, frozenset({"heart-old"}))) == Plan(again=60)
    assert reconcile_function(seen(ready, both)) == Plan((Delete("ConfigMap", "tenant", "heart-old", "uid-0"),))
    assert reconcile_function(seen(ready, HERE)) == NOTHING
