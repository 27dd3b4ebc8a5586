"""A Deployment's pass, and what its runs do by its queue: tables over snapshots."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import (
    DEPLOYMENT_UID,
    REVISION,
    after,
    condition,
    deployment,
    failed_job,
    function,
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
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.domain.obstacle import Obstacle
from millrace.domain.queue import Line
from millrace.domain.reasons import Reason
from millrace.domain.template import deployment_revision
from millrace.reconcile.deployment import TOLD, Queued, reconcile_deployment
from millrace.reconcile.plan import Create, CreateNextAttempt, Delete, EndJob, Learned, LookForDeployment, PatchStatus, Plan
from millrace.reconcile.run import reconcile_run
from unit.reconcile.deployments import deployment_snapshot

Object = dict[str, Any]
CURRENT = deployment_revision("scoring", deployment().spec)
FREE = Line(running=0, ahead=0, waiting=1, lower=0, older=0)
TAKEN = Line(running=2, ahead=0, waiting=1, lower=0, older=0)
HELD = frozenset({REVISION, CURRENT})


def deployed(status: Object | None = None, **spec: Any) -> JobRun:
    """A run of a Deployment, as the snapshot has it: with the Function that the Deployment names."""
    return run(status=status, deploymentRef={"name": "scoring"}, **spec)


def queued(seconds: float = 0) -> Object:
    return {
        "observedGeneration": 1,
        "phase": "Queued",
        "queuePosition": 4,
        "deploymentId": DEPLOYMENT_UID,
        "deploymentRevision": CURRENT,
        "functionRevision": REVISION,
        "jobId": "run-uid",
        "conditions": [condition("Admitted", "False", "Queued", seconds=seconds)],
    }


def kinds(plan: Plan) -> list[str]:
    return [type(action).__name__ for action in plan.actions]


def test_the_first_pass_makes_the_revision_and_says_all() -> None:
    plan = reconcile_deployment(deployment_snapshot(revisions={}, running=2, queued=(Queued("r", "1", 1),)))
    assert kinds(plan) == ["Create", "PatchStatus"]
    [made] = [action for action in plan.actions if isinstance(action, Create)]
    assert made.manifest["metadata"]["name"] == CURRENT
    assert made.manifest["immutable"]
    [status] = status_writes(plan)
    assert (status["deploymentId"], status["revision"], status["running"], status["queued"]) == (
        DEPLOYMENT_UID,
        CURRENT,
        2,
        1,
    )
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Ready", "True")]


def test_a_second_pass_writes_nothing() -> None:
    [status] = status_writes(reconcile_deployment(deployment_snapshot()))
    assert reconcile_deployment(deployment_snapshot(deployment=deployment(status=status))) == Plan()


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (None, "FunctionNotFound", "Function heart does not exist"),
        (function(pythonVersion="3.7"), "PythonVersionNotOffered", "Function heart: spec.pythonVersion 3.7"),
    ],
)
def test_what_keeps_its_runs_from_starting_is_told(code: Function | None, reason: str, text: str) -> None:
    [status] = status_writes(reconcile_deployment(deployment_snapshot(function=code)))
    ready = {c["type"]: c for c in status["conditions"]}["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert text in ready["message"]


def test_superseded_revisions_go_when_no_run_is_made_of_them() -> None:
    [status] = status_writes(reconcile_deployment(deployment_snapshot()))
    settled = deployment_snapshot(
        deployment=deployment(status=status), revisions={CURRENT: "1", "old": "2", "used": "3"}, in_use=frozenset({"used"})
    )
    assert reconcile_deployment(settled) == Plan((Delete("ConfigMap", "tenant", "old", "2"),), again=60)


def test_positions_are_told_sparingly_the_next_ones_first() -> None:
    waiting = tuple(Queued(f"r{place}", str(place), place + 1) for place in range(1, 1000))
    plan = reconcile_deployment(deployment_snapshot(queued=waiting))
    told = {
        action.name: action.status for action in plan.actions if isinstance(action, PatchStatus) and action.kind == "JobRun"
    }
    assert told == {f"r{place}": {"queuePosition": place} for place in range(1, 11)}
    many = tuple(Queued(f"r{place}", str(place), 5000) for place in range(1, 1000))
    plan = reconcile_deployment(deployment_snapshot(queued=many))
    assert sum(isinstance(action, PatchStatus) and action.kind == "JobRun" for action in plan.actions) == TOLD
    assert plan.again is not None


def test_a_run_that_finds_a_slot_is_started_and_says_what_it_is_made_of() -> None:
    plan = reconcile_run(snapshot(deployed(), deployed=deployment(), line=FREE, config_maps=HELD))
    assert kinds(plan) == ["Create", "PatchStatus"]
    [made] = [action.manifest for action in plan.actions if isinstance(action, Create)]
    assert made["metadata"]["labels"]["millrace.dev/deployment"] == "scoring"
    [status] = status_writes(plan)
    assert (status["deploymentId"], status["deploymentRevision"], status["functionRevision"]) == (
        DEPLOYMENT_UID,
        CURRENT,
        REVISION,
    )


def test_a_run_that_finds_none_is_queued_with_the_revisions_kept() -> None:
    plan = reconcile_run(snapshot(deployed(), deployed=deployment(), line=TAKEN, config_maps=frozenset()))
    assert kinds(plan) == ["Create", "Create", "PatchStatus"]
    names = {action.manifest["metadata"]["name"] for action in plan.actions if isinstance(action, Create)}
    assert names == {REVISION, CURRENT}
    [status] = status_writes(plan)
    assert (status["phase"], status["queuePosition"], status["times"]["queued"]) == ("Queued", 1, stamp(0))
    assert plan.again == 24 * 3600
    again = reconcile_run(snapshot(after(deployed(), plan), deployed=deployment(), line=TAKEN, now=60, config_maps=HELD))
    assert again == Plan(again=24 * 3600 - 60), "waiting costs no write"
    started = reconcile_run(snapshot(after(deployed(), plan), deployed=deployment(), line=FREE, now=90, config_maps=HELD))
    [status] = status_writes(started)
    assert status["queuePosition"] is None
    assert status["times"] == {"queued": stamp(0), "admitted": stamp(90)}


def test_a_queued_run_waits_for_no_store_and_no_function() -> None:
    waits = deployed(queued(), inputs=[{"name": "x", "dataStore": {"name": "absent", "path": "p"}}])
    assert status_writes(reconcile_run(snapshot(waits, deployed=deployment(), line=TAKEN, code=None))) == []


ENDS: dict[str, tuple[JobRun, Object, str, str]] = {
    "its time is over": (deployed(queued()), {"now": 24 * 3600}, "Failed", "QueueTimeout"),
    "cancelled": (deployed(queued(), cancel=True), {}, "Cancelled", "Cancelled"),
    "the queue is full": (deployed(), {"deployed": deployment(queue={"maxLength": 0})}, "Failed", "QueueFull"),
    "it is skipped": (deployed(), {"deployed": deployment(queue={"whenFull": "SkipNew"})}, "Cancelled", "QueueFull"),
    "a newer one takes its place": (
        deployed(queued()),
        {"deployed": deployment(queue={"whenFull": "CancelOldest"}), "line": TAKEN._replace(waiting=2)},
        "Cancelled",
        "QueueFull",
    ),
    "the template does not fit": (
        deployed(),
        {"unmade": Obstacle(Reason.TEMPLATE_REJECTED, "spec.inputs: too many", heals=False)},
        "Failed",
        "TemplateRejected",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_how_a_run_that_waits_ends(case: str) -> None:
    subject, changes, phase, reason = ENDS[case]
    [status] = status_writes(reconcile_run(snapshot(subject, **{"deployed": deployment(), "line": TAKEN, **changes})))
    assert (status["phase"], status["failure"]["reason"]) == (phase, reason)


def test_the_time_of_a_run_counts_from_when_it_was_queued_and_not_while_it_is_suspended() -> None:
    held = reconcile_run(snapshot(deployed(suspend=True), deployed=deployment(), line=FREE))
    [status] = status_writes(held)
    assert (status["phase"], status["reason"], held.again) == ("Pending", "Suspended", None)
    resumed = after(deployed(), held)
    later = 100 * 3600
    plan = reconcile_run(snapshot(resumed, deployed=deployment(), line=TAKEN, now=later, config_maps=HELD))
    [status] = status_writes(plan)
    assert (status["phase"], plan.again) == ("Queued", 24 * 3600)
    missing = reconcile_run(snapshot(resumed, deployed=deployment(), line=TAKEN, now=later, code=None))
    [status] = status_writes(missing)
    assert (status["phase"], status["reason"]) == ("Blocked", "FunctionNotFound")


def test_a_run_without_a_deployment_can_be_suspended_too() -> None:
    [status] = status_writes(reconcile_run(snapshot(run(suspend=True))))
    assert status["reason"] == "Suspended"


def test_another_attempt_asks_for_a_slot_anew() -> None:
    ended = {"jobs": (failed_job(),), "pods": {1: pod(over(code=1), phase="Failed")}, "now": 100, "deployed": deployment()}
    subject = deployed({**started_status(phase="Running"), "deploymentId": DEPLOYMENT_UID}, retries=1)
    [status] = status_writes(waits := reconcile_run(snapshot(subject, line=TAKEN, **ended)))
    assert status["phase"] == "Queued"
    assert waits.again == 24 * 3600
    plan = reconcile_run(snapshot(subject, line=FREE, **ended))
    assert any(isinstance(action, CreateNextAttempt) for action in plan.actions)
    subject = deployed({**started_status(phase="Running"), "deploymentId": DEPLOYMENT_UID}, retries=1, suspend=True)
    [status] = status_writes(reconcile_run(snapshot(subject, line=FREE, **ended)))
    assert status["reason"] == "Suspended"


def test_a_run_is_ended_only_when_a_live_look_has_shown_that_its_deployment_is_gone() -> None:
    look = LookForDeployment("tenant", "scoring", DEPLOYMENT_UID, "run-uid")
    assert reconcile_run(snapshot(deployed(queued()))) == Plan((look,))
    gone = Learned(absent_deployment=DEPLOYMENT_UID)
    [status] = status_writes(reconcile_run(snapshot(deployed(queued()), learned=gone)))
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "DeploymentNotFound")
    works = deployed({**started_status(phase="Running"), "deploymentId": DEPLOYMENT_UID}, retries=3)
    plan = reconcile_run(snapshot(works, learned=gone, jobs=(job(),), pods={1: pod(running())}))
    [end] = plan.actions
    assert isinstance(end, EndJob)
    assert end.reason == "DeploymentNotFound"
    own = snapshot(works, learned=gone, jobs=(failed_job(),), pods={1: pod(over(code=1), phase="Failed")}, now=100)
    [status] = status_writes(reconcile_run(own))
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "UserError"), "it has no further attempt"
    done = snapshot(works, learned=gone, jobs=(job(),), pods={1: pod(over(), phase="Succeeded")}, now=100)
    [status] = status_writes(reconcile_run(done))
    assert status["phase"] == "Succeeded"


def test_a_deployment_that_was_never_there_blocks() -> None:
    [status] = status_writes(reconcile_run(snapshot(deployed())))
    assert (status["phase"], status["reason"]) == ("Blocked", "DeploymentNotFound")


def test_a_run_whose_job_was_never_told_is_admitted_by_it() -> None:
    """The operator was killed after the POST, and the run was over before another one worked."""
    ended = {"jobs": (job(created=5),), "pods": {1: pod(over(until=20), phase="Succeeded")}, "now": 30}
    subject = deployed({**queued(), "times": {"queued": stamp(0)}})
    [status] = status_writes(reconcile_run(snapshot(subject, deployed=deployment(), line=TAKEN, **ended)))
    assert (status["times"]["queued"], status["times"]["admitted"]) == (stamp(0), stamp(5))
    assert status["queuePosition"] is None
