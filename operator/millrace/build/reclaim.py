"""The Job that deletes a DataAsset's data: made while the DataAsset is there, suspended from birth, and owned by nobody."""

from __future__ import annotations

import hashlib
from typing import Any

from millrace import protocol as p
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.build.chore import PARKED, chore
from millrace.build.plan import store_entry
from millrace.build.pod import compact
from millrace.build.stores import identity_labels
from millrace.domain.labels import COMPONENT, DATASTORE, MANAGED_BY, RECLAIMS
from millrace.domain.names import label_value, reclaim_name
from millrace.domain.reclaim import Reclaim, place
from millrace.domain.settings import Settings


def reclaim_job(asset: DataAsset, version: str, store: DataStore, settings: Settings) -> dict[str, Any]:
    """The Job; whoever finds its DataAsset gone starts it."""
    labels = {**MANAGED_BY, COMPONENT: "chore", DATASTORE: label_value(store.metadata.name), **identity_labels((store,))}
    kind = "uri_file" if asset.spec.type == "uri_file" else "uri_folder"
    plan = {"stores": [store_entry(store, 0)], "item": {"type": kind, "key": asset.spec.path}}
    spec = chore((store,), settings, labels, program="reclaim", variable=p.RECLAIM_VARIABLE, plan=plan, writes=True)
    about = Reclaim(
        uid=asset.metadata.uid,
        name=asset.metadata.name,
        asset=asset.asset,
        version=version,
        place=place(asset.spec.path, store.metadata.name, store),
        made=hashlib.sha256(compact(spec).encode()).hexdigest()[:16],
    )
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": reclaim_name(asset.metadata.name, asset.metadata.uid),
            "namespace": asset.metadata.namespace,
            "labels": labels,
            "annotations": {RECLAIMS: compact(about.dump())},
        },
        "spec": {**PARKED, **spec},
    }
