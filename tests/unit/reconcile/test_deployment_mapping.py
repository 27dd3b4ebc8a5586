"""What a Deployment tells of its mappings, and what its runs are where there are some."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import (
    DEPLOYMENT_UID,
    REVISION,
    deployment,
    function,
    run,
    snapshot,
    status_writes,
)
from millrace.build.revision import revision
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.resolved import Mapped
from millrace.domain.template import deployment_revision
from millrace.reconcile.deployment import reconcile_deployment
from millrace.reconcile.plan import Create, Plan
from millrace.reconcile.run import reconcile_run
from unit.reconcile.deployments import deployment_snapshot

Object = dict[str, Any]
CODE = function(
    inputs=[{"name": "rows"}, {"name": "threshold", "type": "value"}],
    outputs=[{"name": "scores"}, {"name": "debug"}],
)
INPUTS: list[Object] = [
    {"input": "rows", "dataStore": {"name": "lake", "path": "in/rows.csv"}},
    {"input": "threshold", "constant": {"a": [None]}},
]
OUTPUTS: list[Object] = [{"output": "scores", "asset": "scores"}, {"output": "debug", "void": True}]
PERIODIC: Object = {"executionRule": "periodic", "schedule": {"cron": "0 0 * * *"}}


def told(plan: Plan) -> tuple[Object, Object]:
    """The status, and its condition Ready."""
    [status] = status_writes(plan)
    return status, {c["type"]: c for c in status["conditions"]}["Ready"]


@pytest.mark.parametrize("rule", [{}, PERIODIC], ids=["manual", "periodic"])
def test_the_effective_mapping_stands_in_the_status(rule: Object) -> None:
    subject = deployment(**rule, inputsMapping=INPUTS, outputsMapping=OUTPUTS)
    status, ready = told(reconcile_deployment(deployment_snapshot(subject, function=CODE)))
    assert ready["status"] == "True"
    assert status["effectiveMapping"] == {"inputs": INPUTS, "outputs": OUTPUTS}
    again = deployment(status=status, **rule, inputsMapping=INPUTS, outputsMapping=OUTPUTS)
    assert status_writes(reconcile_deployment(deployment_snapshot(again, function=CODE))) == []


def test_without_a_mapping_nothing_is_told() -> None:
    status, _ = told(reconcile_deployment(deployment_snapshot(function=CODE)))
    assert "effectiveMapping" not in status


@pytest.mark.parametrize(
    ("spec", "reason", "text"),
    [
        ({"inputsMapping": [{"input": "row", "constant": 1}]}, "MappingRejected", "inputsMapping row: Function heart"),
        ({"outputsMapping": [{"output": "score", "void": True}]}, "MappingRejected", "outputsMapping score"),
        (PERIODIC, "InputsNotMapped", "inputs rows, threshold"),
        ({**PERIODIC, "inputsMapping": INPUTS[1:]}, "InputsNotMapped", "inputs rows: "),
        ({**PERIODIC, "inputsMapping": INPUTS}, "OutputsNotMapped", "outputs scores, debug"),
    ],
)
def test_what_cannot_be_is_why_it_is_not_ready_and_what_held_before_goes(spec: Object, reason: str, text: str) -> None:
    subject = deployment(status={"effectiveMapping": {"inputs": INPUTS, "outputs": []}}, **spec)
    status, ready = told(reconcile_deployment(deployment_snapshot(subject, function=CODE)))
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert text in ready["message"]
    assert status["effectiveMapping"] is None


def test_a_missing_function_is_what_is_told_and_what_held_stays() -> None:
    subject = deployment(status={"effectiveMapping": {"inputs": INPUTS, "outputs": []}}, inputsMapping=INPUTS)
    status, ready = told(reconcile_deployment(deployment_snapshot(subject, function=None)))
    assert ready["reason"] == "FunctionNotFound"
    assert "effectiveMapping" not in status


def held(obstacle: Obstacle) -> Object:
    """What is told of a run whose Deployment gives it no spec."""
    subject = run(deploymentRef={"name": "scoring"})
    plan = reconcile_run(snapshot(subject, deployed=deployment(), unmade=obstacle))
    assert not any(isinstance(action, Create) for action in plan.actions)
    return {key: value for status in status_writes(plan) for key, value in status.items()}


def test_a_run_of_a_deployment_whose_mapping_is_rejected_waits() -> None:
    status = held(Obstacle(Reason.INPUTS_NOT_MAPPED, "Deployment scoring: inputs rows"))
    assert (status["phase"], status["reason"]) == ("Blocked", "InputsNotMapped")


def test_a_run_that_does_not_give_what_is_mapped_fails() -> None:
    status = held(Obstacle(Reason.PARAMETER_MISMATCH, "Deployment scoring: not given: env LIMIT", heals=False))
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "ParameterMismatch")
    assert status["failure"]["message"] == "Deployment scoring: not given: env LIMIT"


def test_the_job_has_what_only_the_pod_knows_by_its_variable_and_void_outputs_without_a_store() -> None:
    code = function(inputs=[{"name": "token", "type": "value", "default": "none"}], outputs=[{"name": "debug"}])
    subject = run(deploymentRef={"name": "scoring"})
    mapped = Mapped({"token": "MILLRACE_PARAMETER_0"}, ("debug",))
    names = frozenset({REVISION, revision(code)["metadata"]["name"], deployment_revision("scoring", deployment().spec)})
    plan = reconcile_run(snapshot(subject, code=code, deployed=deployment(), mapped=mapped, config_maps=names))
    [job] = [action.manifest for action in plan.actions if isinstance(action, Create)]
    pod = job["spec"]["template"]
    assert '"parametersFrom":{"token":"MILLRACE_PARAMETER_0"}' in pod["metadata"]["annotations"]["millrace.dev/plan"]
    assert (
        '"outputs":[{"name":"debug","path":"/millrace/out/data","void":true}]'
        in (pod["metadata"]["annotations"]["millrace.dev/plan"])
    )
    assert [container["name"] for container in pod["spec"]["containers"]] == ["main"], "nothing is uploaded"
    assert {"name": "out", "mountPath": "/millrace/out"} in pod["spec"]["containers"][0]["volumeMounts"]
    assert job["metadata"]["labels"]["millrace.dev/deployment-id"] == DEPLOYMENT_UID


def test_a_parameter_that_the_pod_knows_counts_as_given() -> None:
    code = function(inputs=[{"name": "token", "type": "value"}])
    names = frozenset({revision(code)["metadata"]["name"]})
    given = snapshot(run(), code=code, mapped=Mapped({"token": "A"}), config_maps=names)
    assert any(isinstance(action, Create) for action in reconcile_run(given).actions)
    [status] = status_writes(reconcile_run(snapshot(run(), code=code, config_maps=names)))
    assert status["failure"]["reason"] == "ParameterMismatch"
    [status] = status_writes(reconcile_run(snapshot(run(), code=code, mapped=Mapped({"tokens": "A"}), config_maps=names)))
    assert "has no inputs tokens" in status["failure"]["message"]
