"""The handler as a service calls it: what it takes, and where it runs."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any

from millrace import protocol
from millrace.inpod.runtime.child import Refused
from millrace.serve.problems import Problem


class Handler:
    """The callable, and what its signature says.

    takes: how many positional arguments it is called with: none, the entity, the entity and the context.
    entity: what the first one is annotated with, or Any. inline: whether a call only makes a coroutine or a generator, so
    that it needs no thread.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        """Raises Refused for a signature that a service cannot call."""
        self.function, self.name = function, name
        self.takes, first = _positional(function, name)
        hints = _hints(function)
        self.entity: Any = hints.get(first, Any) if first else Any
        self.returns: Any = hints.get("return", Any)
        called = function if inspect.isroutine(function) else type(function).__call__
        self.coroutine = inspect.iscoroutinefunction(called)
        self.inline = self.coroutine or inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called)
        self.raw = self.entity is bytes
        self._validate = getattr(self.entity, "model_validate", None)  # pydantic's

    def arguments(self, entity: Any, context: Any) -> tuple[Any, ...]:
        """What it is called with. Raises Problem 422 where the entity is not what a pydantic model says."""
        if self._validate is not None:
            try:
                entity = self._validate(entity)
            except ValueError as error:
                raise Problem(422, str(error)) from None
        return (entity, context)[: self.takes]


def _positional(function: Callable[..., Any], name: str) -> tuple[int, str | None]:
    """How many positional arguments it takes, at most two, and the name of the first."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return 1, None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p.name for p in positional[2:] if p.default is p.empty]
    needed += [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if needed:
        message = f"{name} cannot answer requests: it is given the entity and the context, and needs {', '.join(needed)} too"
        raise Refused(protocol.EXIT_PARAMETER_MISMATCH, message)
    takes = 2 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional[:2])
    return takes, positional[0].name if positional else None


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    called = function if inspect.isroutine(function) or inspect.isclass(function) else type(function).__call__
    try:
        return typing.get_type_hints(called)
    except Exception:  # noqa: BLE001 - annotations are user code, and may name what is not there at run time
        return {}
