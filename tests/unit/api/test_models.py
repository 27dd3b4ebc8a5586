"""From the wire to the models and back."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import function, metadata, run, store
from millrace.api.base import DURATION, QUANTITY, Model, rule, seconds
from millrace.api.crd import KINDS, definition
from millrace.api.jobrun import MUTABLE, JobRun, JobRunSpec, JobRunStatus, Phase


def test_an_empty_status_is_one() -> None:
    assert (
        JobRun.model_validate({"metadata": metadata("a", "u"), "spec": {"functionRef": {"name": "f"}}}).status
        == JobRunStatus()
    )


def test_unknown_fields_of_a_newer_version_are_left_out() -> None:
    found = JobRun.model_validate(
        {"metadata": metadata("a", "u"), "spec": {"functionRef": {"name": "f"}, "new": 1}, "status": {}}
    )
    assert "new" not in found.spec.dump()


@pytest.mark.parametrize(
    ("size", "text"),
    {"a quantity": ("10Gi", "10Gi"), "an integer": (1024, "1024")}.values(),
)
def test_quantities_may_be_numbers(size: Any, text: str) -> None:
    scratch = run(scratch={"size": size}).spec.scratch
    assert scratch
    assert str(scratch.size) == text


def test_what_is_passed_through_is_kept_as_it_is() -> None:
    opaque = {"limits": {"nvidia.com/gpu": 1, "memory": "1Gi"}, "deep": [{"a": None, "b": [1, 2.5, True, "x"]}]}
    parameters = {"nothing": None, "float": 1.0, "text": "ü", "snake_case": {"camelCase": 1}}
    found = run(resources=opaque, parameters=parameters)
    assert found.spec.resources == opaque
    assert found.spec.parameters == parameters


def test_rows_of_input_data_keep_their_nulls() -> None:
    data = {"fields": ["a", "b"], "values": [[1, None], [None, "x"]]}
    assert run(inputData=[data]).spec.input_data[0].dump() == data


@pytest.mark.parametrize(
    "found", {"run": run(), "function": function(), "store": store()}.values(), ids=lambda found: type(found).__name__
)
def test_objects_survive_the_way_there_and_back(found: Model) -> None:
    assert type(found).model_validate(found.dump()) == found


@pytest.mark.parametrize("phase", Phase)
def test_three_phases_are_final(phase: Phase) -> None:
    assert phase.terminal == (phase.value in {"Succeeded", "Failed", "Cancelled"})


@given(st.from_regex(DURATION, fullmatch=True))
def test_every_duration_that_the_schema_takes_is_read(text: str) -> None:
    assert seconds(text.strip()) >= 0


@given(st.from_regex(QUANTITY, fullmatch=True))
def test_every_quantity_that_the_schema_takes_is_read(text: str) -> None:
    assert re.fullmatch(QUANTITY, text)
    from millrace.build.plan import quantity

    assert quantity(text.strip()) >= 0


def test_every_field_of_a_run_is_immutable_or_said_to_be_mutable() -> None:
    schema = definition(next(kind for kind in KINDS if kind.name == "JobRun"))["spec"]["versions"][0]["schema"]
    spec = schema["openAPIV3Schema"]["properties"]["spec"]
    fixed = {entry["fieldPath"].lstrip(".") for entry in spec["x-kubernetes-validations"] if "immutable" in entry["message"]}
    fields = {field.alias or name for name, field in JobRunSpec.model_fields.items()}
    assert fields == set(spec["properties"])
    assert fixed == fields - set(MUTABLE)


def test_a_message_that_is_an_expression_is_told_from_a_text() -> None:
    assert rule("a", "text")["message"] == "text"
    assert rule("a", "'text: ' + self.name") == {"rule": "a", "messageExpression": "'text: ' + self.name"}
