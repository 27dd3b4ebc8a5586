"""What Deployments map, on a real API server and Job controller."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from integration.operator.kubelet import Pod, answer_probe, succeed
from integration.operator.rig import Rig, operator, patiently
from support.apiserver import ApiServer, Object

VALUES = [{"name": name, "type": "value"} for name in ("threshold", "region", "token")]
INPUTS: list[Object] = [
    {"input": "threshold", "constant": {"a": [None, 1.5]}},
    {"input": "region", "env": "REGION", "default": "eu"},
    {"input": "token", "secretRef": {"name": "keys", "key": "token"}},
]
VARIABLE = {"name": "MILLRACE_PARAMETER_2", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}}


def deployed(rig: Rig) -> Object:
    status: Object = rig.api.get("deployments", rig.namespace, "d").get("status", {})
    return status


def ready(rig: Rig) -> tuple[str, str]:
    """Reason and message of the Deployment's condition Ready."""
    found = [c for c in deployed(rig).get("conditions", []) if c["type"] == "Ready"]
    return (found[0]["reason"], found[0]["message"]) if found else ("", "")


def blocked(rig: Rig, run: str, reason: str) -> Callable[[], bool]:
    return lambda: (rig.status(run).get("phase"), rig.status(run).get("reason")) == ("Blocked", reason)


def made(rig: Rig, run: str) -> tuple[Object, list[Any]]:
    """The plan of a run's Job, and the environment of main."""
    template = rig.job(run)["spec"]["template"]
    plan: Object = json.loads(template["metadata"]["annotations"]["millrace.dev/plan"])
    return plan, template["spec"]["containers"][0]["env"]


def test_runs_have_what_is_mapped_and_the_status_says_what_holds(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function(inputs=VALUES, outputs=[{"name": "scores"}, {"name": "debug"}])
        rig.deployment(
            inputsMapping=INPUTS,
            outputsMapping=[{"output": "debug", "void": True}],
            template={"environmentVariables": {"REGION": "us"}},
        )
        patiently("the mapping", lambda: deployed(rig).get("effectiveMapping"))
        assert deployed(rig)["effectiveMapping"] == {"inputs": INPUTS, "outputs": [{"output": "debug", "void": True}]}
        rig.run_by("d", "r1")
        rig.run_by("d", "r2", parameters={"threshold": 2}, environmentVariables={"REGION": "asia"})
        plan, env = made(rig, "r1")
        assert plan["parameters"] == {"threshold": {"a": [None, 1.5]}, "region": "us"}
        assert plan["parametersFrom"] == {"token": "MILLRACE_PARAMETER_2"}
        assert plan["outputs"] == [{"name": "debug", "path": "/millrace/out/data", "void": True}]
        assert VARIABLE in env
        assert made(rig, "r2")[0]["parameters"] == {"threshold": 2, "region": "asia"}
        succeed(rig, "r1")
        assert "outputs" not in rig.phase("r1", "Succeeded")
        Pod(rig, "r2").waiting("main", "CreateContainerConfigError", 'secret "keys" not found').write()
        status = rig.phase("r2", "Blocked")
        assert status["reason"] == "ConfigError"
        assert 'secret "keys" not found' in str(status["conditions"])
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"inputsMapping": None, "outputsMapping": None}})
        patiently("nothing is mapped", lambda: "effectiveMapping" not in deployed(rig))


def test_a_mapping_that_is_rejected_blocks_all_runs_and_an_edit_heals_them_in_their_order(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function(inputs=[*VALUES, {"name": "rows"}], outputs=[{"name": "scores"}])
        rig.deployment(executionRule="periodic", schedule={"cron": "0 0 1 1 *"}, inputsMapping=INPUTS, concurrency=1)
        patiently("the names", lambda: ready(rig)[0] == "InputsNotMapped")
        assert ready(rig)[1].startswith("inputs rows: ")
        rig.run_by("d", "r1")
        rig.run_by("d", "r2")
        patiently("r1 waits", blocked(rig, "r1", "InputsNotMapped"))
        patiently("r2 waits", blocked(rig, "r2", "InputsNotMapped"))
        rows = {"input": "rows", "dataStore": {"name": "lake", "path": "in/rows.csv"}}
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"inputsMapping": [*INPUTS, rows]}})
        patiently("the next one", lambda: ready(rig)[0] == "OutputsNotMapped")
        patiently("r1 is told", blocked(rig, "r1", "OutputsNotMapped"))
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"outputsMapping": [{"output": "score", "void": True}]}})
        patiently("a wrong name", lambda: ready(rig)[0] == "MappingRejected")
        lake = {"s3": {"endpoint": "http://minio.test:9000", "bucket": "lake"}}
        store = {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataStore", "metadata": {"name": "lake"}, "spec": lake}
        rig.api.create("datastores", rig.placed(store))
        answer_probe(rig, "lake")
        outputs = [{"output": "scores", "dataStore": {"name": "lake", "path": "out/{run}"}}]
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"outputsMapping": outputs}})
        patiently("all is mapped", lambda: ready(rig)[0] == "Valid")
        plan, _ = made(rig, "r1")
        assert [(found["name"], found["type"]) for found in plan["inputs"]] == [("rows", "uri_file")]
        assert [(found["name"], found["key"]) for found in plan["outputs"]] == [("scores", "out/r1/scores.zip")]
        rig.phase("r2", "Queued")


def test_a_queued_run_keeps_the_mapping_and_the_function_that_it_was_queued_with(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function(inputs=VALUES[:1])
        rig.deployment(concurrency=1, inputsMapping=INPUTS[:1])
        rig.run_by("d", "r1")
        rig.phase("r1", "Pending")
        rig.run_by("d", "r2")
        before = rig.phase("r2", "Queued")
        other = {"spec": {"inputs": [{"name": "other", "type": "value"}]}}
        rig.api.merge("functions", rig.namespace, "f", other)
        patiently("it is rejected", lambda: ready(rig)[0] == "MappingRejected")
        rig.run_by("d", "r3")
        patiently("r3 waits", blocked(rig, "r3", "MappingRejected"))
        mapping = {"spec": {"inputsMapping": [{"input": "other", "constant": 1}]}}
        rig.api.merge("deployments", rig.namespace, "d", mapping)
        rig.phase("r3", "Queued")
        succeed(rig, "r1")
        plan, _ = made(rig, "r2")
        assert plan["parameters"] == {"threshold": {"a": [None, 1.5]}}
        succeed(rig, "r2")
        after = rig.phase("r2", "Succeeded")
        for field in ("functionRevision", "deploymentRevision"):
            assert after[field] == before[field]
        assert made(rig, "r3")[0]["parameters"] == {"other": 1}


def test_what_a_run_does_not_give_is_its_own_fault(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function(inputs=VALUES[1:2])
        rig.deployment(inputsMapping=[{"input": "region", "env": "REGION"}])
        rig.run_by("d", "bad")
        failure = rig.phase("bad", "Failed")["failure"]
        assert (failure["reason"], failure["message"]) == ("ParameterMismatch", "Deployment d: not given: env REGION")
        rig.run_by("d", "good", environmentVariables={"REGION": "eu"})
        assert made(rig, "good")[0]["parameters"] == {"region": "eu"}
