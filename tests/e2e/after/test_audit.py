"""What the API server says that the operator did in all of the suite: it read no Secret, and missed no right (S02, S04)."""

from __future__ import annotations

from functools import cache

import pytest

from support import audit, canary

local = pytest.mark.skipif(not canary.node().exists(), reason="only the local provider shows the audit log")
LOOKED_AT = {("list", "jobruns"), ("watch", "pods"), ("create", "jobs"), ("patch", "jobruns/status")}


@cache
def requests() -> list[audit.Entry]:
    """The installed operator's requests, in the order in which they came; the search finds reads and writes."""
    found = [entry for entry in audit.entries(f'"{audit.OPERATOR}"') if entry["user"]["username"] == audit.OPERATOR]
    assert {(entry["verb"], audit.resource(entry)) for entry in found} >= LOOKED_AT, "the audit log is not read well"
    return sorted(found, key=lambda entry: str(entry["requestReceivedTimestamp"]))


@local
def test_the_operator_has_asked_for_no_secret() -> None:
    assert not [entry for entry in requests() if audit.resource(entry).startswith("secrets")]


@local
def test_the_operator_was_refused_nothing_for_lack_of_a_right() -> None:
    """But for the last requests of a pod whose rights were uninstalled with it: after those it is allowed nothing more."""
    refused: dict[str, list[str]] = {}
    went_on: set[str] = set()
    for entry in requests():
        [pod] = entry["user"]["extra"]["authentication.kubernetes.io/pod-name"]
        if entry["annotations"]["authorization.k8s.io/decision"] == "forbid":
            refused.setdefault(pod, []).append(f"{entry['verb']} {entry['requestURI']}")
        elif pod in refused:
            went_on.add(pod)
    assert {pod: refused[pod] for pod in went_on} == {}
