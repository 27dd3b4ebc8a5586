"""What a Function declares: runs that keep to it, and those that do not, with the names."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import DATA, SETTINGS, function, run
from millrace.api.jobrun import JobRun
from millrace.domain.declared import with_declared
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolve import check_function

DECLARED: dict[str, Any] = {
    "inputs": [
        {"name": "rows"},
        {"name": "images", "type": "uri_folder", "required": False},
        {"name": "threshold", "type": "value"},
        {"name": "max_age", "type": "value", "default": 90},
        {"name": "note", "type": "value", "required": False},
    ],
    "outputs": [{"name": "scores", "type": "table"}],
}
ROWS = {"name": "rows", **DATA}
OUTPUT = {"name": "scores", "asset": "scores"}


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ({"inputs": [ROWS], "parameters": {"threshold": 1}}, {"threshold": 1, "max_age": 90}),
        ({"inputs": [ROWS], "parameters": {"threshold": None, "max_age": 0}}, {"threshold": None, "max_age": 0}),
        (
            {"inputs": [ROWS, {"name": "images", **DATA}], "parameters": {"threshold": 1, "note": ""}, "outputs": [OUTPUT]},
            {"threshold": 1, "max_age": 90, "note": ""},
        ),
        ({"inputs": [{**ROWS, "type": "uri_file"}], "parameters": {"threshold": [1]}}, {"threshold": [1], "max_age": 90}),
    ],
)
def test_a_run_that_keeps_to_it_gets_the_defaults(spec: dict[str, Any], parameters: dict[str, Any]) -> None:
    found = with_declared(run(**spec), function(**DECLARED))
    assert isinstance(found, JobRun)
    assert found.spec.parameters == parameters


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({}, "Function heart needs rows, threshold: values go under parameters, data under inputs"),
        ({"inputs": [ROWS]}, "Function heart needs threshold: values"),
        ({"parameters": {"threshold": 1}}, "Function heart needs rows: values"),
        (
            {"parameters": {"treshold": 1}, "inputs": [ROWS]},
            "has no inputs treshold; it declares images, max_age, note, rows,",
        ),
        ({"inputs": [{"name": "row", **DATA}]}, "Function heart has no inputs row; it declares"),
        (
            {"inputs": [{"name": "threshold", **DATA}]},
            "threshold: Function heart declares a value, which goes under parameters",
        ),
        ({"parameters": {"rows": "heart@latest"}}, "rows: Function heart declares data, which goes under inputs"),
        ({"inputs": [ROWS], "parameters": {"rows": 1}}, "both an input and a parameter are named rows"),
        (
            {"inputs": [{**ROWS, "type": "uri_folder"}], "parameters": {"threshold": 1}},
            "input rows is of type uri_folder; Function heart declares uri_file",
        ),
        ({"outputs": [{"name": "score", "asset": "a"}]}, "Function heart has no outputs score; it declares scores"),
    ],
)
def test_a_run_that_does_not_fit_is_refused_with_the_names(spec: dict[str, Any], why: str) -> None:
    found = with_declared(run(**spec), function(**DECLARED))
    assert isinstance(found, Obstacle)
    assert (found.reason, found.heals) == ("ParameterMismatch", False)
    assert why in found.message


def test_a_function_that_declares_nothing_takes_any_run() -> None:
    free = run(inputs=[{"name": "x", **DATA}], parameters={"y": 1}, outputs=[{"name": "z", "asset": "a"}])
    assert with_declared(free, function()) is free
    assert with_declared(free, function(outputs=[{"name": "z"}])) is free
    table = function(inputs=[{"name": "x", "type": "table"}, {"name": "y", "type": "value"}])
    assert with_declared(free, table) == free


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"type": "uri_file", "default": "a"}, "spec.inputs i: default goes with type value"),
        ({"default": "a"}, "spec.inputs i: default goes with type value"),
        ({"type": "value", "default": 1, "required": True}, "spec.inputs i: a value with a default is not required"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(entry: dict[str, Any], why: str) -> None:
    found = check_function(function(inputs=[{"name": "i", **entry}]), SETTINGS)
    assert found is not None
    assert found.reason == "DeclarationRejected"
    assert why in found.message


def test_nothing_declared_leaves_the_revision_as_it_was() -> None:
    assert not {"inputs", "outputs"} & function().spec.dump().keys()
