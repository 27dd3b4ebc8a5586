"""What finished runs of a Deployment have left, from the trimmed objects of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fixtures.objects import DEPLOYMENT_UID, T0, deployment, metadata, stamp
from millrace.domain.retention import KnownRun, Stored
from millrace.reconcile.plan import Learned
from millrace.runtime.left import left
from millrace.runtime.store import Store

Object = dict[str, Any]


def seen(name: str, owner: str | None = DEPLOYMENT_UID, **status: Any) -> Object:
    owners = {"ownerReferences": [{"kind": "Deployment", "name": "scoring", "uid": owner, "controller": True}]}
    meta = metadata(name, f"{name}-uid", **(owners if owner else {}))
    outputs = [
        {"name": "o", "uri": f"s3://lake/{name}/o.zip", "bytes": 1, "dataStore": {"name": "lake", "path": f"{name}/o.zip"}},
        {"name": "m", "asset": "m", "uri": f"s3://lake/assets/m/{name}/m.zip"},
    ]
    found = {"phase": "Succeeded", "times": {"finished": stamp(5)}, "outputs": outputs, "logsStore": "lake"}
    logs = {"logs": f"s3://lake/logs/{name}/2/"}
    return {"metadata": meta, "spec": {"deploymentRef": {"name": "scoring"}}, "status": {**found, **logs, **status}}


def kept(*runs: Object, **spec: Any) -> dict[str, tuple[KnownRun, tuple[Stored, ...]]]:
    store = Store()
    for run in runs:
        store.put("JobRun", run)
    found = left(store, deployment(**(spec or {"retention": {"runs": {"amount": 1}}})), Learned())
    return {ended.run.name: (ended.run, ended.stored) for ended in found.ended}


def test_only_runs_that_the_deployment_controls_are_looked_at() -> None:
    loose = seen("loose")
    del loose["metadata"]["ownerReferences"][0]["controller"]
    goes = seen("goes")
    goes["metadata"]["deletionTimestamp"] = stamp(9)
    others = [seen("applied", None), seen("other", "of-another"), loose, goes, seen("on", phase="Running")]
    assert set(kept(seen("ours"), *others)) == {"ours"}
    assert kept(seen("ours"), concurrency=1) == {}, "no retention, nothing is read"


def test_a_run_of_which_somebody_is_to_be_told_is_known_as_such() -> None:
    store = Store()
    store.put("JobRun", seen("told", notifications={"pending": [], "told": []}))
    store.put(
        "JobRun", seen("untold", notifications={"pending": [{"transition": "Failed", "time": stamp(5), "noted": stamp(5)}]})
    )
    found = left(store, deployment(retention={"runs": {"amount": 1}}), Learned())
    assert {ended.run.name: ended.untold for ended in found.ended} == {"told": False, "untold": True}
    assert {thing.path for ended in found.ended for thing in ended.stored if ended.untold} == {
        "untold/o.zip",
        "logs/untold/",
    }, "an output that is an asset has no store in its status"


def test_logs_and_outputs_of_stores_are_what_is_left_and_versions_of_assets_are_not() -> None:
    end = T0 + timedelta(seconds=5)
    run, stored = kept(seen("a"))["a"]
    assert run == KnownRun("a", "a-uid", True, False, end)
    assert stored == (
        Stored("logs", "s3://lake/logs/a/2/", "a-uid", True, end, "lake", "logs/a/"),
        Stored("artifacts", "s3://lake/a/o.zip", "a-uid", True, end, "lake", "a/o.zip"),
    )
    assert [thing.kind for thing in kept(seen("a", deleted=["artifacts"]))["a"][1]] == ["logs"]
    assert kept(seen("a", deleted=["artifacts", "logs"]))["a"][1] == ()
    assert [thing.kind for thing in kept(seen("a", logsStore=None))["a"][1]] == ["artifacts"]
    assert kept(seen("a", phase="Cancelled", outputs=[], logs=None))["a"][0].failed
