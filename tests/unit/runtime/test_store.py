"""What the operator has seen, and what it makes of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import RUN_UID, SETTINGS, T0, metadata, recorded, stamp, started_status
from millrace.build.revision import authorities, bundle_digest
from millrace.domain.labels import CHARGED, ENDED, PROFILE, REVISION, STAGE_IMAGE
from millrace.observe.job import read_job
from millrace.observe.pod import read_pod
from millrace.reconcile.plan import Learned
from millrace.reconcile.run import reconcile_run
from millrace.runtime.snapshots import datastore_snapshot, function_snapshot, run_snapshot
from millrace.runtime.store import Key, Store
from millrace.runtime.trim import controller_uid, trim

Object = dict[str, Any]


def obj(name: str = "a", uid: str = "u1", version: int = 1, owner: str | None = None, **meta: Any) -> Object:
    owners = {"ownerReferences": [{"kind": "X", "name": "x", "uid": owner, "controller": True}]} if owner else {}
    return {"metadata": metadata(name, uid, **{"resourceVersion": str(version), **owners, **meta})}


def names(found: Any) -> set[str]:
    return {entry["metadata"]["name"] for entry in found}


def test_an_older_state_is_left_out() -> None:
    store = Store()
    assert store.put("Job", obj(version=9)) == Key("Job", "tenant", "a")
    assert store.put("Job", obj(version=9)) is None
    assert store.put("Job", obj(version=8)) is None, "as numbers: 10 is newer than 9"
    assert store.put("Job", obj(version=10)) is not None


def test_an_object_made_anew_under_its_name_takes_the_place() -> None:
    store = Store()
    store.put("Job", obj(uid="old", version=50, owner="o1"))
    assert store.put("Job", obj(uid="new", version=60, owner="o2")) is not None
    assert store.by_uid("old") is None
    assert store.by_uid("new") == Key("Job", "tenant", "a")
    assert names(store.owned("o1", "Job")) == set()
    assert names(store.owned("o2", "Job")) == {"a"}


def test_versions_are_found_by_their_asset_and_runs_only_until_they_are_over() -> None:
    store = Store()
    for name, version, spec in (("heart-1", 1, {"asset": "heart"}), ("heart", 2, {}), ("lung-1", 3, {"asset": "lung"})):
        store.put("DataAsset", {**obj(name, name, version), "spec": spec})
    assert names(store.versions("tenant", "heart")) == {"heart-1", "heart"}
    assert names(store.versions("other", "heart")) == set()
    store.remove("DataAsset", "tenant", "heart", "heart")
    assert names(store.versions("tenant", "heart")) == {"heart-1"}
    run = {"spec": {"functionRef": {"name": "f"}}}
    for name in ("one", "two"):
        store.put("JobRun", {**obj(name, name, 4), **run})
    store.put("JobRun", {**obj("one", "one", 5), **run, "status": {"phase": "Failed"}})
    assert names(store.unfinished("tenant")) == {"two"}


def test_a_late_deletion_does_not_remove_the_successor() -> None:
    store = Store()
    store.put("Job", obj(uid="old", version=50))
    store.put("Job", obj(uid="new", version=60))
    assert store.remove("Job", "tenant", "a", "old") is None
    assert store.get(Key("Job", "tenant", "a")) is not None
    assert store.remove("Job", "tenant", "a", "new") is not None
    assert len(store) == 0


def test_what_was_deleted_does_not_come_back() -> None:
    store = Store()
    store.put("Job", obj(version=5))
    store.bury("u1")
    store.remove("Job", "tenant", "a", "u1")
    assert store.put("Job", obj(version=7)) is None, "the answer to a write that crossed the deletion"
    assert store.put("Job", obj(uid="u2", version=8)) is not None


def test_owners_are_controllers_and_their_kinds_are_told_apart() -> None:
    store = Store()
    store.put("Job", obj("job", "j", owner="o"))
    store.put("Pod", obj("pod", "p", owner="o"))
    loose = obj("loose", "l", owner="o")
    del loose["metadata"]["ownerReferences"][0]["controller"]
    store.put("Job", loose)
    assert names(store.owned("o", "Job")) == {"job"}
    assert names(store.owned("o", "Pod")) == {"pod"}
    assert controller_uid(loose) is None


def test_an_object_that_lost_its_owner_is_not_found_under_it() -> None:
    store = Store()
    store.put("Job", obj(version=1, owner="o"))
    store.put("Job", obj(version=2))
    assert names(store.owned("o", "Job")) == set()


def test_namespaces_are_told_apart() -> None:
    store = Store()
    store.put("JobRun", obj("a", "1"))
    store.put("JobRun", {"metadata": {**obj("a", "2")["metadata"], "namespace": "other"}})
    assert [found["metadata"]["uid"] for found in store.within("JobRun", "other")] == ["2"]
    assert len(store.keys("JobRun")) == 2


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["u1", "u2", "u3"]),
        st.integers(1, 9),
        st.sampled_from([None, "o1", "o2"]),
    ),
    max_size=30,
)


@given(OPERATIONS)
def test_the_indexes_agree_with_the_objects(operations: list[tuple[str, str, str, int, str | None]]) -> None:
    store = Store()
    for what, name, uid, version, owner in operations:
        # a UID has one name
        full = f"{uid}-{name}"
        if what == "put":
            store.put("Job", obj(name, full, version, owner))
        else:
            store.remove("Job", "tenant", name, full)
    there = {key: found for key in store.keys("Job") if (found := store.get(key))}
    assert {store.by_uid(found["metadata"]["uid"]) for found in there.values()} == set(there)
    assert names(store.within("Job", "tenant")) == {key.name for key in there}
    for owner in ("o1", "o2"):
        mine = {key.name for key, found in there.items() if controller_uid(found) == owner}
        assert names(store.owned(owner, "Job")) == mine


@pytest.mark.parametrize("name", ["evicted", "user-error", "secret-key-missing", "node-lost", "completed", "scratch-limit"])
def test_what_is_kept_of_a_pod_and_a_job_says_the_same(name: str) -> None:
    found = recorded(name)
    heavy = {**found["pod"], "spec": {**found["pod"]["spec"], "containers": [{"env": [{"value": "x" * 9999}]}]}}
    heavy["metadata"] = {**heavy["metadata"], "annotations": {"millrace.dev/payload": "x" * 9999}, "managedFields": [1]}
    kept = trim("Pod", heavy)
    assert read_pod(kept) == read_pod(found["pod"])
    assert len(str(kept)) < 5000
    assert read_job(trim("Job", found["job"])) == read_job(found["job"])


def test_of_a_finished_run_is_kept_what_its_jobs_are_deleted_by() -> None:
    store = Store()
    heavy = {"parameters": {"a": "x" * 9999}, "functionRef": {"name": "heart"}}
    times = {"finished": "2026-01-31T08:00:00Z"}
    meta = metadata("score", RUN_UID, labels={"a": "x" * 63}, annotations={"b": "x" * 9999})
    before = {"metadata": meta, "spec": heavy, "status": {**started_status(), "phase": "Running", "times": times}}
    assert trim("JobRun", before) == before
    store.put("JobRun", {**before, "status": {**before["status"], "phase": "Failed"}})
    put_job(store)
    kept = store.get(RUN)
    assert len(str(kept)) < 500
    found = snap(store)
    assert (found.run.status.phase, found.run.status.times.finished) == ("Failed", times["finished"])
    assert [job.name for job in found.jobs] == ["score"]


def test_a_finished_run_is_written_no_more_whatever_its_job_does() -> None:
    store = Store()
    over = {**started_status(), "phase": "Failed", "times": {"finished": stamp(0)}, "observedGeneration": 1}
    store.put("JobRun", {"metadata": metadata("score", RUN_UID), "spec": {"functionRef": {"name": "heart"}}, "status": over})
    put_job(store)
    assert reconcile_run(snap(store)).actions == ()


def test_what_a_job_proves_is_kept() -> None:
    found = recorded("job-suspended")["job"]
    notes = {
        ENDED: "Cancelled: spec.cancel was set",
        REVISION: "heart-1",
        CHARGED: "2",
        PROFILE: '{"name": "small", "resources": {}}',
        STAGE_IMAGE: "stage:1",
    }
    found["metadata"]["annotations"] = {**notes, "other": "x"}
    job = read_job(trim("Job", found))
    assert job == read_job(found)
    assert (job.ended, job.revision, job.charged) == (("Cancelled", "spec.cancel was set"), "heart-1", 2)
    assert (job.profile, job.stage_image) == ({"name": "small", "resources": {}}, "stage:1")
    assert trim("Job", found)["metadata"]["annotations"] == notes


# --- Snapshots ------------------------------------------------------------------------------------------------------------
RUN = Key("JobRun", "tenant", "score")


def put_run(store: Store, status: Object | None = None) -> None:
    spec = {"functionRef": {"name": "heart"}}
    store.put("JobRun", {"metadata": metadata("score", RUN_UID), "spec": spec, "status": status or {}})


def put_job(store: Store, uid: str = "job-1", name: str = "score", **status: Any) -> None:
    found = obj(name, uid, owner=RUN_UID, labels={"millrace.dev/attempt": "1"}, annotations={REVISION: "heart-1"})
    store.put("Job", {**found, "status": status})


def put_pod(
    store: Store, name: str, uid: str, owner: str, *, created: str = "2026-01-31T08:00:00Z", run: str = "score"
) -> None:
    found = obj(name, uid, owner=owner, creationTimestamp=created, labels={"millrace.dev/jobrun": run})
    store.put("Pod", {**found, "status": {"phase": "Running"}})


def snap(store: Store) -> Any:
    return run_snapshot(store, RUN, Learned(), SETTINGS, None, T0)


def test_the_newest_pod_of_a_job_counts() -> None:
    store = Store()
    put_run(store)
    put_job(store)
    put_pod(store, "score-b", "p2", "job-1", created="2026-01-31T08:00:01Z")
    put_pod(store, "score-a", "p1", "job-1")
    assert snap(store).pods["job-1"].name == "score-b"
    assert snap(store).orphans == ()


def test_a_foreign_job_of_the_runs_name_is_not_its_job() -> None:
    store = Store()
    put_run(store)
    store.put("Job", {**obj("score", "foreign", owner="somebody"), "status": {}})
    assert snap(store).jobs == ()


def test_pods_whose_job_is_gone_are_seen() -> None:
    store = Store()
    put_run(store, started_status())
    put_pod(store, "score-a", "p1", "job-1")
    put_pod(store, "other-a", "p2", "job-9", run="other")
    assert [pod.name for pod in snap(store).orphans] == ["score-a"]
    put_job(store)
    assert snap(store).orphans == ()


def test_what_is_gone_has_no_snapshot() -> None:
    assert snap(Store()) is None
    assert function_snapshot(Store(), Key("Function", "tenant", "heart"), SETTINGS, T0) is None
    assert datastore_snapshot(Store(), Key("DataStore", "tenant", "lake"), Learned(), SETTINGS, T0) is None


def test_a_store_that_does_not_fit_the_schema_stops_nobody_else() -> None:
    store = Store()
    put_run(store)
    store.put("DataStore", {**obj("bad", "d1"), "spec": {"s3": {"bucket": 7}}})
    store.put("DataStore", {**obj("good", "d2"), "spec": {"s3": {"bucket": "lake"}}})
    assert set(snap(store).stores) == {"good"}


def test_revisions_in_use_are_those_of_unfinished_runs_and_jobs() -> None:
    store = Store()
    spec = {"source": {"inline": "x"}, "handler": "main"}
    store.put("Function", {**obj("heart", "f"), "spec": spec})
    put_run(store, {"functionRevision": "heart-0"})
    put_job(store)
    over = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2026-01-31T08:00:00Z"}]}
    store.put("Job", {**obj("done", "job-2", annotations={REVISION: "heart-2"}), "status": over})
    for name, component in (("heart-0", "revision"), ("millrace-authorities", "authorities")):
        found = obj(name, name, owner="f", labels={"millrace.dev/component": component})
        store.put("ConfigMap", found)
    seen = function_snapshot(store, Key("Function", "tenant", "heart"), SETTINGS, T0)
    assert seen
    assert seen.revisions == {"heart-0": "heart-0"}
    assert {"heart-0", "heart-1"} <= seen.in_use
    assert "heart-2" not in seen.in_use


def test_a_datastore_sees_the_pod_of_its_current_probe_only() -> None:
    store = Store()
    store.put("DataStore", {**obj("lake", "d", generation=2), "spec": {"s3": {"bucket": "lake"}}})
    for generation in (1, 2):
        store.put("Job", {**obj(f"lake-probe-{generation}", f"j{generation}", owner="d"), "status": {}})
    put_pod(store, "old", "p1", "j1", created="2026-01-31T09:00:00Z")
    seen = datastore_snapshot(store, Key("DataStore", "tenant", "lake"), Learned(), SETTINGS, T0)
    assert seen
    assert seen.pod is None
    put_pod(store, "new", "p2", "j2")
    seen = datastore_snapshot(store, Key("DataStore", "tenant", "lake"), Learned(), SETTINGS, T0)
    assert seen
    assert seen.pod
    assert seen.pod.name == "new"


def test_a_run_sees_which_authorities_its_namespace_has() -> None:
    store = Store()
    put_run(store)
    assert snap(store).bundle is None
    found = authorities("tenant", "PEM")
    found["metadata"] |= {"uid": "a", "resourceVersion": "1"}
    store.put("ConfigMap", found)
    assert snap(store).bundle == bundle_digest("PEM")


def test_runs_that_somebody_is_to_be_told_of_are_found_with_what_is_told_and_the_queue_knows_when_it_moved() -> None:
    store = Store()
    status = {"phase": "Failed", "times": {"admitted": "2026-01-31T08:00:05Z", "finished": "2026-01-31T08:01:00Z"}}
    failure = {"failure": {"reason": "UserError"}, "inputs": [{"name": "i"}]}
    run = {"spec": {"deploymentRef": {"name": "d"}}}
    pending = {
        "notifications": {
            "pending": [{"transition": "Failed", "time": "2026-01-31T08:01:00Z", "noted": "2026-01-31T08:01:00Z"}],
            "told": [],
        }
    }
    store.put("JobRun", {**obj("one", "one", 4), **run, "status": {**status, **failure, **pending}})
    store.put("JobRun", {**obj("two", "two", 4), **run, "status": {**status, **failure}})
    [found] = store.untold(("tenant", "d"))
    assert found["metadata"]["name"] == "one"
    assert set(found["status"]) == {"phase", "times", "failure", "notifications"}
    assert "failure" not in (store.get(Key("JobRun", "tenant", "two")) or {})["status"]
    told = {"notifications": {"pending": [], "told": [{"transition": "Failed"}]}}
    store.put("JobRun", {**obj("one", "one", 5), **run, "status": {**status, **failure, **told}})
    assert names(store.untold(("tenant", "d"))) == set()
    assert store.lines.moved["tenant", "d"] == "2026-01-31T08:01:00Z"
