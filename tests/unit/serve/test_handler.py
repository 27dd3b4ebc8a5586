"""What a handler's signature says: how it is called, where it runs, how it is described."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from millrace.inpod.runtime.child import Refused
from millrace.serve.context import Service
from millrace.serve.handler import Handler
from millrace.serve.openapi import describe, schema
from millrace.serve.problems import Problem


class Row(TypedDict):
    age: int
    name: NotRequired[str]


class Model:
    """As pydantic's are."""

    def __init__(self, age: int) -> None:
        self.age = age

    @classmethod
    def model_validate(cls, value: Any) -> Model:
        if not isinstance(value, dict) or not isinstance(value.get("age"), int):
            raise ValueError("age: not a whole number")  # noqa: TRY004 - as theirs is one
        return cls(value["age"])

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {"age": {"type": "integer"}}}


class Called:
    async def __call__(self, body: bytes) -> None: ...


def generates(body: Any) -> Iterator[int]:
    yield 1


async def generates_async(body: Any) -> AsyncIterator[int]:
    yield 1


async def coroutine(body: list[Row], context: Any = None, more: int = 5) -> dict[str, float]:
    """Scores rows.

    More about it.
    """
    return {}


@pytest.mark.parametrize(
    ("function", "takes", "inline", "coroutine"),
    [
        (lambda: None, 0, False, False),
        (lambda body: None, 1, False, False),
        (lambda body, context: None, 2, False, False),
        (lambda body, context, more=1: None, 2, False, False),
        (lambda *everything: None, 2, False, False),
        (lambda body, *, more=1: None, 1, False, False),
        (lambda **named: None, 0, False, False),
        (len, 1, False, False),
        (coroutine, 2, True, True),
        (generates, 1, True, False),
        (generates_async, 1, True, False),
        (Called(), 1, True, True),
    ],
)
def test_how_it_is_called(function: Callable[..., Any], takes: int, inline: bool, coroutine: bool) -> None:
    handler = Handler(function, "main:f")
    assert (handler.takes, handler.inline, handler.coroutine) == (takes, inline, coroutine)
    assert handler.arguments("entity", "context") == ("entity", "context")[:takes]


@pytest.mark.parametrize(
    ("function", "needs"),
    [(lambda a, b, c: None, "c"), (lambda a, *, key: None, "key"), (lambda a, b, c, d, *, e: None, "c, d, e")],
)
def test_one_that_needs_more_is_refused(function: Callable[..., Any], needs: str) -> None:
    with pytest.raises(Refused, match=f"needs {needs} too") as refused:
        Handler(function, "main:f")
    assert refused.value.exit_code == 241


def test_bytes_are_asked_for_by_annotation() -> None:
    assert Handler(Called(), "main:f").raw
    assert not Handler(coroutine, "main:f").raw


def test_a_model_checks_the_entity() -> None:
    def takes(row: Model) -> int:
        return row.age

    handler = Handler(takes, "main:takes")
    handler.entity = Model
    checked = Handler(_with(Model), "main:takes")
    assert checked.arguments({"age": 5}, None)[0].age == 5
    with pytest.raises(Problem, match="not a whole number") as refused:
        checked.arguments({"age": "x"}, None)
    assert refused.value.status == 422


def _with(annotation: Any) -> Callable[..., Any]:
    def takes(row: Any) -> None: ...

    takes.__annotations__ = {"row": annotation}
    return takes


def test_an_annotation_that_names_nothing_does_not_matter() -> None:
    assert Handler(_with("NotThere"), "main:f").entity is Any


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (int, {"type": "integer"}),
        (dict, {"type": "object"}),
        (dict[str, float], {"type": "object", "additionalProperties": {"type": "number"}}),
        (list, {"type": "array"}),
        (list[str], {"type": "array", "items": {"type": "string"}}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (
            Row,
            {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string"}}, "required": ["age"]},
        ),
        (Model, {"type": "object", "properties": {"age": {"type": "integer"}}}),
        (Any, {}),
        (object, {}),
        (Callable, {}),
    ],
)
def test_schemas_of_annotations(annotation: Any, expected: dict[str, Any]) -> None:
    assert schema(annotation) == expected


def test_the_description_comes_from_the_signature() -> None:
    document = json.loads(
        describe(Handler(coroutine, "main:coroutine"), Service(deployment="svc", revision="svc-1"), public=False)
    )
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "svc", "version": "svc-1"}
    assert document["security"] == [{"token": []}]
    operation = document["paths"]["/"]["post"]
    assert operation["summary"] == "Scores rows."
    assert operation["description"] == "Scores rows.\n\nMore about it."
    row = {"type": "object", "properties": {"age": {"type": "integer"}, "name": {"type": "string"}}, "required": ["age"]}
    assert operation["requestBody"]["content"]["application/json"]["schema"] == {"type": "array", "items": row}
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "object", "additionalProperties": {"type": "number"}}


def test_a_public_service_asks_for_no_token() -> None:
    assert "security" not in json.loads(describe(Handler(lambda: 1, "main:f"), Service(), public=True))
