"""The data of a DataAsset that is gone: deleted once, and only where nobody else names or reads it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fixtures.objects import SETTINGS, at, metadata, over, pod, store
from millrace.api.dataasset import DataAsset
from millrace.build.reclaim import reclaim_job
from millrace.domain.reclaim import Reclaim
from millrace.observe.job import read_job
from millrace.reconcile.plan import Delete, Emit, Learned, LookForAssets, Plan, StartJob
from millrace.reconcile.reclaim import ReclaimSnapshot, reconcile_reclaim

LAKE = store("lake")
ALIAS = store("alias", default=False, s3={"endpoint": "http://minio.test:9000/", "bucket": "lake", "prefix": "heart"})
ELSEWHERE = store("elsewhere", default=False, s3={"endpoint": "http://minio.test:9000", "bucket": "other"})


def asset(name: str, path: str, **spec: Any) -> DataAsset:
    full = {"asset": "heart", "dataStore": "lake", "reclaim": "Delete", **spec, "path": path}
    return DataAsset.model_validate({"metadata": metadata(name, f"uid-{name}"), "spec": full})


GONE = asset("gone", "heart/3")
LISTED = Learned(assets=at(9).timestamp())


def snapshot(*there: DataAsset, learned: Learned = LISTED, **changes: Any) -> ReclaimSnapshot:
    made = reclaim_job(GONE, "3", LAKE, SETTINGS)
    job = read_job({**made, "metadata": {**made["metadata"], "uid": "job-uid"}})
    stores = {each.metadata.name: each for each in (LAKE, ALIAS, ELSEWHERE)}
    subject = Reclaim.model_validate_json(str(job.reclaims))
    found = ReclaimSnapshot(job, "tenant", subject, there, stores, (), None, learned, at(10))
    return replace(
        found, **{key: value for key, value in changes.items() if key != "job"}, job=replace(job, **changes.get("job", {}))
    )


def kinds(plan: Plan) -> list[str]:
    return [
        f"{type(each).__name__} {each.reason}" if isinstance(each, Emit) else type(each).__name__ for each in plan.actions
    ]


def test_as_long_as_the_dataasset_is_there_nothing_happens() -> None:
    assert reconcile_reclaim(snapshot(GONE)).actions == ()


def test_it_is_asked_anew_who_names_the_data_before_it_goes() -> None:
    for learned in (Learned(), Learned(assets=at(-1).timestamp())):
        assert kinds(reconcile_reclaim(snapshot(learned=learned))) == [LookForAssets.__name__]
    assert kinds(reconcile_reclaim(snapshot())) == [StartJob.__name__]


@pytest.mark.parametrize(
    ("path", "spec", "kept"),
    [
        ("heart/3", {}, True),
        ("heart/3/", {"reclaim": "Retain"}, True),
        ("heart", {}, True),
        ("heart/3/a.csv", {"type": "uri_file"}, True),
        ("heart/3", {"dataStore": None, "reclaim": "Retain"}, True),  # the default store
        ("3/sub", {"dataStore": "alias"}, True),  # another way to the same bucket
        ("heart/30", {}, False),
        ("heart/2", {}, False),
        ("heart/3", {"dataStore": "alias"}, False),
        ("heart/3", {"dataStore": "elsewhere"}, False),
        ("heart/3", {"dataStore": "not-there"}, False),
    ],
)
def test_data_that_another_one_names_stays(path: str, spec: dict[str, Any], kept: bool) -> None:
    found = kinds(reconcile_reclaim(snapshot(asset("other", path, **spec))))
    assert found == (["Emit DataKept", "Delete"] if kept else ["StartJob"])


def test_it_waits_for_the_runs_that_read_it() -> None:
    plan = reconcile_reclaim(snapshot(readers=("score-1", "score-0")))
    assert (kinds(plan), plan.again) == (["Emit DataInUse"], 10)
    assert str(plan.actions[0].message).endswith("is not deleted yet: score-0, score-1 still read it")
    [many] = reconcile_reclaim(snapshot(readers=tuple(f"r{number}" for number in range(7)))).actions
    assert many.message.endswith(": r0, r1, r2, r3, r4 and 2 more still read it")


def test_what_is_in_its_way_is_told_and_its_end_too() -> None:
    started = {"parked": False, "active": 1}
    assert reconcile_reclaim(snapshot(job=started)).actions == ()
    failing = pod(over("reclaim", code=1, message={"reason": "AccessDenied", "message": "minio.test/lake: no right"}))
    [event] = reconcile_reclaim(snapshot(job=started, pod=failing)).actions
    assert isinstance(event, Emit)
    assert (event.warning, event.reason, event.name) == (True, "DataNotDeleted", "gone")
    assert "heart@3 at lake/paths/heart/3" in event.message
    assert "no right" in event.message
    done = pod(over("reclaim", message={"files": 3, "bytes": 12}), phase="Succeeded")
    told, removed = reconcile_reclaim(snapshot(job={**started, "complete": True}, pod=done)).actions
    assert isinstance(told, Emit)
    assert "3 objects, 12 bytes" in told.message
    assert removed == Delete("Job", "tenant", "gone-reclaim-uid-gone", "job-uid")
