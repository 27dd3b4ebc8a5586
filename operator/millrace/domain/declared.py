"""What a Function declares, and whether a run keeps to it. One that declares nothing is checked by its handler alone."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason


def listed(names: set[str]) -> str:
    """Names in their order, for a message."""
    return ", ".join(sorted(names))


def check_declared(function: Function) -> Obstacle | None:
    """What cannot be meant in the declared inputs, if anything."""
    given = [found for found in function.spec.inputs or () if found.default is not None]
    if names := {found.name for found in given if not found.is_value}:
        return Obstacle(
            Reason.DECLARATION_REJECTED,
            f"spec.inputs {listed(names)}: default goes with type value; optional data has required: false",
        )
    if names := {found.name for found in given if found.required}:
        return Obstacle(
            Reason.DECLARATION_REJECTED,
            f"spec.inputs {listed(names)}: a value with a default is not required; leave out one",
        )
    return None


def with_declared(run: JobRun, function: Function, from_environment: AbstractSet[str] = frozenset()) -> JobRun | Obstacle:
    """The run with the defaults of what it does not say; an obstacle where it does not fit, with the names.

    `from_environment`: parameters whose value only the pod knows.
    """
    given, parameters = {found.name for found in run.spec.inputs}, run.spec.parameters.keys() | from_environment
    if shared := given & parameters:
        return _mismatch(f"both an input and a parameter are named {listed(shared)}")
    declared = {found.name: found for found in function.spec.inputs or ()}
    outputs = {found.name for found in function.spec.outputs or ()}
    which = f"Function {function.metadata.name}"
    if unknown := {found.name for found in run.spec.outputs} - outputs if outputs else None:
        return _mismatch(f"{which} has no outputs {listed(unknown)}; it declares {listed(outputs)}")
    if not declared:
        return run
    values = {name for name, found in declared.items() if found.is_value}
    if unknown := (given | parameters) - declared.keys():
        return _mismatch(f"{which} has no inputs {listed(unknown)}; it declares {listed(set(declared))}")
    if given & values:
        return _mismatch(f"{listed(given & values)}: {which} declares a value, which goes under parameters")
    if data := parameters - values:
        return _mismatch(f"{listed(data)}: {which} declares data, which goes under inputs")
    if missing := {name for name, found in declared.items() if found.must_be_given} - given - parameters:
        return _mismatch(f"{which} needs {listed(missing)}: values go under parameters, data under inputs")
    for found in run.spec.inputs:
        wanted = declared[found.name].type or "uri_file"
        if found.type and wanted not in {"table", found.type}:
            return _mismatch(f"input {found.name} is of type {found.type}; {which} declares {wanted}")
    defaults = {name: found.default for name, found in declared.items() if found.default is not None}
    if not defaults.keys() - run.spec.parameters.keys():
        return run
    return run.model_copy(update={"spec": run.spec.model_copy(update={"parameters": {**defaults, **run.spec.parameters}})})


def _mismatch(message: str) -> Obstacle:
    return Obstacle(Reason.PARAMETER_MISMATCH, message, heals=False)
