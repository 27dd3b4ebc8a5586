"""The OpenAPI description of a service, from its handler's signature. Pure."""

from __future__ import annotations

import inspect
import json
import types
import typing
from typing import Any

from millrace.serve.context import Service
from millrace.serve.handler import Handler

_SIMPLE = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
}
_ARRAYS = (list, tuple, set, frozenset)
_ANY: dict[str, Any] = {}
PROBLEM = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
        "requestId": {"type": "string"},
    },
}


def describe(handler: Handler, service: Service, *, public: bool) -> bytes:
    """OpenAPI 3.1 as JSON."""
    text = inspect.cleandoc(handler.function.__doc__ or "")
    returns = _ANY if handler.coroutine is False and handler.inline else schema(handler.returns)
    operation: dict[str, Any] = {
        "operationId": handler.name.rpartition(":")[2].replace(".", "_"),
        "summary": text.partition("\n")[0] or handler.name,
        "responses": {
            "200": {"description": "What the handler returns", "content": {"application/json": {"schema": returns}}},
            "default": {
                "description": "Why there is none",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if text:
        operation["description"] = text
    if handler.takes:
        kind = "application/octet-stream" if handler.raw else "application/json"
        operation["requestBody"] = {"content": {kind: {"schema": _ANY if handler.raw else schema(handler.entity)}}}
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": service.deployment or handler.name, "version": service.revision or "0"},
        "paths": {"/": {"post": operation}},
        "components": {"schemas": {"Problem": PROBLEM}},
    }
    if not public:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return json.dumps(document, ensure_ascii=False, default=str).encode("utf-8", "replace")


def schema(annotation: Any) -> dict[str, Any]:
    """JSON Schema of an annotation; one that says nothing about JSON allows all."""
    if isinstance(annotation, type) and annotation in _SIMPLE:
        return {"type": _SIMPLE[annotation]}
    if hasattr(annotation, "model_json_schema"):  # pydantic's
        return dict(annotation.model_json_schema())
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return schema(arguments[0])
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in {typing.Union, types.UnionType}:
        return {"anyOf": [schema(each) for each in arguments]}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(arguments[1])}
    if origin in _ARRAYS:
        return {"type": "array", "items": schema(arguments[0])}
    if typing.is_typeddict(annotation):
        return _fields(typing.get_type_hints(annotation, include_extras=True), total=annotation.__total__)
    if annotation in _ARRAYS:
        return {"type": "array"}
    return _ANY


def _fields(hints: dict[str, Any], *, total: bool) -> dict[str, Any]:
    properties, required = {}, []
    for name, hint in hints.items():
        origin = typing.get_origin(hint)
        marked = origin in {typing.Required, typing.NotRequired}
        properties[name] = schema(typing.get_args(hint)[0] if marked else hint)
        if origin is typing.Required or (total and not marked):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}
