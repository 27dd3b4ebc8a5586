"""What a Deployment lets go: runs after the Jobs that delete what they left are there, and those Jobs' own lives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from fixtures.objects import at, deployment, metadata, over, pod, store, waiting_for
from millrace.api.dataasset import DataAsset
from millrace.domain.clock import render
from millrace.domain.retention import KnownRun, Stored
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import retention as subject
from millrace.reconcile.part import Part
from millrace.reconcile.plan import Create, Delete, Emit, Learned, PatchStatus, StartJob
from millrace.reconcile.retention import Ended, Left, retain
from unit.reconcile.deployments import deployment_snapshot, facts

LAKE, WAREHOUSE = store("lake"), store("warehouse", default=False)


def ended(name: str, ago: float, *, failed: bool = False, stores: tuple[str, ...] = ("lake",), logs: bool = True) -> Ended:
    """A run that ended so many seconds before at(0), with an artifact in each of the stores and logs in the lake."""
    finished = at(-ago)
    uid = f"{name}-uid"
    left = [Stored("logs", f"s3://lake/logs/{name}/1/", uid, True, finished, "lake", f"logs/{name}/")] if logs else []
    left += [
        Stored("artifacts", f"s3://{place}/{name}/o.zip", uid, True, finished, place, f"{name}/o.zip") for place in stores
    ]
    return Ended(KnownRun(name, uid, True, failed, finished), "7", tuple(left))


def seen(retention: Any, *runs: Ended, jobs: list[tuple[JobFacts, PodFacts | None]] | None = None, **changes: Any) -> Part:
    left = Left(runs, tuple(jobs or ()), {"lake": LAKE, "warehouse": WAREHOUSE})
    return retain(deployment_snapshot(deployment(retention=retention), left=replace(left, **changes)))


def brief(part: Part) -> list[str]:
    found = []
    for action in part.actions:
        match action:
            case Create(manifest):
                keeps = json.loads(manifest["metadata"]["annotations"]["millrace.dev/retention"])
                found.append(f"{keeps['waits'] or 'now'}: {' '.join(keeps['parts']).replace('-uid', '')}")
            case Delete(kind, _, name, _):
                found.append(f"delete {kind} {name}" if kind == "JobRun" else f"delete {kind}")
            case PatchStatus(_, _, name, _, status):
                found.append(f"{name}: {status}")
            case Emit():
                found.append(action.reason)
            case _:
                found.append(type(action).__name__)
    return found


OLD, NEW = ended("old", 60), ended("new", 10)


@pytest.mark.parametrize(
    ("retention", "runs", "found"),
    [
        (None, [OLD, NEW], []),
        ({"runs": {"amount": 2}}, [OLD, NEW], []),
        ({"runs": {"amount": 1}}, [OLD, NEW], ["now: old/logs"]),
        ({"runs": {"age": "60s"}}, [OLD, NEW], ["now: old/logs"]),
        ({"runs": {"amount": 1}}, [ended("old", 60, stores=(), logs=False), NEW], ["delete JobRun old"]),
        ({"runs": {"amount": 1}}, [ended("old", 60, logs=False), NEW], ["delete JobRun old"]),  # its artifact is kept
        ({"logs": {"age": "60s"}}, [OLD, NEW], ["now: old/logs"]),
        ({"artifacts": {"age": "60s"}}, [OLD, NEW], ["now: old/artifacts"]),
        ({"runs": {"amount": 1}, "artifacts": {"age": "60s"}}, [OLD, NEW], ["now: old/artifacts old/logs"]),
        ({"runs": {"amount": 1}, "artifacts": {"age": "1h"}}, [OLD, NEW], ["now: old/logs", "artifacts: old/artifacts"]),
        ({"runs": {"amount": 1}, "logs": {"age": "1h"}}, [OLD, NEW], ["logs: old/logs"]),
    ],
)
def test_a_run_goes_when_nothing_of_it_would_be_forgotten(retention: Any, runs: list[Ended], found: list[str]) -> None:
    assert brief(seen(retention, *runs)) == found


def test_a_run_stays_until_all_has_been_told_of_it_and_counts_meanwhile() -> None:
    old = ended("old", 60, stores=(), logs=False)
    assert brief(seen({"runs": {"amount": 1}}, old, NEW)) == ["delete JobRun old"]
    assert brief(seen({"runs": {"amount": 1}}, old._replace(untold=True), NEW)) == []


def test_a_run_goes_once_jobs_are_there_for_all_that_is_left_of_it() -> None:
    retention = {"runs": {"amount": 1}, "artifacts": {"age": "1h"}}
    now, later = seen(retention, OLD, NEW).actions
    assert brief(seen(retention, OLD, NEW, jobs=[(facts(now), None)])) == ["artifacts: old/artifacts"]
    assert brief(seen(retention, OLD, NEW, jobs=[(facts(later), None)])) == ["now: old/logs"]
    assert brief(seen(retention, OLD, NEW, jobs=[(facts(now), None), (facts(later), None)])) == ["delete JobRun old"]
    assert brief(seen(retention, OLD, NEW, jobs=[(facts(now, deleted=True), None), (facts(later), None)])) == [
        "now: old/logs"
    ]


def test_what_outlives_its_run_goes_when_it_is_old_enough_by_the_age_of_that_day() -> None:
    retention = {"runs": {"amount": 1}, "artifacts": {"age": "100s"}}
    _, made = seen(retention, OLD, NEW).actions
    job = facts(made)
    assert job.parked
    waits = seen(retention, NEW, jobs=[(job, None)])
    assert (waits.actions, waits.again) == ((), 40)
    assert brief(seen({"artifacts": {"age": "50s"}}, NEW, jobs=[(job, None)])) == ["StartJob"]
    assert brief(seen({"artifacts": {"age": "1d"}}, NEW, jobs=[(job, None)])) == []
    for kept in (None, {"logs": {"age": "1d"}}):  # nothing has an age any more: it is kept for ever
        assert brief(seen(kept, NEW, jobs=[(job, None)])) == ["delete Job"]
    assert [type(each) for each in seen(retention, NEW, jobs=[(job, None)], ended=()).actions] == []
    started = replace(job, parked=False)
    assert StartJob not in [type(each) for each in seen({"artifacts": {"age": "50s"}}, jobs=[(started, None)]).actions]


def test_one_job_at_a_time_gathers_what_waits_unless_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    retention = {"runs": {"amount": 0}, "artifacts": {"age": "5000s"}}
    [made] = seen(retention, ended("a", 60, logs=False)).actions
    held = seen(retention, ended("b", 50, logs=False), jobs=[(facts(made, seconds=-30), None)])
    assert (held.actions, held.again) == ((), 70)  # a fiftieth of the age
    [more] = brief(seen(retention, ended("b", 50, logs=False), jobs=[(facts(made, seconds=-101), None)]))
    assert more == "artifacts: b/artifacts"
    monkeypatch.setattr(subject, "THINGS", 2)
    three = [ended(name, ago, logs=False) for name, ago in (("b", 20), ("c", 30), ("d", 10))]
    full = seen(retention, *three, jobs=[(facts(made, seconds=-30), None)])
    assert brief(full) == ["artifacts: b/artifacts c/artifacts"]


def test_a_job_records_all_that_it_deletes_of_a_run_also_where_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"runs": {"amount": 0}, "artifacts": {"age": "1s"}}
    monkeypatch.setattr(subject, "THINGS", 1)
    assert brief(seen(both, ended("a", 60), ended("b", 50))) == ["now: a/artifacts a/logs"]


def test_one_job_at_a_time_deletes() -> None:
    retention = {"runs": {"amount": 0}}
    [made] = seen(retention, OLD).actions
    held = seen(retention, NEW, jobs=[(facts(made), None)])
    assert (held.actions, held.again) == ((), 10)


def test_what_lies_where_a_later_run_has_written_is_not_an_earlier_ones() -> None:
    over_it = ended("new", 10, logs=False)
    same = over_it._replace(stored=tuple(thing._replace(run="old-uid", finished=at(-60)) for thing in over_it.stored))
    before = same._replace(run=ended("old", 60).run)
    assert brief(seen({"artifacts": {"age": "30s"}}, before, over_it)) == []
    assert brief(seen({"artifacts": {"age": "30s"}}, before)) == ["now: old/artifacts"]


def test_what_a_dataasset_names_stays_and_so_does_what_no_datastore_leads_to() -> None:
    asset = {"metadata": metadata("a", "a-uid"), "spec": {"asset": "a", "dataStore": "lake", "path": "old"}}
    retention = {"runs": {"amount": 0}, "artifacts": {"age": "1s"}}
    assert brief(seen(retention, OLD, assets=(DataAsset.model_validate(asset),))) == ["now: old/logs"]
    assert brief(seen(retention, OLD, stores={})) == ["delete JobRun old"]


def test_a_job_has_the_stores_in_which_the_commit_record_may_be() -> None:
    [made] = seen({"artifacts": {"age": "1s"}}, ended("old", 60, stores=("warehouse",))).actions
    assert isinstance(made, Create)
    [variable, *_] = made.manifest["spec"]["template"]["spec"]["containers"][0]["env"]
    plan = json.loads(variable["value"])
    assert [entry["name"] for entry in plan["stores"]] == ["lake", "warehouse"]
    assert plan["items"] == [
        {
            "run": "old-uid",
            "kind": "artifacts",
            "store": 1,
            "path": "old/o.zip",
            "uri": "s3://warehouse/old/o.zip",
            "until": render(at(-60)),
        }
    ]
    assert made.manifest["metadata"]["ownerReferences"][0]["uid"] == "deployment-uid"


def test_runs_that_stay_are_told_what_is_gone_and_what_is_in_the_way_is_told() -> None:
    retention = {"artifacts": {"age": "30s"}}
    [made] = seen(retention, OLD, NEW).actions
    started = facts(made, parked=False)
    assert brief(seen(retention, OLD, NEW, jobs=[(started, None)])) == []
    stuck = pod(waiting_for("keep", "CreateContainerConfigError", 'secret "lake" not found'))
    [event] = seen(retention, OLD, NEW, jobs=[(started, stuck)]).actions
    assert isinstance(event, Emit)
    assert (event.kind, event.warning, event.reason) == ("Deployment", True, "DataNotDeleted")
    assert 'secret "lake" not found' in event.message
    done = pod(over("keep", message={"deleted": 3, "kept": 1}), phase="Succeeded")
    plan = seen(retention, OLD, NEW, jobs=[(replace(started, complete=True), done)])
    assert brief(plan) == ["old: {'deleted': ['artifacts']}", "DataDeleted", "delete Job"]
    told = OLD._replace(deleted=("artifacts",), stored=OLD.stored[:1])
    again = seen(retention, told, NEW, jobs=[(replace(started, complete=True), None)])
    assert brief(again) == ["DataDeleted", "delete Job"]


def test_a_refused_job_is_told_and_tried_again_and_its_run_waits() -> None:
    refused = Learned(refusal=(403, "exceeded quota: jobs", at(-5).timestamp()))
    plan = seen({"runs": {"amount": 1}}, OLD, NEW, learned=refused)
    [event] = plan.actions
    assert isinstance(event, Emit)
    assert (event.warning, event.reason) == (True, "DataNotDeleted")
    assert "exceeded quota: jobs" in event.message
    assert plan.again
    old = replace(refused, refusal=(403, "exceeded quota: jobs", at(-500).timestamp()))
    assert brief(seen({"runs": {"amount": 1}}, OLD, NEW, learned=old)) == ["now: old/logs"]


def test_a_pass_deletes_so_many_runs_and_comes_back() -> None:
    runs = [ended(f"r{number:03}", number, stores=(), logs=False) for number in range(150)]
    plan = seen({"runs": {"amount": 0}}, *runs)
    assert [type(action) for action in plan.actions] == [Delete] * 100
    assert plan.again == 0
    assert seen({"runs": {"amount": 0, "age": "1s"}}, ended("x", 0)._replace(stored=()), NEW).again is not None
    assert timedelta(0) < timedelta(seconds=seen({"runs": {"age": "70s"}}, OLD).again or 0) == timedelta(seconds=10)
