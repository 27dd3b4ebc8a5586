"""DataAsset: its version, and whether a run can name it. The operator looks at no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.domain.assets import next_version, versions, waits_for
from millrace.domain.conditions import Mark, find
from millrace.domain.reasons import Reason
from millrace.domain.resolve import default_store
from millrace.reconcile.plan import NOTHING, Plan
from millrace.reconcile.status import conditions_patch, patch

TURN_SECONDS = 1  # until an older object has its version


@dataclass(frozen=True)
class DataAssetSnapshot:
    """A DataAsset, all objects of its asset, and the namespace's stores."""

    asset: DataAsset
    assets: tuple[DataAsset, ...]
    stores: Mapping[str, DataStore]
    now: datetime


def reconcile_dataasset(s: DataAssetSnapshot) -> Plan:
    """Gives it a version where it has none, and says whether it is Ready."""
    asset, meta = s.asset, s.asset.metadata
    if meta.deletion_timestamp:
        return NOTHING
    if asset.version is None and waits_for(asset, s.assets):
        return Plan(again=TURN_SECONDS)
    version = asset.version or next_version(s.assets, asset.asset)
    mark = _ready(s, version)
    marks = [mark]
    stalled = mark.reason == Reason.VERSION_TAKEN
    if stalled or find(asset.status.conditions, "Stalled"):
        marks.append(Mark("Stalled", status=stalled, reason=mark.reason, message=mark.message))  # kstatus: it stays so
    status = {
        "version": version,
        "conditions": conditions_patch(asset.status.conditions, marks, now=s.now, generation=meta.generation),
    }
    write = patch("DataAsset", meta, asset.status.dump(), status)
    return Plan((write,)) if write else NOTHING


def _ready(s: DataAssetSnapshot, version: str) -> Mark:
    asset = s.asset
    first = versions(s.assets, asset.asset).get(version, asset)
    if first.metadata.uid != asset.metadata.uid:
        message = f"DataAsset {first.metadata.name} is version {version} of {asset.asset} already"
        return Mark("Ready", status=False, reason=Reason.VERSION_TAKEN, message=message)
    if asset.spec.data_store and asset.spec.data_store not in s.stores:
        message = f"DataStore {asset.spec.data_store} does not exist in this namespace"
        return Mark("Ready", status=False, reason=Reason.DATA_STORE_NOT_FOUND, message=message)
    if not asset.spec.data_store and default_store(s.stores) is None:
        message = "spec.dataStore is not set, and the namespace has no default store"
        return Mark("Ready", status=False, reason=Reason.DEFAULT_STORE_NOT_FOUND, message=message)
    return Mark("Ready", status=True, reason=Reason.VALID)
