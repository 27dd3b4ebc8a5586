"""The Job that deletes what runs of a Deployment have left in stores: at once, or suspended until that is old enough."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from millrace import protocol as p
from millrace.api.base import Metadata
from millrace.api.datastore import DataStore
from millrace.build.chore import PARKED, chore
from millrace.build.job import owner
from millrace.build.plan import store_entry
from millrace.build.pod import compact
from millrace.build.stores import identity_labels
from millrace.domain.clock import render
from millrace.domain.labels import COMPONENT, KEEPS, MANAGED_BY
from millrace.domain.names import keep_name
from millrace.domain.retention import Kind, Stored
from millrace.domain.settings import Settings


def keep_job(
    deployment: Metadata, things: Sequence[Stored], used: tuple[DataStore, ...], settings: Settings, *, waits: Kind | None
) -> dict[str, Any]:
    """The Job. `waits`: whose age is not over yet; then it is suspended. `used`: stores of the things and of the records.

    It goes with the Deployment: then nothing keeps to its retention any more, and what is in stores stays.
    """
    names = [store.metadata.name for store in used]
    items = [
        {
            "run": thing.run,
            "kind": thing.kind,
            "store": names.index(thing.store),
            "path": thing.path,
            "uri": thing.uri,
            "until": render(thing.finished),
        }
        for thing in things
    ]
    plan = {"stores": [store_entry(store, number) for number, store in enumerate(used)], "items": items}
    labels = {**MANAGED_BY, COMPONENT: "chore", **identity_labels(used)}
    spec = chore(used, settings, labels, program="keep", variable=p.KEEP_VARIABLE, plan=plan, writes=True)
    about = {
        "parts": sorted({f"{thing.run}/{thing.kind}" for thing in things}),
        "stores": names,
        "waits": waits,
        "finished": render(max(thing.finished for thing in things)),
    }
    digest = hashlib.sha256(compact([about, spec]).encode()).hexdigest()
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": keep_name(deployment.name, digest),
            "namespace": deployment.namespace,
            "labels": labels,
            "annotations": {KEEPS: compact(about)},
            "ownerReferences": [owner("Deployment", deployment)],
        },
        "spec": {**(PARKED if waits else {}), **spec},
    }
