"""What is done about a run in shards: before them, between their attempts, after them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from fixtures.objects import (
    DATA,
    RUN_UID,
    after,
    deployment,
    failed_job,
    job,
    over,
    pod,
    run,
    running,
    snapshot,
    stamp,
    started_status,
    store,
)
from millrace.domain.shards import Cause, Shards
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import Action, CreateNextAttempt, Emit, EndJob, Learned, LookForEvents, LookForJob, StartJob
from millrace.reconcile.run import reconcile_run
from millrace.reconcile.snapshot import RunSnapshot
from unit.reconcile.cases import short

SPEC: dict[str, Any] = {
    "inputs": [{"name": "data", **DATA}],
    "outputs": [{"name": "scores", "dataStore": {"name": "lake", "path": "out"}}],
    "parallel": {"shards": 3},
}
GONE = {"cancel": True}
AGAIN = {"shards": 3, "of": "before", "only": [1]}
BOOM = {"reason": "UserError", "message": "boom", "logTail": "tail"}


def indexed(attempt: int = 1, *, known: Shards | None = None, **changes: Any) -> JobFacts:
    """The Job of an attempt at three shards."""
    return job(attempt, shards=known or Shards(count=3), **{"started": stamp(5), **changes})


def step(name: str, attempt: int = 1, **changes: Any) -> JobFacts:
    return replace(
        job(step=name, **changes),
        name=f"score-{name}{f'-{attempt}' if attempt > 1 else ''}",
        uid=f"job-{name}",
        attempt=attempt,
    )


MERGE, PLAN = step("merge", suspended=True, active=0), step("plan")
PLANNED = {"plan": pod(over("stage", message={"inputs": [{"name": "data", "files": 9}]}), phase="Succeeded")}
MERGED = {
    "merge": pod(
        over("collect", message={"outputs": [{"name": "scores", "uri": "s3://lake/out/scores.manifest.json"}]}),
        phase="Succeeded",
    )
}
WAITS = indexed(suspended=True, active=0, started=None)
TAKEN = replace(WAITS, kueue_queue="default")
CANCELLED = ("Cancelled", "spec.cancel was set")
REJECTED = ("ParallelRejected", "Kueue has taken the Job (LocalQueue default)")
TOO_LATE = ("DeadlineExceeded", "Job was active longer than specified deadline")


def shard(position: int, *containers: Any, phase: str = "Running", **changes: Any) -> PodFacts:
    return pod(*(containers or (running(),)), phase=phase, position=position, **{"name": f"score-{position}", **changes})


def done(position: int) -> PodFacts:
    return shard(position, over(), phase="Succeeded")


def broken(position: int) -> PodFacts:
    return shard(position, over(code=1, message=BOOM), phase="Failed")


def evicted(position: int) -> PodFacts:
    return shard(position, over(code=244), phase="Failed", disruption=("EvictionByEvictionAPI", "drained"))


def seen(*shards: PodFacts, spec: dict[str, Any] | None = None, attempt: int = 1, **more: Any) -> RunSnapshot:
    """A run whose Jobs are there: the shards', a merge that waits, a plan that is over."""
    status = started_status(attempt, phase=more.pop("phase", "Running"), reason=None)
    if "over" in more:
        status |= {"phase": more.pop("over"), "times": {"finished": stamp(59)}}
    return snapshot(
        run(status=status, **{**SPEC, **(spec or {})}),
        stores=(store(),),
        **{
            "now": 60,
            "jobs": (indexed(),),
            "steps": (MERGE, replace(PLAN, complete=True, active=0)),
            "pods": PLANNED,
            "shard_pods": shards,
            **more,
        },
    )


def told(action: Action) -> str | None:
    match action:
        case StartJob(_, name):
            return f"Start {name}"
        case CreateNextAttempt(shards=Shards() as known):
            return f"Next {action.attempt} from {action.previous} at {known.only}, failed {known.failed}"
        case _:
            return short(action)


@dataclass(frozen=True)
class Case:
    """A situation; what is done, and what the status says then (phase, reason)."""

    seen: RunSnapshot
    does: tuple[str, ...] = ()
    phase: str | None = None
    reason: str | None = None
    says: str = ""


