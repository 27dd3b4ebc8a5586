"""Mappings: what their schema takes, and what it refuses."""

from __future__ import annotations

import pytest

from integration.api.scratch import Scratch
from millrace.api.mapping import InputMapping, OutputMapping
from support.apiserver import ApiServer, Object, Refused

STORE: Object = {"name": "lake", "path": "in"}


@pytest.fixture(scope="module")
def inputs(api: ApiServer) -> Scratch:
    return Scratch(api, InputMapping)


@pytest.fixture(scope="module")
def outputs(api: ApiServer) -> Scratch:
    return Scratch(api, OutputMapping)


@pytest.mark.parametrize(
    "source",
    [
        *({"constant": value} for value in (0, False, "", "x", 1.5, [1, None], {"a": {"b": None}})),
        {"endpointInput": "Rows_1", "default": {"a": [1]}},
        {"env": "MAX_AGE", "default": "90"},
        {"dataStore": STORE},
        {"asset": "heart@latest"},
        {"secretRef": {"name": "keys", "key": "token.txt"}},
    ],
)
def test_each_source_is_taken_as_it_is_written(inputs: Scratch, source: Object) -> None:
    assert inputs.take(input="x", **source) == {"input": "x", **source}


@pytest.mark.parametrize(
    "source",
    [{}, {"constant": 1, "env": "A"}, {"env": "A", "asset": "a"}, {"constant": 0, "dataStore": STORE}, {"default": 1}],
)
def test_there_is_exactly_one_source(inputs: Scratch, source: Object) -> None:
    with pytest.raises(Refused, match=r"spec.*must validate one and only one schema"):
        inputs.take(input="x", **source)


@pytest.mark.parametrize(
    "destination", [{"endpointOutput": "Answer"}, {"dataStore": STORE}, {"asset": "scores"}, {"void": True}]
)
def test_each_destination_is_taken(outputs: Scratch, destination: Object) -> None:
    assert outputs.take(output="x", **destination) == {"output": "x", **destination}


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ({}, "exactly one of endpointOutput, dataStore, asset, void must be set"),
        ({"asset": "a", "void": True}, "exactly one of endpointOutput, dataStore, asset, void must be set"),
        ({"void": False}, "void must be true, or absent"),
        ({"asset": "My_Asset"}, "should match"),
    ],
)
def test_there_is_exactly_one_destination(outputs: Scratch, destination: Object, why: str) -> None:
    with pytest.raises(Refused) as refused:
        outputs.take(output="x", **destination)
    assert why in refused.value.message
