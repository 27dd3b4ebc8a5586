"""DataAssets for tests on the cluster."""

from __future__ import annotations

from typing import Any

from support.cluster import Namespace, Object, condition
from support.waiting import wait_for


def asset(name: str, **spec: Any) -> Object:
    """A DataAsset."""
    return {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataAsset", "metadata": {"name": name}, "spec": spec}


def ready(namespace: Namespace, name: str) -> Object:
    """The status of a DataAsset, once it is Ready."""

    def look() -> Object | None:
        status: Object = namespace.get("dataassets", name).get("status") or {}
        found = condition(status, "Ready")
        return status if found and found["status"] == "True" else None

    return wait_for(f"DataAsset {name} is Ready", look, seconds=30)
