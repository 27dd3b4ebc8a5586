"""What a run has of its Deployment's template, and what its own."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import deployment
from millrace.api.template import RunTemplate
from millrace.domain.template import BY_NAME, LISTS_BY_NAME, deployment_revision, merge

Spec = dict[str, Any]
A, A2, B = {"name": "a", "value": "1"}, {"name": "a", "valueFrom": {"x": 1}}, {"name": "b", "value": "2"}
IN, IN2 = {"name": "in", "asset": "heart", "stage": "Download"}, {"name": "in", "dataStore": {"name": "s", "path": "p"}}

MERGED: dict[str, tuple[Spec, Spec, Spec]] = {
    "what the run does not say": ({"retries": 3}, {}, {"retries": 3}),
    "what the template does not say": ({}, {"retries": 3}, {"retries": 3}),
    "a scalar": ({"profile": "small", "retries": 3}, {"profile": "gpu"}, {"profile": "gpu", "retries": 3}),
    "zero and false and empty are said": ({"retries": 3, "parameters": {"a": 1}}, {"retries": 0}, {"retries": 0, "parameters": {"a": 1}}),
    "parameters by name, each as a whole": (
        {"parameters": {"a": {"x": 1}, "b": 1}},
        {"parameters": {"a": {"y": 2}, "c": None}},
        {"parameters": {"a": {"y": 2}, "b": 1, "c": None}},
    ),
    "variables by name": (
        {"environmentVariables": {"A": "1", "B": "1"}},
        {"environmentVariables": {"B": "2"}},
        {"environmentVariables": {"A": "1", "B": "2"}},
    ),
    "env by name": ({"env": [A, B]}, {"env": [A2]}, {"env": [A2, B]}),
    "timeouts by name": ({"timeouts": {"queued": "1h", "running": "2h"}}, {"timeouts": {"running": "3h"}}, {"timeouts": {"queued": "1h", "running": "3h"}}),
    "inputs by name, each as a whole": ({"inputs": [IN]}, {"inputs": [IN2]}, {"inputs": [IN2]}),
    "inputs beside each other": ({"inputs": [IN]}, {"inputs": [{**IN2, "name": "more"}]}, {"inputs": [IN, {**IN2, "name": "more"}]}),
    "outputs by name": ({"outputs": [{"name": "o", "asset": "x"}]}, {"outputs": [{"name": "o", "href": "s3://b/k"}]}, {"outputs": [{"name": "o", "href": "s3://b/k"}]}),
    "resources as a whole": (
        {"resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": "1"}}},
        {"resources": {"limits": {"memory": "2Gi"}}},
        {"resources": {"limits": {"memory": "2Gi"}}},
    ),
    "a list as a whole": ({"tolerations": [{"key": "a"}]}, {"tolerations": [{"key": "b"}]}, {"tolerations": [{"key": "b"}]}),
    "a selector as a whole": ({"nodeSelector": {"a": "1"}}, {"nodeSelector": {"b": "1"}}, {"nodeSelector": {"b": "1"}}),
}  # fmt: skip


@pytest.mark.parametrize("case", MERGED)
def test_the_runs_own_values_win(case: str) -> None:
    template, own, expected = MERGED[case]
    given = {"template": str(template), "own": str(own)}
    assert merge(template, own) == expected
    assert {"template": str(template), "own": str(own)} == given, "neither is changed"


def test_each_field_that_is_merged_by_name_is_one_of_a_run() -> None:
    fields = {field.alias for field in RunTemplate.model_fields.values()}
    assert {*BY_NAME, *LISTS_BY_NAME} <= fields


BASE: Spec = {"template": {"retries": 1}}
SAME: list[Spec] = [
    {**BASE, "description": "other"},
    {**BASE, "concurrency": 5},
    {**BASE, "queue": {"whenFull": "SkipNew"}},
    {**BASE, "deploymentMode": "elastic"},
]
OTHER: list[Spec] = [
    {"template": {"retries": 2}},
    {},
    {**BASE, "functionRef": {"name": "lung"}},
    {**BASE, "executionRule": "periodic", "schedule": {"cron": "0 0 * * *"}},
    {**BASE, "inputsMapping": [{"input": "x", "constant": None}]},
    {**BASE, "inputsMapping": [{"input": "x", "constant": [None]}]},
    {**BASE, "outputsMapping": [{"output": "x", "void": True}]},
    {"template": {"retries": 1, "parameters": {"x": None}}},
]


@pytest.mark.parametrize("spec", SAME, ids=str)
def test_what_runs_are_not_made_of_makes_no_new_revision(spec: Spec) -> None:
    assert deployment_revision("d", deployment(**spec).spec) == deployment_revision("d", deployment(**BASE).spec)


@pytest.mark.parametrize("spec", OTHER, ids=str)
def test_what_runs_are_made_of_makes_a_new_revision(spec: Spec) -> None:
    assert deployment_revision("d", deployment(**spec).spec) != deployment_revision("d", deployment(**BASE).spec)
