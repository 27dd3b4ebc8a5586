"""A run from its first to its last write, and what is left in its status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import (
    DATA,
    T0,
    after,
    at,
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
    store,
    waiting_for,
)
from millrace.api.jobrun import JobRun, Phase
from millrace.domain.conditions import find
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import Create, CreateNextAttempt, Learned, PatchStatus, Plan
from millrace.reconcile.run import reconcile_run
from millrace.reconcile.snapshot import RunSnapshot
from unit.reconcile.cases import CASES

Moment = tuple[float, tuple[JobFacts, ...], dict[int, PodFacts]]


def live(subject: JobRun, moments: list[Moment]) -> tuple[JobRun, list[Plan]]:
    """Reconciles at each moment, and three times where nothing has changed; returns the run and what was done."""
    plans: list[Plan] = []
    for when, jobs, pods in moments:
        for delay in (0, 0.01, 0.5):
            plan = reconcile_run(snapshot(subject, now=when + delay, jobs=jobs, pods=pods, stores=(store(),)))
            subject = after(subject, plan)
            plans.append(plan)
    return subject, plans


def short_life(seconds: float) -> list[Moment]:
    """A run whose user code takes so long after 1.2 s of start."""
    end = 1.2 + seconds
    return [
        (0, (), {}),
        (0.1, (job(),), {}),
        (0.2, (job(),), {1: pod(phase="Pending", created=0)}),
        (1, (job(),), {1: pod(waiting_for(), phase="Pending")}),
        (1.3, (job(),), {1: pod(running(since=1))}),
        *[(1.3 + passed, (job(),), {1: pod(running(since=1))}) for passed in (0.5, 1, 2, 3) if passed < seconds],
        (end, (job(),), {1: pod(over(since=1, until=int(end)), phase="Succeeded")}),
        (
            end + 0.5,
            (job(active=0, complete=True, finished=stamp(int(end))),),
            {1: pod(over(until=int(end)), phase="Succeeded")},
        ),
    ]


@pytest.mark.parametrize("seconds", [0.3, 1, 2, 3.2])
def test_a_run_shorter_than_five_seconds_costs_its_post_and_two_status_writes(seconds: float) -> None:
    done, plans = live(run(), short_life(seconds))
    assert done.status.phase is Phase.SUCCEEDED
    assert sum(isinstance(action, PatchStatus) for plan in plans for action in plan.actions) == 2
    assert sum(isinstance(action, Create) for plan in plans[3:] for action in plan.actions) == 0


def test_a_long_run_writes_each_phase_once() -> None:
    stage, collect = over("stage", until=20), running("collect", 21)
    staging = pod(running("stage", 1), phase="Pending")
    moments: list[Moment] = [
        (0, (), {}),
        (1, (job(),), {1: staging}),
        (10, (job(),), {1: staging}),
        (15, (job(),), {1: staging}),
        (21, (job(),), {1: pod(stage, waiting_for(reason="PodInitializing"), phase="Pending")}),
        (30, (job(),), {1: pod(stage, running(since=21), collect)}),
        (50, (job(),), {1: pod(stage, running(since=21), collect)}),
        (70, (job(),), {1: pod(stage, over(since=21, until=60), collect)}),
        (90, (job(),), {1: recorded_pod("completed")}),
    ]
    done, plans = live(run(inputs=[{"name": "data", **DATA}]), moments)
    phases = [status["phase"] for plan in plans for status in status_writes(plan) if "phase" in status]
    assert phases == ["Pending", "Staging", "Running", "Uploading", "Succeeded"]
    assert done.status.logs == "s3://bucket/logs/run/1/"
    assert [output.uri for output in done.status.outputs] == ["s3://bucket/scores.zip"]
    assert [(entry.name, entry.files) for entry in done.status.inputs] == [("data", 2)]


def finish(found: PodFacts, spec: dict[str, Any] | None = None, **seen: Any) -> JobRun:
    subject = run(status=started_status(), **(spec or {}))
    shot = snapshot(subject, now=120, jobs=seen.pop("jobs", (job(),)), pods={1: found}, **seen)
    return after(subject, reconcile_run(shot))


def test_a_failure_names_container_code_and_the_end_of_the_log() -> None:
    done = finish(recorded_pod("user-error"))
    assert done.status.failure
    assert done.status.failure.dump() == {
        "reason": "UserError",
        "message": "ValueError: no column age",
        "container": "main",
        "exitCode": 1,
        "logTail": "Traceback",
    }
    assert done.status.logs == "s3://bucket/logs/run/1/", "what collect has saved of a failed run is named"


def test_a_failed_stage_names_where_its_log_is() -> None:
    message = {"reason": "NotFound", "message": "no such object", "logs": "s3://bucket/logs/run/1/"}
    failed = over("stage", code=248, message=message)
    done = finish(pod(failed, waiting_for(reason="PodInitializing"), phase="Failed"))
    assert done.status.failure
    assert (done.status.failure.container, done.status.logs) == ("stage", "s3://bucket/logs/run/1/")


def test_outputs_name_their_assets() -> None:
    spec = {"outputs": [{"name": "scores", "asset": "heart-scores"}]}
    assert finish(recorded_pod("completed"), spec).status.outputs[0].asset == "heart-scores"


def test_a_log_tail_is_cut_to_its_end() -> None:
    found = pod(over(code=1, message={"reason": "UserError", "message": "m", "logTail": "a" * 3000 + "END"}), phase="Failed")
    failure = finish(found).status.failure
    assert failure
    assert failure.log_tail
    assert len(failure.log_tail) == 2048
    assert failure.log_tail.endswith("END")


def test_a_container_that_never_ran_has_no_times() -> None:
    times = finish(recorded_pod("start-error")).status.times
    assert times
    assert times.started is None


def test_each_attempt_has_its_own_times_and_no_others() -> None:
    status = started_status(phase="Running", reason=None)
    status["times"] |= {"started": stamp(2), "staged": stamp(1), "exited": stamp(9), "uploaded": stamp(10)}
    subject = run(status=status, retries=1)
    exit_1 = pod(over(code=1, until=9), phase="Failed")
    done = after(subject, reconcile_run(snapshot(subject, now=30, jobs=(failed_job(when=9),), pods={1: exit_1})))
    assert done.status.attempt == 2
    assert done.status.job_name == "score-2"
    assert done.status.times
    assert done.status.times.dump() == {"admitted": stamp(0)}


def test_a_lost_status_write_is_made_up_for_at_the_end() -> None:
    """The operator was killed between the POST of the Job and the write of its name, and comes back when all is over."""
    subject = run()
    done = after(subject, reconcile_run(snapshot(subject, now=120, jobs=(job(),), pods={1: recorded_pod("completed")})))
    assert (done.status.phase, done.status.attempt, done.status.job_name) == (Phase.SUCCEEDED, 1, "score")
    assert done.status.function_revision == job().revision
    resolved = find(done.status.conditions, "Resolved")
    assert resolved
    assert resolved.status == "True"


def test_a_transition_time_moves_with_its_status_only() -> None:
    subject = run()
    blocked = after(subject, reconcile_run(snapshot(subject, now=0, code=None)))
    seen = snapshot(blocked, now=50, stores=(store(ready="False"),), code=None, learned=Learned())
    still = after(blocked, reconcile_run(seen))
    resolved = find(still.status.conditions, "Resolved")
    assert resolved
    assert resolved.last_transition_time == stamp(0)
    healed = after(still, reconcile_run(snapshot(still, now=60)))
    resolved = find(healed.status.conditions, "Resolved")
    assert resolved
    assert (resolved.status, resolved.last_transition_time) == ("True", stamp(60))


# --- Properties over everything that can be seen -------------------------------------------------------------------------

PODS = [
    *(shot.seen.pods[key] for shot in CASES.values() for key in shot.seen.pods),
    *(found for shot in CASES.values() for found in shot.seen.orphans),
]
JOBS = sorted({found for shot in CASES.values() for found in shot.seen.jobs}, key=repr)
RUNS = [shot.seen.run for shot in CASES.values()]
LEARNED = [shot.seen.learned for shot in CASES.values()]


@st.composite
def situations(draw: st.DrawFn) -> RunSnapshot:
    """Any run with any Jobs, pods and knowledge at any time: also what cannot be."""
    attempts = draw(st.lists(st.sampled_from(JOBS), max_size=3, unique_by=lambda found: found.attempt))
    pods = {found.uid: draw(st.sampled_from(PODS)) for found in attempts if draw(st.booleans())}
    base = snapshot(
        draw(st.sampled_from(RUNS)),
        now=draw(st.sampled_from([0.0, 3, 7, 31, 95, 3700, 90_000, 400_000])),
        code=draw(st.sampled_from(["heart", None])),
        stores=draw(st.sampled_from([(), (store(),), (store(ready="False"),)])),
        jobs=tuple(attempts),
        orphans=tuple(draw(st.lists(st.sampled_from(PODS), max_size=2))),
        learned=draw(st.sampled_from(LEARNED)),
    )
    return replace(base, pods=pods)


@given(situations())
def test_a_terminal_phase_never_changes(seen: RunSnapshot) -> None:
    plan = reconcile_run(seen)
    done = after(seen.run, plan)
    if seen.run.status.phase and seen.run.status.phase.terminal:
        assert status_writes(plan) == []
        assert not any(isinstance(action, Create | CreateNextAttempt) for action in plan.actions)
    elif done.status.phase and done.status.phase.terminal:
        assert status_writes(reconcile_run(replace(seen, run=done))) == []


@given(situations())
def test_attempts_never_overlap(seen: RunSnapshot) -> None:
    """A Job is made only when nothing of the newest attempt can run: it was closed, or suspended, or its node is lost."""
    plan = reconcile_run(seen)
    if not any(isinstance(action, Create) and action.manifest["kind"] == "Job" for action in plan.actions) and not any(
        isinstance(action, CreateNextAttempt) for action in plan.actions
    ):
        return
    made = [action.attempt for action in plan.actions if isinstance(action, CreateNextAttempt)]
    newest = max(seen.jobs, key=lambda found: found.attempt, default=None)
    assert len([a for a in plan.actions if isinstance(a, Create | CreateNextAttempt) and not is_config_map(a)]) == 1
    for orphan in seen.orphans:
        if seen.run.status.job_name and (newest is None or newest.attempt < (seen.run.status.attempt or 1)):
            assert orphan.over or lost(orphan, seen)
    if newest is None or newest.attempt < (seen.run.status.attempt or 1):
        return
    assert made == [newest.attempt + 1]
    found = seen.pods.get(newest.uid)
    if found:
        assert found.over or lost(found, seen)
    else:
        assert newest.deleted or (newest.active == 0 and newest.terminating == 0)


def is_config_map(action: Create | CreateNextAttempt) -> bool:
    return isinstance(action, Create) and action.manifest["kind"] == "ConfigMap"


def lost(found: PodFacts, seen: RunSnapshot) -> bool:
    return bool(found.deleted) and (seen.now - T0).total_seconds() > 60


@given(situations())
def test_a_pass_never_writes_twice_and_the_next_has_nothing_to_write(seen: RunSnapshot) -> None:
    plan = reconcile_run(seen)
    assert len(status_writes(plan)) <= 1
    if any(isinstance(action, Create | CreateNextAttempt) for action in plan.actions):
        return  # what follows depends on a Job that is there now
    done = after(seen.run, plan)
    follow = reconcile_run(replace(seen, run=done))
    done = after(done, follow)  # a lost identity is written first, then the phase
    assert status_writes(reconcile_run(replace(seen, run=done))) == []


@given(situations(), st.sampled_from([0.0, 1, 100]))
def test_a_decision_depends_on_what_is_seen_only(seen: RunSnapshot, moved: float) -> None:
    later = replace(seen, now=at((seen.now - T0).total_seconds() + moved))
    assert reconcile_run(later) == reconcile_run(replace(later))


def test_whoever_finishes_a_run_comes_back_for_its_jobs() -> None:
    """A Job that we suspended has no event any more."""
    subject = run(status=started_status())
    plan = reconcile_run(snapshot(subject, now=20, jobs=(job(),), pods={1: pod(over(), phase="Succeeded")}))
    assert plan.again == 0
    left = reconcile_run(snapshot(after(subject, plan), now=20, jobs=(job(),))).again
    assert left == 3600
