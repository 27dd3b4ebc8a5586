"""A run of a Deployment: the template's defaults, and what the run itself says. On the wire form: absent is not said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.api.deployment import DeploymentSpec
from millrace.domain.names import revision_name

Spec = dict[str, Any]

# What a run is made of. Edits of anything else make no new revision, and reach runs that are queued.
SHAPE = ("functionRef", "executionRule", "inputsMapping", "outputsMapping", "template")
BY_NAME = ("environmentVariables", "parameters", "timeouts")  # objects: the run's entries beside the template's others
LISTS_BY_NAME = ("env", "inputs", "outputs")  # lists: an entry of the run replaces the template's of that name


def shape(spec: DeploymentSpec) -> Spec:
    """The part of a Deployment that its runs are made of."""
    # What is not said is left out, defaults of the models too: they are the run's to give.
    said = spec.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return {field: said[field] for field in SHAPE if field in said}


def deployment_revision(name: str, spec: DeploymentSpec) -> str:
    """Name of the ConfigMap of a Deployment's revision."""
    return revision_name(name, shape(spec))


def merge(template: Mapping[str, Any], own: Mapping[str, Any]) -> Spec:
    """The spec of a run with its template's defaults. What the run says wins, field by field or name by name."""
    merged = {**template, **own}
    for field in BY_NAME:
        if field in template and field in own:
            merged[field] = {**template[field], **own[field]}
    for field in LISTS_BY_NAME:
        if field in template and field in own:
            entries = {entry["name"]: entry for entry in (*template[field], *own[field])}
            merged[field] = list(entries.values())
    return merged
