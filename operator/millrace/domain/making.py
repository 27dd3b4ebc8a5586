"""A run of a Deployment: its template, what is mapped, and what the run says itself. On the wire form, as template.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from millrace.api.deployment import DeploymentSpec
from millrace.api.function import Function
from millrace.domain.mapping import RunFields, effective_mapping, run_fields, variables_of
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolved import NOTHING_MAPPED, Mapped
from millrace.domain.template import Spec, merge

MAPPINGS = ("inputsMapping", "outputsMapping")


class Made(NamedTuple):
    """The spec of a run; what its mappings say beyond it; why they give none. With an obstacle nothing is mapped."""

    spec: Spec
    mapped: Mapped = NOTHING_MAPPED
    obstacle: Obstacle | None = None


def make(content: Mapping[str, Any], own: Mapping[str, Any], function: Function | None) -> Made:
    """What a run of a Deployment is. `content`: the Deployment's shape; `own`: the spec of the JobRun.

    What the run says itself wins over what is mapped, and that over the template, by the names of inputs and outputs. Where
    there is no Function it is as if nothing were mapped: the run cannot be started yet.
    """
    template, named = content.get("template", {}), {"functionRef": content["functionRef"]}
    unmapped = merge(template, own) | named
    if function is None or not (content.get("executionRule") == "periodic" or any(content.get(key) for key in MAPPINGS)):
        return Made(unmapped)
    said = DeploymentSpec.model_validate(named | {key: content[key] for key in MAPPINGS if key in content})
    mapping = effective_mapping(content.get("executionRule", "manual"), said.inputs_mapping, said.outputs_mapping, function)
    if isinstance(mapping, Obstacle):
        return Made(unmapped, obstacle=mapping._replace(heals=True))  # by an edit of the Deployment
    own_inputs, own_outputs = _inputs(own), _names(own, "outputs")
    mapping = mapping.model_copy(
        update={
            "inputs": [each for each in mapping.inputs if each.input not in own_inputs],
            "outputs": [each for each in mapping.outputs if each.output not in own_outputs],
        }
    )
    fields = run_fields(mapping, function, variables=variables_of(unmapped))
    if isinstance(fields, Obstacle):
        return Made(unmapped, obstacle=fields)
    given = _of_run(fields)
    base = _without(template, _inputs(given) | fields.from_environment.keys(), _names(given, "outputs") | {*fields.void})
    spec = merge(merge(base, given), own) | named
    return Made(spec, Mapped(fields.from_environment, tuple(fields.void)))


def _names(spec: Mapping[str, Any], key: str) -> set[str]:
    return {entry["name"] for entry in spec.get(key) or ()}


def _inputs(spec: Mapping[str, Any]) -> set[str]:
    return _names(spec, "inputs") | set(spec.get("parameters") or ())


def _without(spec: Mapping[str, Any], inputs: set[str], outputs: set[str]) -> Spec:
    """The same without entries of these names: an input may be a parameter in the one and data in the other."""
    found = dict(spec)
    for key, names in (("inputs", inputs), ("outputs", outputs)):
        if key in found:
            found[key] = [entry for entry in found[key] if entry["name"] not in names]
    if "parameters" in found:
        found["parameters"] = {name: value for name, value in found["parameters"].items() if name not in inputs}
    return found


def _of_run(fields: RunFields) -> Spec:
    said = {"parameters": fields.parameters, "inputs": fields.inputs, "outputs": fields.outputs, "env": fields.env}
    return {key: value for key, value in said.items() if value}
