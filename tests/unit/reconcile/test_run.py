"""What is done about a run, situation by situation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.objects import after, at, status_writes
from millrace.api.jobrun import Phase
from millrace.domain.conditions import find
from millrace.reconcile.plan import Create, EndJob
from millrace.reconcile.run import reconcile_run
from unit.reconcile.cases import CASES, FINISHED, Case, short


@pytest.mark.parametrize("name", CASES)
def test_what_is_done(name: str) -> None:
    case: Case = CASES[name]
    plan = reconcile_run(case.seen)
    writes = status_writes(plan)
    done = after(case.seen.run, plan)
    assert tuple(text for action in plan.actions if (text := short(action))) == case.does
    if case.phase is None:
        assert writes == []
    else:
        assert len(writes) == 1
        assert done.status.phase == case.phase
        assert done.status.reason == case.reason
    if case.says:
        told = [condition.message for condition in done.status.conditions]
        told += [action.message for action in plan.actions if isinstance(action, EndJob)]
        assert any(case.says in text for text in told), told
    if case.again:
        assert plan.again is not None
        assert case.again[0] <= plan.again <= case.again[1]


@pytest.mark.parametrize("name", CASES)
def test_a_second_pass_writes_nothing(name: str) -> None:
    """The first pass's writes are seen, nothing else has changed: nothing more is written to the status."""
    case = CASES[name]
    first = reconcile_run(case.seen)
    again = reconcile_run(replace(case.seen, run=after(case.seen.run, first)))
    if any(short(action) in case.does for action in first.actions if isinstance(action, Create)):
        return  # the Job is there now; test_a_run_from_its_first_to_its_last_write follows it
    assert status_writes(again) == [] or first.actions == ()


@pytest.mark.parametrize("name", CASES)
def test_every_wait_has_a_reason_and_an_end(name: str) -> None:
    """Promise 5: what is not over says why, and is looked at again by itself."""
    case = CASES[name]
    if case.seen.run.metadata.deletion_timestamp or name in FINISHED:
        return
    plan = reconcile_run(case.seen)
    done = after(case.seen.run, plan)
    if done.status.phase and done.status.phase.terminal:
        return
    looks = any(text.startswith("Look") for text in case.does)
    assert looks or (plan.again is not None and plan.again > 0)
    if done.status.phase in {Phase.PENDING, Phase.BLOCKED}:
        assert done.status.reason
        held = find(done.status.conditions, "Reconciling")
        assert held
        assert held.message


@pytest.mark.parametrize("name", CASES)
def test_the_end_says_all_that_kstatus_and_kubectl_wait_need(name: str) -> None:
    case = CASES[name]
    plan = reconcile_run(case.seen)
    done = after(case.seen.run, plan)
    if not status_writes(plan) or not done.status.phase or not done.status.phase.terminal:
        return
    succeeded = done.status.phase is Phase.SUCCEEDED
    wanted = {"Finished": "True", "Succeeded": str(succeeded), "Reconciling": "False", "Stalled": str(not succeeded)}
    found = {condition.type: condition.status for condition in done.status.conditions}
    assert {key: found[key] for key in wanted} == wanted
    assert (done.status.failure is None) == succeeded
    if done.status.failure:
        assert done.status.failure.message, "a failure that does not say what to do about it"
    assert done.status.times
    assert done.status.times.finished
    assert done.status.observed_generation == done.metadata.generation
    assert done.status.duration


def test_nothing_is_decided_by_the_time_zone_of_a_pass() -> None:
    case = CASES["user code runs"]
    moved = replace(case.seen, now=at(6).astimezone())
    assert reconcile_run(moved) == reconcile_run(case.seen)
