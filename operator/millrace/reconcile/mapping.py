"""The part of a Deployment that says what its mappings make of its Function's inputs and outputs."""

from __future__ import annotations

from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.domain.mapping import effective_mapping
from millrace.domain.obstacle import Obstacle
from millrace.reconcile.part import Part


def mapping(deployment: Deployment, function: Function | None) -> Part:
    """What holds for the runs, or why it cannot be. Without a Function that is not known."""
    if function is None:
        return Part()
    spec = deployment.spec
    found = effective_mapping(spec.execution_rule or "manual", spec.inputs_mapping, spec.outputs_mapping, function)
    if isinstance(found, Obstacle):
        return Part(status={"effectiveMapping": None}, obstacle=found)
    return Part(status={"effectiveMapping": found.dump() if found.inputs or found.outputs else None})
