"""DataAsset: version and readiness, and the versions that runs make."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import (
    RUN_UID,
    SETTINGS,
    after,
    at,
    job,
    metadata,
    over,
    pod,
    run,
    snapshot,
    stamp,
    started_status,
    store,
)
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.build.reclaim import reclaim_job
from millrace.observe.job import JobFacts, read_job
from millrace.reconcile.assets import produce
from millrace.reconcile.dataasset import DataAssetSnapshot, reconcile_dataasset
from millrace.reconcile.plan import CreateUnowned, Delete, Learned, PatchStatus, Plan
from millrace.reconcile.run import reconcile_run


def asset(name: str = "a", created: float = 0, status: dict[str, Any] | None = None, **spec: Any) -> DataAsset:
    return DataAsset.model_validate(
        {
            "metadata": metadata(name, f"uid-{name}", creationTimestamp=stamp(created)),
            "spec": {"asset": "heart", "path": "p", "dataStore": "lake", **spec},
            "status": status or {},
        }
    )


LAKE = store("lake", default=False)


def decide(
    subject: DataAsset,
    *others: DataAsset,
    stores: tuple[DataStore, ...] = (LAKE,),
    reclaim: JobFacts | None = None,
    learned: Learned | None = None,
) -> Plan:
    by_name = {found.metadata.name: found for found in stores}
    return reconcile_dataasset(
        DataAssetSnapshot(subject, (subject, *others), by_name, reclaim, learned or Learned(), SETTINGS, at(9))
    )


def told(plan: Plan) -> tuple[str, str, str]:
    """Version, and status and reason of Ready."""
    [write] = plan.actions
    assert isinstance(write, PatchStatus)
    ready = next(found for found in write.status["conditions"] if found["type"] == "Ready")
    return write.status["version"], ready["status"], ready["reason"]


@pytest.mark.parametrize(
    ("subject", "others", "expected"),
    [
        (asset(), [], ("1", "True", "Valid")),
        (asset(version="v7"), [], ("v7", "True", "Valid")),
        (asset("b", 2), [asset("a", 1, {"version": "4"})], ("5", "True", "Valid")),
        (asset("b", 2, version="4"), [asset("a", 1, version="4")], ("4", "False", "VersionTaken")),
        (asset("a", 1, version="4"), [asset("b", 2, version="4")], ("4", "True", "Valid")),
        (asset(dataStore="gone"), [], ("1", "False", "DataStoreNotFound")),
        (asset(dataStore=None), [], ("1", "False", "DefaultStoreNotFound")),
    ],
)
def test_version_and_readiness(subject: DataAsset, others: list[DataAsset], expected: tuple[str, str, str]) -> None:
    assert told(decide(subject, *others)) == expected


def test_a_default_store_is_enough() -> None:
    assert told(decide(asset(dataStore=None), stores=(store("lake", default=True),)))[1] == "True"


def test_what_is_said_already_is_not_written_again() -> None:
    [write] = decide(asset()).actions
    assert isinstance(write, PatchStatus)
    assert decide(asset(status=write.status)).actions == ()


def test_a_younger_one_waits_for_its_turn() -> None:
    found = decide(asset("new", 2), asset("old", 1))
    assert (found.actions, found.again) == ((), 1)


def reclaim_of(subject: DataAsset, of: DataStore = LAKE) -> JobFacts:
    made = reclaim_job(subject, "1", of, SETTINGS)
    return read_job({**made, "metadata": {**made["metadata"], "uid": "reclaim-uid"}})


def test_what_deletes_the_data_is_there_before_the_version_is_ready() -> None:
    subject = asset(reclaim="Delete")
    [made] = decide(subject).actions
    assert isinstance(made, CreateUnowned)
    assert made.manifest["spec"]["suspend"] is True
    assert "ownerReferences" not in made.manifest["metadata"]
    assert told(decide(subject, reclaim=reclaim_of(subject))) == ("1", "True", "Valid")
    assert [type(action) for action in decide(asset(reclaim="Retain")).actions] == [PatchStatus]


def test_it_is_made_anew_of_another_store() -> None:
    subject = asset(reclaim="Delete")
    moved = store("lake", default=False, s3={"bucket": "other", "endpoint": "http://minio.test:9000"})
    plan = decide(subject, reclaim=reclaim_of(subject), stores=(moved,))
    assert [type(action) for action in plan.actions] == [PatchStatus, Delete]
    assert plan.again == 0


def test_a_version_whose_data_could_not_be_deleted_is_not_ready() -> None:
    said = Learned(refusal=(403, "exceeded quota: count/jobs.batch", at(9).timestamp()))
    plan = decide(asset(reclaim="Delete"), learned=said)
    assert told(plan) == ("1", "False", "QuotaExceeded")
    assert plan.again == 10


# --- What a run makes -----------------------------------------------------------------------------------------------------
PATH = f"assets/heart/{RUN_UID}/scores.zip"
ENTRY = {"name": "scores", "uri": f"s3://lake/{PATH}", "bytes": 9, "files": 2, "sha256": "ab", "contentDigest": "cd"}
SUBJECT = run(outputs=[{"name": "scores", "asset": "heart"}])
POD = pod(over("main"), over("collect", message={"outputs": [ENTRY]}), phase="Succeeded")
JOB = job(assets={"store": "lake"}, revision="f-1")


def test_a_published_output_becomes_the_next_version() -> None:
    action = produce(SUBJECT, POD, JOB, [asset("a", version="4")], set(), at(9))
    assert isinstance(action, CreateUnowned)
    assert action.manifest["metadata"] == {
        "name": "heart-5",
        "namespace": "tenant",
        "labels": {
            "app.kubernetes.io/managed-by": "millrace",
            "millrace.dev/asset": "heart",
            "millrace.dev/function": "heart",
            "millrace.dev/jobrun": "score",
        },
    }
    assert action.manifest["spec"] == {
        "asset": "heart",
        "version": "5",
        "type": "uri_file",
        "dataStore": "lake",
        "path": PATH,
    }


def test_it_is_told_who_made_it_before_the_run_is_over() -> None:
    made = asset("heart-5", version="5", path=PATH)
    action = produce(SUBJECT, POD, JOB, [made], set(), at(9))
    assert isinstance(action, PatchStatus)
    producer = {"jobRun": "score", "uid": RUN_UID, "function": "heart", "functionRevision": "f-1"}
    assert action.status["producedBy"] == producer
    about = {"bytes": 9, "files": 2, "sha256": "ab", "contentDigest": "cd", "version": "5"}
    assert about.items() <= action.status.items()
    told_already = asset("heart-5", 0, action.status, version="5", path=PATH)
    assert produce(SUBJECT, POD, JOB, [told_already], set(), at(9)) == {"scores": "5"}


def test_a_table_tells_its_rows_and_columns() -> None:
    columns = [["age", "int64"], ["name", "object"]]
    report = {"outputs": [ENTRY], "tables": [{"name": "scores", "rows": 7, "columns": columns}]}
    done = pod(over("main"), over("collect", message=report), phase="Succeeded")
    action = produce(SUBJECT, done, JOB, [asset("heart-5", version="5", path=PATH)], set(), at(9))
    assert isinstance(action, PatchStatus)
    assert action.status["rows"] == 7
    assert action.status["columns"] == [{"name": "age", "type": "int64"}, {"name": "name", "type": "object"}]
    wide = pod(over("collect", message={**report, "tables": [{"name": "scores", "rows": 7}]}), phase="Succeeded")
    action = produce(SUBJECT, wide, JOB, [asset("heart-5", version="5", path=PATH)], set(), at(9))
    assert isinstance(action, PatchStatus)
    assert (action.status["rows"], action.status.get("columns", [])) == (7, [])


@pytest.mark.parametrize(
    ("archive", "table", "kind"),
    [("Zip", True, "uri_file"), ("Zip", False, "uri_file"), ("None", True, "table"), ("None", False, "uri_folder")],
)
def test_the_type_of_a_version(archive: str, table: bool, kind: str) -> None:
    report = {"outputs": [ENTRY], **({"tables": [{"name": "scores", "rows": 7}]} if table else {})}
    done = pod(over("collect", message=report), phase="Succeeded")
    action = produce(run(outputs=[{"name": "scores", "asset": "heart", "archive": archive}]), done, JOB, [], set(), at(9))
    assert isinstance(action, CreateUnowned)
    assert action.manifest["spec"]["type"] == kind


def test_a_version_that_somebody_else_has_is_not_the_runs() -> None:
    taken = asset("mine", 1, version="5")
    lost = asset("heart-5", 2, version="5", path=PATH)
    action = produce(SUBJECT, POD, JOB, [taken, lost], set(), at(9))
    assert isinstance(action, CreateUnowned)
    assert action.manifest["spec"]["version"] == "6"


def test_a_name_that_somebody_elses_asset_has_is_left_alone() -> None:
    action = produce(SUBJECT, POD, JOB, [], {"heart-1"}, at(9))
    assert isinstance(action, CreateUnowned)
    assert action.manifest["metadata"]["name"] == f"heart-1-{RUN_UID[:8]}"


def test_an_output_that_was_not_published_makes_no_version() -> None:
    nothing = pod(over("main"), over("collect", message={"outputs": []}), phase="Succeeded")
    assert produce(SUBJECT, nothing, JOB, [], set(), at(9)) == {}


@pytest.mark.parametrize(
    ("now", "phase", "reason"), [(20, "Uploading", "QuotaExceeded"), (2 * 86400, "Failed", "QuotaExceeded")]
)
def test_a_version_that_is_refused_has_its_reason_and_a_deadline(now: float, phase: str, reason: str) -> None:
    said = Learned(refusal=(403, "exceeded quota: assets", at(now).timestamp()))
    subject = run(outputs=[{"name": "scores", "asset": "heart"}], status=started_status())
    plan = reconcile_run(snapshot(subject, now=now, jobs=(JOB,), pods={1: POD}, learned=said))
    done = after(subject, plan)
    assert (done.status.phase, done.status.reason) == (phase, reason)
    assert "exceeded quota: assets" in str(plan.actions)
    later = Learned(refusal=(403, "exceeded quota: assets", at(now - 11).timestamp()))
    [again] = reconcile_run(snapshot(subject, now=now, jobs=(JOB,), pods={1: POD}, learned=later)).actions
    assert isinstance(again, CreateUnowned)


def test_a_version_keeps_what_its_run_has_read() -> None:
    places = [
        {"name": "data", "asset": "raw@latest"},
        {"name": "more", "dataStore": {"name": "lake", "path": "in/a"}},
        {"name": "web", "uri": "https://files.test/a.csv", "type": "uri_file"},
        {"name": "few", "inline": {"values": [[1]]}},
    ]
    subject = run(inputs=places, outputs=[{"name": "scores", "asset": "heart"}])
    pinned = job(
        assets={"store": "lake", "inputs": [{"name": "data", "asset": "raw", "version": "7", "assetUid": "uid-raw"}]}
    )
    staged = {"inputs": [{"name": "data", "sha256": "aa", "bytes": 3}, {"name": "web", "sha256": "bb"}]}
    done = pod(over("stage", message=staged), over("collect", message={"outputs": [ENTRY]}), phase="Succeeded")
    action = produce(subject, done, pinned, [asset("heart-5", version="5", path=PATH)], set(), at(9))
    assert isinstance(action, PatchStatus)
    assert action.status["producedBy"]["inputs"] == [
        {"name": "data", "asset": "raw", "version": "7", "assetUid": "uid-raw", "sha256": "aa"},
        {"name": "more", "reference": "lake/paths/in/a"},
        {"name": "web", "reference": "https://files.test/a.csv", "sha256": "bb"},
        {"name": "few", "reference": "inline"},
    ]
