"""Versions of data assets: which object is which, the latest, the next (rows D10, D11; design part 2b)."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import metadata, run, stamp, store
from millrace.api.dataasset import DataAsset
from millrace.domain.assets import find_version, next_version, versions, waits_for
from millrace.domain.obstacle import Obstacle
from millrace.domain.places import places_of_inputs


def asset(name: str, created: float = 0, *, ready: bool | None = True, version: str | None = None, **spec: Any) -> DataAsset:
    """A version of `heart`; `version` is the one of its status."""
    condition = {"type": "Ready", "status": str(ready), "reason": "Valid", "lastTransitionTime": stamp(created)}
    return DataAsset.model_validate(
        {
            "metadata": metadata(name, f"uid-{name}", creationTimestamp=stamp(created)),
            "spec": {"asset": "heart", "path": f"heart/{name}", **spec},
            "status": {"version": version, "conditions": [] if ready is None else [condition]},
        }
    )


FIRST, SECOND = asset("a", 1, version="1"), asset("b", 2, version="2")
EXPORT = asset("export", 3, version="2026-01")
UNREADY = asset("c", 9, version="3", ready=False)
ALL = (SECOND, UNREADY, FIRST, EXPORT, asset("other", 9, asset="lung", version="8"))


@pytest.mark.parametrize(
    ("reference", "found"),
    {
        "heart@latest": EXPORT,
        "heart": EXPORT,
        "heart:1": FIRST,
        "heart@2": SECOND,
        "azureml:heart:2026-01": EXPORT,
        "store://tenant/dataitem/heart:2": SECOND,
        "store://tenant/dataitem/heart": EXPORT,
        "/subscriptions/s/resourceGroups/g/workspaces/w/data/heart/versions/1": FIRST,
    }.items(),
)
def test_a_reference_names_one_version_and_latest_the_newest_that_is_ready(reference: str, found: DataAsset) -> None:
    assert find_version(reference, "input data", "tenant", ALL, pinned=None) is found


@pytest.mark.parametrize(
    ("reference", "reason", "heals", "message"),
    [
        ("heart:7", "AssetNotFound", True, "versions: 1, 2, 2026-01"),
        ("heart:3", "AssetNotFound", True, "is not ready"),
        ("liver@latest", "AssetNotFound", True, "versions: none"),
        ("store://else/dataitem/heart", "ReferenceForbidden", False, "of another namespace"),
        ("lake/paths/x", "ReferenceRejected", False, "dataStore"),
        ("s3://bucket/x", "ReferenceRejected", False, "no asset"),
        ("Heart", "ReferenceRejected", False, "not a reference"),
    ],
)
def test_what_names_no_version_is_an_obstacle(reference: str, reason: str, heals: bool, message: str) -> None:
    found = find_version(reference, "input data", "tenant", ALL, pinned=None)
    assert isinstance(found, Obstacle)
    assert (found.reason, found.heals) == (reason, heals)
    assert message in found.message
    assert found.message.startswith("input data: ")


def test_a_version_that_was_recorded_stays_though_there_is_a_newer_one() -> None:
    recorded = {"inputs": [{"name": "data", "asset": "heart", "version": "1"}]}
    subject = run(inputs=[{"name": "data", "asset": "heart@latest"}], status=recorded)
    [place] = places_of_inputs(subject, ALL, store())  # type: ignore[misc] # an obstacle would not be one
    assert place.asset is FIRST


def test_of_two_objects_for_one_version_the_older_one_counts() -> None:
    younger = asset("d", 5, version="1")
    assert versions([younger, FIRST], "heart")["1"] is FIRST


@pytest.mark.parametrize(
    ("there", "following"), [([], "1"), (ALL, "4"), ([EXPORT], "1"), ([asset("x", version="10")], "11")]
)
def test_the_next_version_is_the_number_after_the_highest(there: list[DataAsset], following: str) -> None:
    assert next_version(there, "heart") == following


def test_automatic_versions_follow_the_order_of_creation() -> None:
    old, new = asset("old", 1, ready=None), asset("new", 2, ready=None)
    assert waits_for(new, [new, old]) is old
    assert waits_for(old, [new, old]) is None
    assert waits_for(new, [new, FIRST]) is None
