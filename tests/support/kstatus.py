"""What kstatus (sigs.k8s.io/cli-utils) makes of an object of a custom kind: its rules, in its order."""

from __future__ import annotations

from support.cluster import Object


def kstatus(obj: Object) -> str:
    """Terminating, InProgress, Failed or Current."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if "deletionTimestamp" in meta:
        return "Terminating"
    if status.get("observedGeneration", meta["generation"]) != meta["generation"]:
        return "InProgress"
    for condition in status.get("conditions") or []:
        if condition["type"] == "Reconciling" and condition["status"] == "True":
            return "InProgress"
        if condition["type"] == "Stalled" and condition["status"] == "True":
            return "Failed"
    for condition in status.get("conditions") or []:
        if condition["type"] == "Ready":
            return "Current" if condition["status"] == "True" else "InProgress"
    return "Current"
