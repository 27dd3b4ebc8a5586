"""Mappings: what holds under each rule, what is refused, and what becomes of one run."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import function
from millrace.api.jobrun import JobRunSpec
from millrace.api.mapping import EffectiveMapping, InputMapping, OutputMapping
from millrace.domain.mapping import Rule, RunFields, effective_mapping, run_fields, variables_of
from millrace.domain.obstacle import Obstacle

Object = dict[str, Any]
DECLARED: Object = {
    "inputs": [
        {"name": "rows"},
        {"name": "labels", "type": "table", "required": False},
        {"name": "threshold", "type": "value"},
        {"name": "max_age", "type": "value", "default": 90},
    ],
    "outputs": [{"name": "scores", "type": "table"}, {"name": "accuracy", "type": "value"}],
}
CODE = function(**DECLARED)
LAKE: Object = {"dataStore": {"name": "lake", "path": "in/rows.csv"}}
ALL_INPUTS: list[Object] = [
    {"input": "rows", **LAKE},
    {"input": "labels", "asset": "labels@latest"},
    {"input": "threshold", "constant": 0.5},
    {"input": "max_age", "env": "MAX_AGE", "default": "80"},
]
ALL_OUTPUTS: list[Object] = [{"output": "scores", "asset": "scores"}, {"output": "accuracy", "void": True}]


def effective(rule: Rule, inputs: list[Object], outputs: list[Object], code: Any = CODE) -> EffectiveMapping | Obstacle:
    return effective_mapping(
        rule,
        [InputMapping.model_validate(found) for found in inputs],
        [OutputMapping.model_validate(found) for found in outputs],
        code,
    )


def holds(rule: Rule, inputs: list[Object], outputs: list[Object], code: Any = CODE) -> EffectiveMapping:
    found = effective(rule, inputs, outputs, code)
    assert isinstance(found, EffectiveMapping), found
    return found


def made(mapping: EffectiveMapping, code: Any = CODE, **given: Any) -> RunFields:
    found = run_fields(mapping, code, **given)
    assert isinstance(found, RunFields), found
    spec = {
        "functionRef": {"name": "heart"},
        "parameters": found.parameters,
        "inputs": found.inputs,
        "outputs": found.outputs,
    }
    JobRunSpec.model_validate(spec | {"env": found.env})  # its shape is that of a run
    return found


def test_an_endpoint_s_unmapped_inputs_and_outputs_have_its_names() -> None:
    found = holds("endpoint", [], [])  # seed 004: auto mapping
    assert found.dump() == {
        "inputs": [
            {"input": name, "endpointInput": name, "auto": True} for name in ("rows", "labels", "threshold", "max_age")
        ],
        "outputs": [{"output": name, "endpointOutput": name, "auto": True} for name in ("scores", "accuracy")],
    }


def test_an_endpoint_s_mapping_may_be_partial() -> None:
    inputs: list[Object] = [{"input": "threshold", "constant": 0.5}, {"input": "rows", "endpointInput": "seagulls"}]
    found = holds("endpoint", inputs, [{"output": "scores", **LAKE}])
    assert found.dump() == {
        "inputs": [
            *inputs,
            {"input": "labels", "endpointInput": "labels", "auto": True},
            {"input": "max_age", "endpointInput": "max_age", "auto": True},
        ],
        "outputs": [{"output": "scores", **LAKE}, {"output": "accuracy", "endpointOutput": "accuracy", "auto": True}],
    }


def test_a_periodic_deployment_maps_all() -> None:
    found = holds("periodic", ALL_INPUTS, ALL_OUTPUTS)
    assert found.dump() == {"inputs": ALL_INPUTS, "outputs": ALL_OUTPUTS}
    assert holds("periodic", [], [], function()).dump() == {"inputs": [], "outputs": []}


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason", "message"),
    [
        (ALL_INPUTS[2:], ALL_OUTPUTS, "InputsNotMapped", "inputs rows, labels: a periodic"),
        ([], [], "InputsNotMapped", "inputs rows, labels, threshold, max_age: a periodic"),
        (ALL_INPUTS[:3], ALL_OUTPUTS, "InputsNotMapped", "inputs max_age: a periodic"),  # its default does not count
        (ALL_INPUTS, ALL_OUTPUTS[1:], "OutputsNotMapped", "outputs scores: a periodic"),
        (ALL_INPUTS, [], "OutputsNotMapped", "outputs scores, accuracy: a periodic"),
    ],
)
def test_a_periodic_deployment_is_refused_with_the_names_that_are_not_mapped(
    inputs: list[Object], outputs: list[Object], reason: str, message: str
) -> None:
    found = effective("periodic", inputs, outputs)
    assert isinstance(found, Obstacle)
    assert found.reason == reason
    assert found.message.startswith(message)


@pytest.mark.parametrize(
    ("rule", "inputs", "outputs", "message"),
    [
        ("manual", [{"input": "row", **LAKE}], [], "inputsMapping row: Function heart declares labels, max_age, rows, threshold"),
        ("manual", [], [{"output": "score", "void": True}], "outputsMapping score: Function heart declares accuracy, scores"),
        ("endpoint", [{"input": "rows", "constant": 1}], [], "inputsMapping rows: constant is for values, and the Function declares uri_file"),
        ("endpoint", [{"input": "rows", "env": "A"}], [], "env is for values"),
        ("endpoint", [{"input": "labels", "secretRef": {"name": "a", "key": "b"}}], [], "the Function declares table"),
        ("endpoint", [{"input": "threshold", **LAKE}], [], "inputsMapping threshold: dataStore is for data, and the Function declares value"),
        ("endpoint", [{"input": "threshold", "asset": "a"}], [], "asset is for data"),
        ("endpoint", [{"input": "threshold", "constant": None}], [], "constant must not be null"),
        ("endpoint", [{"input": "threshold", "constant": 1, "default": 2}], [], "default does not go with constant"),
        ("periodic", [{"input": "threshold", "endpointInput": "t"}], [], "endpointInput goes with executionRule endpoint only"),
        ("manual", [], [{"output": "accuracy", "endpointOutput": "a"}], "endpointOutput goes with executionRule endpoint only"),
        ("endpoint", [], [{"output": "accuracy", "endpointOutput": "a"}, {"output": "scores", "endpointOutput": "a"}], "more than one output goes to endpointOutput a"),
    ],
)  # fmt: skip
def test_a_mapping_that_cannot_be_is_refused_by_its_entry(
    rule: Rule, inputs: list[Object], outputs: list[Object], message: str
) -> None:
    found = effective(rule, inputs, outputs)
    assert isinstance(found, Obstacle)
    assert found.reason == "MappingRejected"
    assert message in found.message


def test_a_periodic_run_has_what_is_mapped_with_the_declared_types() -> None:
    found = made(holds("periodic", ALL_INPUTS, ALL_OUTPUTS), variables={"MAX_AGE": "70"})
    assert found.inputs == [{"name": "rows", **LAKE, "type": "uri_file"}, {"name": "labels", "asset": "labels@latest"}]
    assert found.parameters == {"threshold": 0.5, "max_age": "70"}
    assert found.outputs == [{"name": "scores", "asset": "scores"}]
    assert found.void == ["accuracy"]
    assert made(holds("periodic", ALL_INPUTS, ALL_OUTPUTS)).parameters == {"threshold": 0.5, "max_age": "80"}


@pytest.mark.parametrize("constant", [0, False, "", [], {}, 1.5, "x", [1, None], {"a": None, "b": {"c": [None]}}])
def test_a_constant_keeps_its_json_type(constant: Any) -> None:
    code = function(inputs=[{"name": "x", "type": "value"}])
    found = made(holds("periodic", [{"input": "x", "constant": constant}], [], code), code).parameters["x"]
    assert (found, type(found)) == (constant, type(constant))


def test_a_secret_reaches_the_run_by_reference_only() -> None:
    mapping = holds("endpoint", [{"input": "threshold", "secretRef": {"name": "keys", "key": "t"}}], [])
    found = made(mapping, body={"rows": "heart"})
    variable = "MILLRACE_PARAMETER_0"  # a user's variable cannot have that name
    assert found.env == [{"name": variable, "valueFrom": {"secretKeyRef": {"name": "keys", "key": "t"}}}]
    assert found.from_environment == {"threshold": variable}
    assert "threshold" not in found.parameters


def test_a_call_of_an_endpoint_gives_values_and_data() -> None:
    rows = {"fields": ["a"], "values": [[1]]}
    mapping = holds("endpoint", [{"input": "threshold", "endpointInput": "t", "default": 0.5}], [])
    found = made(mapping, body={"rows": "https://data.test/rows.csv", "labels": rows, "t": [1, None]})
    assert found.parameters == {"threshold": [1, None]}
    assert found.inputs == [
        {"name": "rows", "uri": "https://data.test/rows.csv", "type": "uri_file"},
        {"name": "labels", "inline": rows},
    ]
    assert found.endpoint_outputs == {"scores": "scores", "accuracy": "accuracy"}
    found = made(mapping, body={"rows": "heart@latest"})
    assert found.parameters == {"threshold": 0.5}
    assert found.inputs == [{"name": "rows", "asset": "heart@latest", "type": "uri_file"}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "not given: endpointInput rows, endpointInput threshold"),
        ({"rows": "heart"}, "not given: endpointInput threshold"),
        ({"rows": 3, "threshold": 1}, "endpointInput rows: data is a reference (a text), or rows:"),
        ({"rows": "", "threshold": 1}, "endpointInput rows: data is a reference"),
        ({"rows": {"fields": ["a"]}, "threshold": 1}, "endpointInput rows: data is a reference"),
        (
            {"rows": "heart", "threshold": 1, "tresholds": 1},
            "the endpoint has no inputs tresholds; it has labels, max_age, rows,",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_the_names(body: Object, message: str) -> None:
    found = run_fields(holds("endpoint", [], []), CODE, body=body)
    assert isinstance(found, Obstacle)
    assert found.reason == "ParameterMismatch"
    assert message in found.message


def test_a_variable_that_the_template_does_not_have_is_named() -> None:
    code = function(inputs=[{"name": "x", "type": "value"}])
    found = run_fields(holds("periodic", [{"input": "x", "env": "X"}], [], code), code, variables={"Y": "1"})
    assert isinstance(found, Obstacle)
    assert found.message == "not given: env X"


def test_without_declared_inputs_a_call_s_object_is_the_parameters() -> None:
    code = function()
    found = made(
        holds("endpoint", [{"input": "rows", **LAKE}, {"input": "k", "constant": 1}], [], code), code, body={"a": 1}
    )
    assert (found.parameters, found.inputs) == ({"k": 1, "a": 1}, [{"name": "rows", **LAKE}])


def test_variables_have_their_values_and_those_from_elsewhere_none() -> None:
    env = [{"name": "A", "value": "2"}, {"name": "B", "valueFrom": {}}, {"name": "C"}]
    given = variables_of({"environmentVariables": {"A": "1", "B": "1", "D": "4"}, "env": env})
    assert given == {"A": "2", "B": None, "C": "", "D": "4"}
    assert variables_of({}) == {}


def test_a_variable_with_a_value_from_elsewhere_is_read_in_the_pod() -> None:
    code = function(inputs=[{"name": "x", "type": "value"}, {"name": "y", "type": "value"}])
    mapped: list[Object] = [{"input": "x", "env": "A"}, {"input": "y", "env": "B", "default": "b"}]
    found = made(holds("periodic", mapped, [], code), code, variables={"A": None, "B": None})
    assert found.from_environment == {"x": "A", "y": "B"}
    assert found.parameters == {"y": "b"}, "what the variable has comes over it, if it is there"
    assert found.env == []


def test_a_variable_may_be_missing_where_the_function_does_without() -> None:
    code = function(inputs=[{"name": "x", "type": "value", "required": False}])
    assert made(holds("periodic", [{"input": "x", "env": "X"}], [], code), code) == RunFields()


@pytest.mark.parametrize(
    ("inputs", "outputs"), [([{"input": "Rows_1", **LAKE}], []), ([], [{"output": "Rows_1", "asset": "a"}])]
)
def test_data_has_a_name_that_a_run_can_have(inputs: list[Object], outputs: list[Object]) -> None:
    found = effective("manual", inputs, outputs, function())
    assert isinstance(found, Obstacle)
    assert found.message.endswith("Mapping Rows_1: the name of data must be lower case letters, digits and hyphens")
    assert holds("manual", [{"input": "Rows_1", "constant": 1}], [{"output": "Rows_1", "void": True}], function())
