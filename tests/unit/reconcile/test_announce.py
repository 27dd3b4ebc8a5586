"""What a run has to tell stands in its status with the transition: in one write, once, and only what is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fixtures.objects import (
    after,
    at,
    condition,
    deployment,
    job,
    over,
    pod,
    run,
    running,
    snapshot,
    stamp,
    started_status,
    status_writes,
)
from millrace.api.jobrun import JobRun
from millrace.domain.queue import Line
from millrace.domain.shards import Shards
from millrace.reconcile.plan import Emit, Plan
from millrace.reconcile.run import reconcile_run
from millrace.reconcile.snapshot import RunSnapshot

TAKEN = Line(running=2, ahead=0, waiting=1, lower=0, older=0)


def of(subject: JobRun, *on: str, now: float, **changes: Any) -> RunSnapshot:
    """The run of a Deployment that tells of these transitions."""
    entries = [{"on": list(on), "urlSecretRef": {"name": "hook", "key": "url"}}] if on else []
    return replace(snapshot(subject, deployed=deployment(notifications=entries), now=now), **changes)


def deployed(status: dict[str, Any] | None = None, **spec: Any) -> JobRun:
    return run(status=status, deploymentRef={"name": "scoring"}, **spec)


def ending(*on: str, code: int = 0) -> RunSnapshot:
    found = pod(over(code=code), phase="Failed" if code else "Succeeded")
    return of(deployed(started_status()), *on, now=20, jobs=(job(),), pods={"job-1": found})


def noted(plan: Plan) -> list[tuple[str, str]]:
    return [
        (each["transition"], each["time"])
        for status in status_writes(plan)
        for each in status.get("notifications", {}).get("pending", [])
    ]


@pytest.mark.parametrize(
    ("code", "on", "expected"),
    [
        (0, ("Succeeded", "Failed"), ["Succeeded"]),
        (1, ("Succeeded", "Failed"), ["Failed"]),
        (1, ("Succeeded",), []),
        (0, (), []),
    ],
)
def test_an_end_is_noted_in_the_write_that_makes_it(code: int, on: tuple[str, ...], expected: list[str]) -> None:
    plan = reconcile_run(ending(*on, code=code))
    [status] = status_writes(plan)
    assert status["phase"] == ("Failed" if code else "Succeeded")
    assert noted(plan) == [(transition, status["times"]["finished"]) for transition in expected]


def test_a_run_of_no_deployment_has_nothing_to_tell() -> None:
    [status] = status_writes(reconcile_run(replace(ending("Succeeded"), deployment=None)))
    assert "notifications" not in status


def test_a_cancelled_run_that_never_started_is_told() -> None:
    plan = reconcile_run(of(deployed(cancel=True), "Cancelled", now=5))
    assert noted(plan) == [("Cancelled", stamp(5))]


BLOCKED = {"phase": "Blocked", "reason": "FunctionNotFound"}
SUSPENDED = {"phase": "Pending", "reason": "Suspended", "conditions": [condition("Admitted", "Unknown", "Suspended")]}


@pytest.mark.parametrize(
    ("subject", "on", "now", "expected"),
    [
        (deployed(BLOCKED), "Late", 600, []),
        (deployed(BLOCKED), "Late", 601, [("Late", stamp(600))]),
        (deployed(BLOCKED), "Failed", 601, []),
        (deployed({**BLOCKED, "conditions": [condition("Admitted", "False", "Queued", seconds=60)]}), "Late", 660, []),
        (deployed(suspend=True), "Late", 9999, []),
        (deployed(SUSPENDED, suspend=True), "Late", 9999, []),
        (deployed(SUSPENDED), "Late", 9999, []),
        (deployed({"phase": "Running", "jobName": "score"}), "Late", 9999, []),
        (
            run(
                meta={"annotations": {"millrace.dev/scheduled-at": stamp(60)}},
                status=BLOCKED,
                deploymentRef={"name": "scoring"},
            ),
            "Late",
            661,
            [("Late", stamp(660))],
        ),
    ],
)
def test_a_run_is_late_ten_minutes_after_it_was_due(
    subject: JobRun, on: str, now: float, expected: list[tuple[str, str]]
) -> None:
    assert noted(reconcile_run(of(subject, on, now=now, function=None))) == expected


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_run_that_has_started_is_not_late_between_its_attempts(attempt: int) -> None:
    status = started_status(attempt, phase="Pending", reason="UserError")
    status["times"] |= {"started": stamp(10)} if attempt == 1 else {}
    broken = pod(over(code=1, until=3590), phase="Failed")
    more = {"jobs": (job(attempt),), "pods": {f"job-{attempt}": broken}}
    plan = reconcile_run(of(deployed(status, retries=3), "Late", now=3595, **more))
    assert noted(plan) == []
    assert plan.again is not None
    assert plan.again > 1


def test_a_late_run_is_noted_once_has_an_event_and_its_end_is_noted_beside_it() -> None:
    first = of(deployed(BLOCKED), "Late", "Cancelled", now=601, function=None)
    plan = reconcile_run(first)
    [event] = [action for action in plan.actions if isinstance(action, Emit)]
    assert (event.reason, event.warning) == ("Late", True)
    later = replace(first, run=after(first.run, plan), now=at(700))
    assert noted(reconcile_run(later)) == []
    cancelled = later.run.model_copy(update={"spec": later.run.spec.model_copy(update={"cancel": True})})
    assert [each for each, _ in noted(reconcile_run(replace(later, run=cancelled)))] == ["Late", "Cancelled"]


def test_a_waiting_run_is_looked_at_again_when_it_would_be_late() -> None:
    queued = {"phase": "Queued", "queuePosition": 1, "conditions": [condition("Admitted", "False", "Queued")]}
    subject = deployed(queued)
    plan = reconcile_run(of(subject, "Late", now=100, line=TAKEN))
    assert (plan.actions, plan.again) == ((), 501)
    assert (reconcile_run(of(subject, "Failed", now=100, line=TAKEN)).again or 0) > 501


SHARDS = {"parallel": {"shards": 2}}
WAITS = job(shards=Shards(count=2), suspended=True, active=0)
PLAN = replace(job(step="plan"), name="score-plan", uid="job-plan")


def ended_shards(*codes: int, **changes: Any) -> dict[str, Any]:
    """Jobs and pods of a run whose shards are over with these exit codes."""
    pods = tuple(
        pod(over(code=code), phase="Failed" if code else "Succeeded", position=position, name=f"score-{position}")
        for position, code in enumerate(codes)
    )
    return {"jobs": (job(shards=Shards(count=2), **changes),), "shard_pods": pods}


@pytest.mark.parametrize(
    ("spec", "seen", "expected"),
    [
        ({}, ended_shards(0, 0), ["Succeeded"]),
        ({}, ended_shards(0, 1), ["Failed"]),
        ({"cancel": True}, ended_shards(0, 1, ended=("Cancelled", "why"), suspended=True), ["Cancelled"]),
        ({"retries": 1}, ended_shards(0, 1), []),
    ],
)
def test_the_end_of_a_run_in_shards_is_noted_once_and_that_of_a_shard_is_not(
    spec: dict[str, Any], seen: dict[str, Any], expected: list[str]
) -> None:
    subject = deployed(started_status(phase="Running", reason=None), **SHARDS, **spec)
    plan = reconcile_run(of(subject, "Succeeded", "Failed", "Cancelled", now=12, **seen))
    assert [transition for transition, _ in noted(plan)] == expected


def test_a_run_is_late_where_its_shards_find_no_node_and_not_while_its_input_is_sliced() -> None:
    staged = deployed(started_status(phase="Staging", reason=None), **SHARDS)
    slicing = of(staged, "Late", now=700, jobs=(WAITS,), steps=(PLAN,), pods={"job-plan": pod(running("stage", since=5))})
    assert noted(reconcile_run(slicing)) == []
    nowhere = pod(phase="Pending", position=0, scheduled=False, unschedulable="no node", created=90)
    shards = job(shards=Shards(count=2), started=stamp(90))
    plan = reconcile_run(of(staged, "Late", now=700, jobs=(shards,), shard_pods=(nowhere,)))
    assert noted(plan) == [("Late", stamp(600))]
    [status] = status_writes(plan)
    assert (status["phase"], status["reason"]) == ("Pending", "Unschedulable")