END_1 = "Event Retrying"
CASES: dict[str, Case] = {
    "a new run": Case(
        snapshot(run(**SPEC), stores=(store(),)),
        ("Create Job score-merge", "Create Job score-plan", "Create Job score"),
        "Pending",
        "Starting",
    ),
    "a new run that slices nothing": Case(
        snapshot(run(**{**SPEC, "inputs": []}), stores=(store(),)),
        ("Create Job score-merge", "Create Job score"),
        "Pending",
        "Starting",
    ),
    "a new run without outputs": Case(
        snapshot(run(**{**SPEC, "outputs": []}), stores=(store(),)),
        ("Create Job score-plan", "Create Job score"),
        "Pending",
        "Starting",
    ),
    "some shards of a run again": Case(
        snapshot(run(**{**SPEC, "parallel": AGAIN}), stores=(store(),), earlier=("earlier-uid", True)),
        ("Create Job score-merge", "Create Job score-plan", "Create Job score"),
        "Pending",
        "Starting",
    ),
    "some shards of a run that is not there": Case(
        snapshot(run(**{**SPEC, "parallel": AGAIN}), stores=(store(),)),
        ("Event ParallelRejected",),
        "Failed",
        "ParallelRejected",
        says="JobRun before does not exist",
    ),
    "some shards of a run that is not over": Case(
        snapshot(run(**{**SPEC, "parallel": AGAIN}), stores=(store(),), earlier=("earlier-uid", False)),
        ("Event ParallelRejected",),
        "Failed",
        "ParallelRejected",
        says="JobRun before is not over",
    ),
    "Kueue is to admit it": Case(
        snapshot(run(**SPEC, kueueQueue="team-a"), stores=(store(),)),
        ("Event ParallelRejected",),
        "Failed",
        "ParallelRejected",
        says="Kueue does not admit runs in shards; spec.kueueQueue is team-a",
    ),
    "Kueue is to admit the runs of its Deployment": Case(
        snapshot(run(**SPEC), stores=(store(),), deployed=deployment(queue={"kueueQueue": "team-a"})),
        (),
        "Blocked",
        "ParallelRejected",
        says="Kueue does not admit runs in shards; its Deployment's queue.kueueQueue is team-a",
    ),
    "Kueue takes the plan": Case(
        seen(jobs=(TAKEN,), steps=(MERGE, step("plan", suspended=True, active=0, kueue_queue="default")), pods={}),
        ("End score-plan ParallelRejected",),
    ),
    "Kueue has taken the plan": Case(
        seen(
            jobs=(TAKEN,),
            steps=(MERGE, step("plan", suspended=True, active=0, kueue_queue="default", ended=REJECTED)),
            pods={},
        ),
        ("Event ParallelRejected",),
        "Failed",
        "ParallelRejected",
        says="Kueue has taken the Job",
    ),
    "Kueue starts shards before their plan is over": Case(
        seen(jobs=(replace(TAKEN, suspended=False),), steps=(MERGE, PLAN), pods={"plan": pod(running("stage"))}),
        ("End score ParallelRejected",),
    ),
    "over, and Kueue would start its shards": Case(
        seen(jobs=(TAKEN,), steps=(replace(MERGE, kueue_queue="default"),), pods={}, over="Failed"),
        ("Delete score", "Delete score-merge"),
    ),
    "the input is being sliced": Case(
        seen(jobs=(WAITS,), steps=(MERGE, PLAN), pods={"plan": pod(running("stage"))}, phase="Pending"), phase="Staging"
    ),
    "the input is sliced": Case(seen(jobs=(WAITS,), phase="Pending"), ("Start score",), "Staging"),
    "the input is not there": Case(
        seen(
            jobs=(WAITS,),
            steps=(MERGE, PLAN),
            pods={
                "plan": pod(over("stage", 248, message={"reason": "NotFound", "message": "s3://lake/in"}), phase="Failed")
            },
            spec={"retries": 3},
        ),
        ("Event StageFailed",),
        "Failed",
        "StageFailed",
        says="NotFound: s3://lake/in",
    ),
    "the pod that slices was evicted": Case(
        seen(
            jobs=(WAITS,),
            steps=(MERGE, PLAN),
            pods={"plan": pod(over("stage", 244), phase="Failed", disruption=("EvictionByEvictionAPI", "drained"))},
        ),
        ("Next 2 from score-plan, 0 charged",),
    ),
    "somebody has deleted the plan's Job": Case(seen(jobs=(WAITS,), steps=(MERGE,), pods={}), ("Look for score-plan",)),
    "the plan's Job is really gone": Case(
        seen(jobs=(WAITS,), steps=(MERGE,), pods={}, learned=Learned(absent_jobs=frozenset({"score-plan"}))),
        ("Event JobDeleted",),
        "Failed",
        "JobDeleted",
    ),
    "cancelled while the input is being sliced": Case(
        seen(jobs=(WAITS,), steps=(MERGE, PLAN), pods={"plan": pod(running("stage"))}, spec=GONE),
        ("End score-plan Cancelled",),
    ),
    "cancelled, and the plan is ended": Case(
        seen(
            jobs=(WAITS,),
            steps=(MERGE, step("plan", suspended=True, active=0, ended=CANCELLED)),
            pods={"plan": pod(over("stage", 244), phase="Failed", deleted=stamp(40))},
            spec=GONE,
        ),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled, and Kubernetes has closed the plan that was started again": Case(
        seen(
            jobs=(WAITS,),
            steps=(MERGE, step("plan", active=0, ended=CANCELLED, failed=TOO_LATE, finished=stamp(50))),
            pods={},
            spec=GONE,
        ),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled when the input is sliced": Case(
        seen(jobs=(WAITS,), spec=GONE), ("Event Cancelled",), "Cancelled", "Cancelled"
    ),
    "shards at work": Case(seen(shard(0), shard(1))),
    "the first of them at work": Case(
        seen(shard(0), shard(1, running("stage"), phase="Pending"), phase="Staging"), phase="Running"
    ),
    "the next are being staged, others are over": Case(seen(done(0), shard(1, running("stage"), phase="Pending"))),
    "one has failed, others are at work": Case(seen(broken(0), shard(1), shard(2))),
    "the next have no pods yet": Case(seen(done(0), now=12)),
    "they have been started long after they were made": Case(
        seen(jobs=(indexed(started=None, active=0),), now=600, phase="Staging")
    ),
    "the merge has been started long after it was made": Case(
        seen(done(0), done(1), done(2), steps=(step("merge", active=0),), pods={}, now=600, phase="Uploading")
    ),
    "shards end one after the other for long": Case(
        seen(shard(0, over(until=59), phase="Succeeded"), shard(1, running(since=20)), phase="Staging"), phase="Running"
    ),
    "the next get no pods": Case(seen(done(0)), ("Look at events of score",)),
    "all are over": Case(seen(done(0), done(1), done(2)), ("Start score-merge",), "Uploading"),
    "all are over, says the Job, and their pods are gone": Case(
        seen(jobs=(indexed(completed="0-2", complete=True, active=0, finished=stamp(50)),)),
        ("Start score-merge",),
        "Uploading",
    ),
    "all are over, and there is nothing to merge": Case(
        seen(done(0), done(1), done(2), spec={"outputs": []}, steps=(), pods={}), ("Event Succeeded",), "Succeeded"
    ),
    "all are over, and the merge's Job is gone": Case(
        seen(done(0), done(1), done(2), steps=(), pods={}), ("Look for score-merge",)
    ),
    "one has failed": Case(
        seen(done(0), broken(1), done(2)),
        ("Event UserError",),
        "Failed",
        "UserError",
        says="shard 1: boom; 1 of 3 shards failed (1), 0 may (parallel.maxFailedShards)",
    ),
    "one has failed, and one may": Case(
        seen(done(0), broken(1), done(2), jobs=(indexed(known=Shards(count=3, tolerated=1)),)),
        ("Start score-merge",),
        "Uploading",
    ),
    "two have failed, and one may": Case(
        seen(broken(0), broken(1), done(2), jobs=(indexed(known=Shards(count=3, tolerated=1)),)),
        ("Event UserError",),
        "Failed",
        "UserError",
        says="shard 0: boom; 2 of 3 shards failed (0, 1), 1 may",
    ),
    "one has failed and is tried again": Case(
        seen(done(0), broken(1), done(2), spec={"retries": 1}),
        ("Next 2 from score at [1], failed []", END_1),
        "Pending",
        "Retrying",
        says="attempt 1 failed at shard 1: UserError: boom",
    ),
    "one has failed and is tried again soon": Case(
        seen(done(0), broken(1), done(2), spec={"retries": 1}, now=12),
        (),
        "Pending",
        "UserError",
        says="the next follows at",
    ),
    "one was evicted": Case(
        seen(done(0), evicted(1), broken(2)), ("Next 2 from score at [1], failed [2]", END_1), "Pending", "Retrying"
    ),
    "the node of one is silent": Case(
        seen(done(0), done(1), shard(2, deleted=stamp(30), grace_seconds=15), now=120),
        ("Next 2 from score at [2], failed []", END_1),
        "Pending",
        "Retrying",
        says="NodeLost",
    ),
    "the node of one is silent, another is at work": Case(seen(done(0), shard(1), shard(2, deleted=stamp(30)), now=120)),
    "the pod of one that has failed is gone": Case(
        seen(done(0), done(1), jobs=(indexed(completed="0,1", failed_indexes="2"),)),
        ("Next 2 from score at [2], failed []", END_1),
        "Pending",
        "Retrying",
        says="PodDeleted",
    ),
    "the second attempt is over": Case(
        seen(done(0), jobs=(indexed(), indexed(2, known=Shards(count=3, only=[1]))), attempt=2),
        ("Start score-merge",),
        "Uploading",
    ),
    "the second attempt has failed at the last": Case(
        seen(
            broken(1),
            done(0),
            attempt=2,
            jobs=(
                indexed(),
                indexed(2, known=Shards(count=9, only=[4, 7], failed=[2], cause=Cause(shard=2, reason="OOMKilled"))),
            ),
        ),
        ("Event OOMKilled",),
        "Failed",
        "OOMKilled",
        says="shard 2: ; 2 of 9 shards failed (2, 7)",
    ),
    "cancelled while shards are at work": Case(seen(done(0), shard(1), spec=GONE), ("End score Cancelled",)),
    "cancelled, and all are over": Case(
        seen(
            done(0),
            shard(1, over(code=244), phase="Failed", deleted=stamp(40)),
            jobs=(indexed(ended=CANCELLED, suspended=True, active=0),),
            spec=GONE,
        ),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled, and Kubernetes has closed the shards that were started again": Case(
        seen(
            done(0),
            jobs=(indexed(active=0, ended=CANCELLED, failed=TOO_LATE, finished=stamp(50), completed="0"),),
            spec=GONE,
        ),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled between two attempts": Case(
        seen(done(0), broken(1), done(2), spec={"retries": 1, **GONE}, now=12),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled while the manifest is being written": Case(
        seen(done(0), done(1), done(2), steps=(step("merge"),), pods={"merge": pod(running("collect"))}, spec=GONE),
        ("End score-merge Cancelled",),
    ),
    "cancelled, and the merge is ended": Case(
        seen(
            done(0),
            done(1),
            done(2),
            steps=(step("merge", suspended=True, active=0, ended=CANCELLED),),
            pods={"merge": pod(over("collect", 244), phase="Failed", deleted=stamp(40))},
            spec=GONE,
        ),
        ("Event Cancelled",),
        "Cancelled",
        "Cancelled",
    ),
    "cancelled, and the manifest was written all the same": Case(
        seen(
            done(0),
            done(1),
            done(2),
            steps=(step("merge", suspended=True, active=0, ended=CANCELLED),),
            pods=MERGED,
            spec=GONE,
            phase="Uploading",
        ),
        ("Event Succeeded",),
        "Succeeded",
    ),
    "ended for its deadline": Case(
        seen(
            done(0),
            done(1),
            jobs=(indexed(ended=("Unschedulable", "no node"), suspended=True, active=0),),
            spec={"retries": 3},
        ),
        ("Event Unschedulable",),
        "Failed",
        "Unschedulable",
        says="shard 2: no node",
    ),
    "the backstop has ended it": Case(
        seen(
            jobs=(
                replace(failed_job(reason="DeadlineExceeded", message="too long"), shards=Shards(count=3), completed="0,1"),
            )
        ),
        ("Event DeadlineExceeded",),
        "Failed",
        "DeadlineExceeded",
        says="shard 2: too long",
    ),
    "the manifest is being written": Case(
        seen(done(0), done(1), done(2), steps=(step("merge"),), pods={"merge": pod(running("collect"))}, phase="Uploading")
    ),
    "the manifest is written": Case(
        seen(done(0), done(1), done(2), steps=(step("merge"),), pods=MERGED, phase="Uploading"),
        ("Event Succeeded",),
        "Succeeded",
    ),
    "the pod that merges was evicted": Case(
        seen(
            steps=(step("merge"),),
            pods={"merge": pod(over("collect", 244), phase="Failed", disruption=("EvictionByEvictionAPI", "drained"))},
        ),
        ("Next 2 from score-merge, 0 charged",),
    ),
    "the manifest cannot be written": Case(
        seen(
            steps=(step("merge"),),
            pods={"merge": pod(over("collect", 242, message={"reason": "UploadFailed", "message": "no"}), phase="Failed")},
        ),
        ("Event UploadFailed",),
        "Failed",
        "UploadFailed",
        says="no",
    ),
    "a merge that is tried again": Case(
        seen(
            done(0),
            done(1),
            done(2),
            steps=(step("merge"), replace(step("merge", 2), uid="job-2nd")),
            pods={"2nd": MERGED["merge"]},
        ),
        ("Event Succeeded",),
        "Succeeded",
    ),
    "the shards' Job is gone, and one of its pods has succeeded": Case(
        snapshot(
            run(status=started_status(), **SPEC),
            stores=(store(),),
            steps=(MERGE, PLAN),
            orphans=(done(0),),
            learned=Learned(absent_jobs=frozenset({"score"})),
        ),
        ("Create Job score-merge", "Create Job score-plan", "Create Job score-2"),
        "Pending",
        "Starting",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_done(name: str) -> None:
    case = CASES[name]
    plan = reconcile_run(case.seen)
    result = after(case.seen.run, plan)
    assert tuple(text for action in plan.actions if (text := told(action))) == case.does
    if case.phase is None:
        assert result.status == case.seen.run.status
    else:
        assert (result.status.phase, result.status.reason) == (case.phase, case.reason)
    said = [condition.message for condition in result.status.conditions]
    assert not case.says or any(case.says in text for text in said), said


@pytest.mark.parametrize("name", CASES)
def test_what_is_not_over_is_looked_at_again(name: str) -> None:
    plan = reconcile_run(CASES[name].seen)
    looks = any(isinstance(action, LookForJob | LookForEvents | EndJob) for action in plan.actions)
    assert plan.again is not None or looks
    assert not any(isinstance(action, Emit) and not action.reason for action in plan.actions)


def test_the_end_names_the_shards_that_have_failed_and_keeps_the_first_ones_words() -> None:
    tolerant = indexed(known=Shards(count=3, tolerated=1))
    merging = seen(done(0), broken(1), done(2), jobs=(tolerant,), steps=(step("merge"),), pods=MERGED)
    status = after(merging.run, reconcile_run(merging)).status
    assert status.shards
    assert (status.shards.count, status.shards.failed) == (3, [1])
    assert status.warnings == ["1 of 3 shards failed (1): shard 1: UserError: boom"]
    assert status.failure is None
    assert [output.uri for output in status.outputs] == ["s3://lake/out/scores.manifest.json"]
    strict = seen(done(0), broken(1), done(2))
    status = after(strict.run, reconcile_run(strict)).status
    assert status.failure
    assert (status.failure.container, status.failure.exit_code, status.failure.log_tail) == ("main", 1, "tail")


LAKE = {"outputs": {"scores": {"name": "lake", "path": "out/scores.manifest.json"}}, "logs": "lake"}
KEPT = {"outputs": [{"name": "scores", "uri": "s3://lake/out/scores-1.zip"}], "logs": "s3://lake/logs/score/1/1/"}


def test_a_run_without_a_manifest_has_no_outputs_for_retention_to_find_but_all_its_logs() -> None:
    kept = over("collect", message=KEPT)
    broke = shard(1, over(code=1, message=BOOM), kept, phase="Failed")
    failed = seen(done(0), broke, done(2), jobs=(indexed(places=LAKE),))
    status = after(failed.run, reconcile_run(failed)).status
    assert (status.outputs, status.logs, status.logs_store) == ([], "s3://lake/logs/score/1/1/", "lake")
    whole = [shard(position, over(), kept, phase="Succeeded") for position in range(3)]
    for spec, end in (({"outputs": []}, "Succeeded"), (GONE, "Cancelled")):
        ended = seen(*whole, jobs=(indexed(places=LAKE),), steps=(), pods={}, spec=spec)
        status = after(ended.run, reconcile_run(ended)).status
        assert (status.phase, status.outputs, status.logs, status.logs_store) == (end, [], "s3://lake/logs/score/", "lake")


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.phase])
def test_every_status_says_whose_it_is(name: str) -> None:
    status = after(CASES[name].seen.run, reconcile_run(CASES[name].seen)).status
    assert (status.function, status.job_id) == ("heart", RUN_UID)


def test_a_shard_that_has_failed_is_named_at_the_end_although_its_pod_has_gone_meanwhile() -> None:
    tolerant = indexed(known=Shards(count=3, tolerated=1), failed_indexes="1")
    merging = seen(done(0), done(2), jobs=(tolerant,), steps=(step("merge"),), pods=MERGED)
    status = after(merging.run, reconcile_run(merging)).status
    assert status.shards
    assert status.shards.failed == [1]


def test_what_was_sliced_is_told_and_times_are_those_of_all_shards() -> None:
    planned = seen(jobs=(WAITS,), phase="Pending")
    subject = after(planned.run, reconcile_run(planned))
    assert [(entry.name, entry.files) for entry in subject.status.inputs] == [("data", 9)]
    shards = (shard(0, over(since=10, until=20), phase="Succeeded"), shard(1, over(since=12, until=40), phase="Succeeded"))
    ended = seen(*shards, jobs=(indexed(known=Shards(count=2)),), steps=(step("merge"),), pods=MERGED)
    times = after(ended.run, reconcile_run(ended)).status.times
    assert times
    assert (times.started, times.exited) == (stamp(10), stamp(40))
