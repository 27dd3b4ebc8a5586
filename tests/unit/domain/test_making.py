"""A run of a Deployment: its template, what is mapped, and what it says itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fixtures.objects import function
from millrace.api.jobrun import JobRunSpec
from millrace.domain.making import Made, make
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolved import Mapped
from millrace.domain.template import merge

Object = dict[str, Any]
CODE = function(
    inputs=[
        {"name": "rows"},
        {"name": "threshold", "type": "value", "default": 0.1},
        {"name": "token", "type": "value", "required": False},
    ],
    outputs=[{"name": "scores"}, {"name": "debug"}],
)
ROWS: Object = {"dataStore": {"name": "lake", "path": "in/rows.csv"}}
OUT: Object = {"dataStore": {"name": "lake", "path": "out/{run}"}}
KEY: Object = {"secretRef": {"name": "keys", "key": "token"}}
VARIABLE: Object = {"name": "MILLRACE_PARAMETER_2", "valueFrom": {"secretKeyRef": KEY["secretRef"]}}
CONTENT: Object = {
    "functionRef": {"name": "heart"},
    "inputsMapping": [{"input": "rows", **ROWS}, {"input": "threshold", "constant": 0.5}, {"input": "token", **KEY}],
    "outputsMapping": [{"output": "scores", **OUT}, {"output": "debug", "void": True}],
    "template": {"retries": 2},
}
RUN: Object = {
    "functionRef": {"name": "heart"},
    "deploymentRef": {"name": "d"},
    "retries": 2,
    "parameters": {"threshold": 0.5},
    "inputs": [{"name": "rows", **ROWS, "type": "uri_file"}],
    "outputs": [{"name": "scores", **OUT}],
    "env": [VARIABLE],
}
MAPPED = Mapped({"token": "MILLRACE_PARAMETER_2"}, ("debug",))
OWN_OUTPUT: Object = {"name": "debug", "asset": "kept"}


def made(own: Object, code: Any = CODE, **content: Any) -> Made:
    given = {**CONTENT, **content}, {"deploymentRef": {"name": "d"}, **own}
    before = copy.deepcopy(given)
    found = make(*given, code)
    assert given == before, "nothing is changed"
    return found


def test_a_run_has_what_is_mapped_beside_the_template() -> None:
    assert made({}) == Made(RUN, MAPPED)
    JobRunSpec.model_validate(made({}).spec)


OWN: list[tuple[Object, str, Any]] = [
    ({"parameters": {"threshold": None}}, "parameters", {"threshold": None}),
    ({"parameters": {"more": 1}}, "parameters", {"threshold": 0.5, "more": 1}),
    ({"inputs": [{"name": "rows", "asset": "mine"}]}, "inputs", [{"name": "rows", "asset": "mine"}]),
    ({"parameters": {"rows": 1}}, "inputs", None),  # as another kind: it is refused by its own name, not by the mapped one
    ({"inputs": [{"name": "threshold", "asset": "mine"}]}, "parameters", None),
    ({"parameters": {"token": "mine"}}, "env", None),
    ({"outputs": [{"name": "scores", "href": "s3://b/k"}]}, "outputs", [{"name": "scores", "href": "s3://b/k"}]),
    ({"outputs": [OWN_OUTPUT]}, "outputs", [{"name": "scores", **OUT}, OWN_OUTPUT]),
]


@pytest.mark.parametrize(("own", "field", "expected"), OWN, ids=str)
def test_what_the_run_says_wins_over_what_is_mapped_by_name(own: Object, field: str, expected: Any) -> None:
    found = made(own)
    assert found.obstacle is None
    assert found.spec.get(field) == expected
    if own.get("parameters", {}).get("token"):
        assert (found.spec["parameters"], found.mapped.from_environment) == ({"threshold": 0.5, "token": "mine"}, {})
    if own.get("outputs") == [OWN_OUTPUT]:
        assert found.mapped.void == (), "the run keeps it"


TEMPLATE: list[tuple[Object, str, Any]] = [
    ({"parameters": {"threshold": 9, "more": 1}}, "parameters", {"more": 1, "threshold": 0.5}),
    ({"parameters": {"rows": 9, "token": 9}}, "parameters", {"threshold": 0.5}),
    ({"inputs": [{"name": "rows", "asset": "other"}, {"name": "more", "asset": "a"}]}, "inputs", ["more", "rows"]),
    ({"inputs": [{"name": "threshold", "asset": "other"}]}, "inputs", ["rows"]),
    ({"outputs": [{"name": "debug", "asset": "a"}, {"name": "more", "asset": "a"}]}, "outputs", ["more", "scores"]),
    ({"env": [{"name": "A", "value": "1"}]}, "env", ["A", "MILLRACE_PARAMETER_2"]),
]


@pytest.mark.parametrize(("template", "field", "expected"), TEMPLATE, ids=str)
def test_what_is_mapped_wins_over_the_template_by_name(template: Object, field: str, expected: Any) -> None:
    found = made({}, template=template).spec[field]
    assert (found if field == "parameters" else [entry["name"] for entry in found]) == expected


def test_a_variable_is_the_run_s_own_where_it_says_one() -> None:
    mapping = [*CONTENT["inputsMapping"][:1], {"input": "threshold", "env": "LIMIT"}]
    template = {"environmentVariables": {"LIMIT": "1"}}
    content: Object = {"inputsMapping": mapping, "template": template}
    assert made({}, **content).spec["parameters"] == {"threshold": "1"}
    own = {"environmentVariables": {"LIMIT": "2"}}
    assert made(own, **content).spec["parameters"] == {"threshold": "2"}
    assert made({"parameters": {"threshold": 3}}, inputsMapping=mapping).spec["parameters"] == {"threshold": 3}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"inputsMapping": [{"input": "row", **ROWS}]}, "MappingRejected"),
        ({"executionRule": "periodic", "inputsMapping": []}, "InputsNotMapped"),
        ({"executionRule": "periodic", "inputsMapping": None, "outputsMapping": None}, "InputsNotMapped"),
        ({"executionRule": "periodic", "outputsMapping": []}, "OutputsNotMapped"),
    ],
    ids=str,
)
def test_a_mapping_that_is_rejected_may_heal(content: Object, reason: str) -> None:
    whole = {key: value for key, value in {**CONTENT, **content}.items() if value is not None}
    found = make(whole, {"deploymentRef": {"name": "d"}}, CODE)
    assert found.obstacle is not None
    assert (found.obstacle.reason, found.obstacle.heals) == (reason, True)
    assert found.spec == {"retries": 2, "functionRef": {"name": "heart"}, "deploymentRef": {"name": "d"}}


def test_what_is_not_given_to_a_run_is_its_own_fault() -> None:
    code = function(inputs=[{"name": "limit", "type": "value"}])
    content: Object = {"inputsMapping": [{"input": "limit", "env": "LIMIT"}], "outputsMapping": []}
    obstacle = made({}, code, **content).obstacle
    assert obstacle == Obstacle("ParameterMismatch", "not given: env LIMIT", heals=False)
    assert made({"parameters": {"limit": 1}}, code, **content).obstacle is None


def test_without_its_function_or_a_mapping_a_run_is_its_template_and_its_own() -> None:
    own = {"deploymentRef": {"name": "d"}, "parameters": {"a": 1}}
    plain = merge(CONTENT["template"], own) | {"functionRef": {"name": "heart"}}
    assert make(CONTENT, own, None) == Made(plain)
    unmapped = {key: CONTENT[key] for key in ("functionRef", "template")}
    assert make(unmapped, own, CODE) == Made(plain)
    assert make({"functionRef": {"name": "heart"}, "executionRule": "periodic"}, own, function()).obstacle is None
