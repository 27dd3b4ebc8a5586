"""Status writes: one place that says when a status is worth a write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from millrace.api.base import Condition, Metadata
from millrace.domain.conditions import Mark, merge
from millrace.reconcile.plan import PatchStatus


def conditions_patch(
    existing: Iterable[Condition], marks: Iterable[Mark], *, now: datetime, generation: int
) -> list[dict[str, Any]]:
    """The whole list of conditions: a merge patch replaces lists, and nobody else writes ours."""
    return [condition.dump() for condition in merge(existing, marks, now=now, generation=generation)]


def patch(kind: str, metadata: Metadata, current: Mapping[str, Any], wanted: dict[str, Any]) -> PatchStatus | None:
    """The write that makes `current` say what `wanted` says; None where it does already."""
    wanted = {"observedGeneration": metadata.generation, **wanted}
    changed = {key: value for key, value in wanted.items() if current.get(key) != value}
    if not changed:
        return None
    return PatchStatus(kind, metadata.namespace, metadata.name, metadata.resource_version, changed)
