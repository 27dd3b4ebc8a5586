"""Files of other systems, which nobody has checked: one value, of JSON's types, of a size and depth that we choose. Pure."""

from __future__ import annotations

import json
import math
from typing import Any

import yaml

from millrace.cli.documents import Loader, load
from millrace.cli.errors import Refused

LIMIT = 1024 * 1024  # bytes of a file; what a run takes inline is a fifth of it
YAML_LIMIT = 64 * 1024  # PyYAML takes seconds for these, and for a definition they are plenty
DEPTH = 64  # lists and objects in each other


class _PlainLoader(Loader):
    """No aliases, of which a few lines stand for gigabytes, and keys that are texts."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases are not read here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:str":
                problem = "a key that is no text; write it in quotes"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_value(text: str, source: str) -> Any:
    """The one value of a text: JSON where it begins with a brace, else YAML. Raises Refused."""
    is_json = text.lstrip().startswith("{")
    limit = LIMIT if is_json else YAML_LIMIT
    if len(text.encode()) > limit:
        form = "JSON" if is_json else "YAML"
        raise Refused(f"{source}: more than {limit} bytes of {form}", "put the data into a store, and name its place")
    if is_json:
        found = _json(text, source)
    else:
        documents = load(text, source, _PlainLoader)
        if len(documents) != 1:
            raise Refused(f"{source}: {len(documents)} documents; one is expected")
        found = documents[0]
    _check(found, source, DEPTH)
    return found


def _json(text: str, source: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Refused(f"{source}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from None
    except RecursionError:
        raise Refused(f"{source}: more than {DEPTH} lists and objects in each other") from None
    except ValueError as error:  # a key twice, a number of thousands of digits
        raise Refused(f"{source}: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is there twice")
        found[key] = value
    return found


def _check(value: Any, source: str, depth: int) -> None:
    match value:
        case dict() | list():
            if depth == 0:
                raise Refused(f"{source}: more than {DEPTH} lists and objects in each other")
            for entry in [*value, *value.values()] if isinstance(value, dict) else value:
                _check(entry, source, depth - 1)
        case str():
            if any("\ud800" <= character <= "\udfff" for character in value):
                raise Refused(f"{source}: half a character (a lone surrogate) in a text")
        case float():
            if not math.isfinite(value):
                raise Refused(f"{source}: JSON has no {value}")
        case bool() | int() | None:
            pass
        case _:
            raise Refused(f"{source}: a value of the type {type(value).__name__}, which JSON does not have")
