"""The JobRuns that we make for a Deployment, and own through it: they go with it, and its retention may let them go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from millrace.api.base import API_VERSION, Metadata
from millrace.build.job import owner
from millrace.domain.clock import render
from millrace.domain.labels import DEPLOYMENT, MANAGED_BY, SCHEDULED_AT
from millrace.domain.names import label_value
from millrace.domain.schedule import run_name

Manifest = dict[str, Any]


def scheduled_run(deployment: Metadata, tick: datetime) -> Manifest:
    """The run of a Deployment that is due at `tick`. What it does stands in the Deployment's template."""
    return {
        "apiVersion": API_VERSION,
        "kind": "JobRun",
        "metadata": {
            "name": run_name(deployment.name, tick),
            "namespace": deployment.namespace,
            "labels": {**MANAGED_BY, DEPLOYMENT: label_value(deployment.name)},
            "annotations": {SCHEDULED_AT: render(tick)},
            "ownerReferences": [owner("Deployment", deployment)],
        },
        "spec": {"deploymentRef": {"name": deployment.name}},
    }
