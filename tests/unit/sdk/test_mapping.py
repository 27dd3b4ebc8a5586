"""What the SDK's mappings become in a manifest."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.sdk import InputSource, OutputDestination, Refused
from millrace.sdk.names import object_name

INPUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "constant": ({"constant_value": 0}, {"constant": 0}),
    "false": ({"constant_value": False}, {"constant": False}),
    "variable": ({"environment_variable_name": "A", "default_value": "x"}, {"env": "A", "default": "x"}),
    "endpoint": ({"endpoint_input_name": "e"}, {"endpointInput": "e"}),
    "default store": ({"datastore_path": "in/a"}, {"dataStore": {"name": "main", "path": "in/a"}}),
    "named store": ({"datastore_path": "other/paths/in/a"}, {"dataStore": {"name": "other", "path": "in/a"}}),
}
OUTPUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nowhere": ({"is_null": True}, {"void": True}),
    "endpoint": ({"endpoint_output_name": "e"}, {"endpointOutput": "e"}),
    "store": ({"datastore_path": "out"}, {"dataStore": {"name": "main", "path": "out"}}),
}


@pytest.mark.parametrize(("given", "wanted"), INPUTS.values(), ids=INPUTS.keys())
def test_an_input(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert InputSource(pipeline_input_name="a", **given).manifest("main") == {"input": "a", **wanted}


@pytest.mark.parametrize(("given", "wanted"), OUTPUTS.values(), ids=OUTPUTS.keys())
def test_an_output(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert OutputDestination(pipeline_output_name="a", **given).manifest("main") == {"output": "a", **wanted}


def test_a_path_without_a_default_store_is_refused() -> None:
    with pytest.raises(Refused, match="no default store"):
        InputSource(pipeline_input_name="a", datastore_path="in").manifest(None)


def test_names_of_objects() -> None:
    assert object_name("My_Deployment_1") == "my-deployment-1"
