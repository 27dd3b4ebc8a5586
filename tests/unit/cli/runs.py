"""Statuses of runs as the operator writes them."""

from __future__ import annotations

from typing import Any

from millrace.api.jobrun import JobRun

Object = dict[str, Any]


def run(phase: str | None = None, *, reason: str | None = None, message: str = "", **more: Any) -> JobRun:
    """A JobRun with this phase, and with reason and message in its condition Reconciling."""
    status: Object = {"phase": phase, **more}
    if reason:
        condition = {"type": "Reconciling", "status": "True", "reason": reason, "message": message, "lastTransitionTime": ""}
        status |= {"reason": reason if reason != phase else None, "conditions": [condition]}
    return JobRun.model_validate(
        {
            "metadata": {"name": "score-1", "namespace": "ns", "uid": "u", "creationTimestamp": "2026-11-21T10:00:00Z"},
            "spec": {"functionRef": {"name": "score"}},
            "status": status,
        }
    )
