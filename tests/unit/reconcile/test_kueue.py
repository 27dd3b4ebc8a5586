"""A run whose Job Kueue admits: it waits, starts, is evicted, cancelled; its Job is never left in Kueue's hands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fixtures.objects import (
    REVISION,
    after,
    at,
    condition,
    failed_job,
    job,
    over,
    pod,
    recorded_pod,
    run,
    running,
    snapshot,
    stamp,
    started_status,
    status_writes,
    waiting_for,
)
from millrace.domain.conditions import find
from millrace.observe.job import JobFacts
from millrace.reconcile.plan import Create, CreateNextAttempt, EndJob
from millrace.reconcile.run import reconcile_run
from millrace.reconcile.snapshot import RunSnapshot
from unit.reconcile.cases import Case, short

DAY = 86400
QUEUE = "team-a"


def awaiting(**spec: Any) -> Any:
    """A run whose Job was made at 0 and is not admitted."""
    status = started_status(phase="Queued", reason="AwaitingAdmission")
    status["conditions"][1] = condition("Admitted", "False", "AwaitingAdmission", "Kueue has not admitted it")
    return run(status=status, kueueQueue=QUEUE, **spec)


def admitted(phase: str = "Running", **spec: Any) -> Any:
    return run(status=started_status(phase=phase, reason=None), kueueQueue=QUEUE, **spec)


def held(attempt: int = 1, **changes: Any) -> JobFacts:
    """A Job that Kueue has not admitted, or has suspended."""
    return job(attempt, **{"suspended": True, "active": 0, "kueue_queue": QUEUE, **changes})


def free(attempt: int = 1, **changes: Any) -> JobFacts:
    """A Job that Kueue has admitted."""
    return job(attempt, **{"kueue_queue": QUEUE, "started": stamp(1000), **changes})


EVICTED = ("Preempted", f"Kueue has suspended the Job (LocalQueue {QUEUE})")
CASES: dict[str, Case] = {
    "a new run": Case(
        snapshot(run(kueueQueue=QUEUE)), "Queued", "AwaitingAdmission", ("Create Job score",), says=f"LocalQueue {QUEUE}"
    ),
    "the write after the POST was lost": Case(
        snapshot(run(kueueQueue=QUEUE), jobs=(held(),)), "Queued", "AwaitingAdmission", says="not admitted"
    ),
    "it waits": Case(snapshot(awaiting(), now=60, jobs=(held(),)), again=(DAY - 60, DAY - 60)),
    "it waits too long": Case(
        snapshot(awaiting(timeouts={"queued": "1m"}), now=61, jobs=(held(),)),
        does=("End score QueueTimeout",),
        says="1m (timeouts.queued) for Kueue (LocalQueue team-a)",
    ),
    "it has waited too long": Case(
        snapshot(awaiting(timeouts={"queued": "1m"}), now=62, jobs=(held(ended=("QueueTimeout", "it waited for 1m")),)),
        "Failed",
        "QueueTimeout",
        ("Event QueueTimeout",),
    ),
    "cancelled while it waits": Case(snapshot(awaiting(cancel=True), jobs=(held(),)), does=("End score Cancelled",)),
    "ended while it waits": Case(
        snapshot(awaiting(cancel=True), jobs=(held(ended=("Cancelled", "spec.cancel was set")),)),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "just admitted, an hour after its creation": Case(
        snapshot(awaiting(), now=3600, jobs=(free(active=0, started=None),)), again=(5, 6)
    ),
    "admitted, and its pod is there": Case(
        snapshot(awaiting(), now=1003, jobs=(free(),), pods={1: pod(waiting_for(), phase="Pending", created=1001)}),
        "Pending",
        "Starting",
    ),
    "admitted, and without a pod": Case(
        snapshot(awaiting(), now=1010, jobs=(free(active=0),)), does=("Look at events of score",)
    ),
    "evicted while it runs": Case(
        snapshot(admitted(), now=2000, jobs=(held(active=1),), pods={1: pod(running(), created=1000)}),
        does=("End score Preempted",),
        says="Kueue has suspended the Job",
    ),
    "evicted, and its pod was never seen": Case(
        snapshot(admitted("Pending"), now=2000, jobs=(held(),)), does=("End score Preempted",)
    ),
    "evicted, its pod has its grace": Case(
        snapshot(
            admitted(),
            now=2000,
            jobs=(held(active=0, terminating=1, ended=EVICTED),),
            pods={1: pod(running(), deleted=stamp(2030), grace_seconds=30)},
        ),
        "Running",
        "Preempted",
        says="being ended",
    ),
    "evicted, and its pod is over": Case(
        snapshot(admitted(), now=2000, jobs=(held(ended=EVICTED),), pods={1: recorded_pod("deleted")}),
        "Queued",
        "AwaitingAdmission",
        ("Next 2 from score, 0 charged", "Event Retrying"),
    ),
    "evicted, and Kueue has started what we have ended": Case(
        snapshot(admitted(), now=2000, jobs=(free(active=0, ended=EVICTED),)), "Running", "Preempted", says="being ended"
    ),
    "its pod had failed before it was evicted": Case(
        snapshot(
            admitted(),
            now=2000,
            jobs=(held(ended=EVICTED),),
            pods={1: pod(over(code=1, message={"message": "boom"}), phase="Failed")},
        ),
        "Failed",
        "UserError",
        ("Event UserError",),
    ),
    "evicted and cancelled": Case(
        snapshot(admitted(cancel=True), now=2000, jobs=(held(ended=EVICTED),), pods={1: recorded_pod("deleted")}),
        "Cancelled",
        "Cancelled",
        ("Event Cancelled",),
    ),
    "its pod was done all the same": Case(
        snapshot(admitted(), now=2000, jobs=(held(),), pods={1: pod(over(), phase="Succeeded")}),
        "Succeeded",
        None,
        ("Event Succeeded",),
    ),
    "the next attempt waits, the last one's Job would still be admitted": Case(
        snapshot(
            run(status={**awaiting().status.dump(), "attempt": 2, "jobName": "score-2"}, kueueQueue=QUEUE),
            now=60,
            jobs=(held(ended=EVICTED), held(2)),
        ),
        does=("Delete score",),
    ),
    "the next attempt waits, the last one's Job is closed": Case(
        snapshot(
            run(status={**awaiting().status.dump(), "attempt": 2, "jobName": "score-2"}, kueueQueue=QUEUE),
            now=60,
            jobs=(failed_job(ended=EVICTED, kueue_queue=QUEUE), held(2)),
        ),
    ),
    "over, and its Job is about to be closed": Case(
        snapshot(
            run(status={"phase": "Succeeded", "observedGeneration": 1, "times": {"finished": stamp(10)}}),
            now=11,
            jobs=(free(active=0),),
        ),
    ),
    "over, and its Job would still be admitted": Case(
        snapshot(
            run(status={"phase": "Cancelled", "observedGeneration": 1, "times": {"finished": stamp(10)}}),
            now=11,
            jobs=(held(ended=("Cancelled", "why")),),
        ),
        does=("Delete score",),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_done(name: str) -> None:
    case = CASES[name]
    plan = reconcile_run(case.seen)
    done = after(case.seen.run, plan)
    assert tuple(text for action in plan.actions if (text := short(action))) == case.does
    assert len(status_writes(plan)) == (case.phase is not None)
    if case.phase:
        assert (done.status.phase, done.status.reason) == (case.phase, case.reason)
    told = [found.message for found in done.status.conditions]
    told += [action.message for action in plan.actions if isinstance(action, EndJob)]
    assert not case.says or any(case.says in text for text in told)
    if case.again:
        assert plan.again is not None
        assert case.again[0] <= plan.again <= case.again[1]
    if not done.status.phase.terminal and not any(text.startswith("Look") for text in case.does):
        assert plan.again is not None
        assert plan.again > 0


def made(seen: RunSnapshot) -> Any:
    [action] = [action for action in reconcile_run(seen).actions if isinstance(action, Create)]
    return action.manifest


def test_its_admission_stands_in_the_status() -> None:
    first = snapshot(run(kueueQueue=QUEUE))
    waits = after(first.run, reconcile_run(first))
    told = find(waits.status.conditions, "Admitted")
    assert told
    assert (told.status, told.reason) == ("False", "AwaitingAdmission")
    assert waits.status.times
    assert (waits.status.times.queued, waits.status.times.admitted) == (stamp(0), None)
    there = {1: pod(waiting_for(), phase="Pending", created=60)}
    begins = replace(first, run=waits, jobs=(free(),), pods={"job-1": there[1]}, now=at(61))
    starts = after(waits, reconcile_run(begins))
    told = find(starts.status.conditions, "Admitted")
    assert told
    assert told.status == "True"
    assert starts.status.times
    assert starts.status.times.admitted == stamp(61)
    quick = replace(begins, pods={"job-1": pod(over(until=62), phase="Succeeded", created=60)}, now=at(62))
    done = after(waits, reconcile_run(quick))
    told = find(done.status.conditions, "Admitted")
    assert told
    assert told.status == "True"
    assert done.status.times
    assert done.status.times.admitted == stamp(60)


def test_a_jobs_label_is_the_jobs_alone_and_the_run_says_which_queue() -> None:
    job = made(snapshot(run(kueueQueue=QUEUE)))
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == QUEUE
    assert "kueue.x-k8s.io/queue-name" not in job["spec"]["template"]["metadata"]["labels"]
    assert "suspend" not in made(snapshot(run()))["spec"]


def test_ten_evictions_are_enough() -> None:
    status = {**started_status(11), "functionRevision": REVISION}
    seen = snapshot(run(status=status, kueueQueue=QUEUE), now=9, jobs=(held(11, ended=EVICTED),))
    plan = reconcile_run(seen)
    assert not any(isinstance(action, CreateNextAttempt) for action in plan.actions)
    assert after(seen.run, plan).status.reason == "Preempted"
