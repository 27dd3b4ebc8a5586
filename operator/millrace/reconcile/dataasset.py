"""DataAsset: its version, and whether a run can name it. The operator looks at no data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.build.reclaim import reclaim_job
from millrace.domain.assets import next_version, versions, waits_for
from millrace.domain.conditions import Mark, find
from millrace.domain.labels import RECLAIMS
from millrace.domain.reasons import Reason
from millrace.domain.resolve import default_store
from millrace.domain.settings import Settings
from millrace.observe.job import JobFacts
from millrace.reconcile.plan import NOTHING, Action, CreateUnowned, Delete, Learned, Plan
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.status import conditions_patch, patch

TURN_SECONDS = 1  # until an older object has its version


@dataclass(frozen=True)
class DataAssetSnapshot:
    """A DataAsset, all objects of its asset, the namespace's stores, and the Job that will delete the data."""

    asset: DataAsset
    assets: tuple[DataAsset, ...]
    stores: Mapping[str, DataStore]
    reclaim: JobFacts | None
    learned: Learned
    settings: Settings
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
    action: Action | None = None
    if mark.status and asset.spec.reclaim == "Delete":
        # What shall go with it is known before anybody counts on it, and outlives it: its deletion may be noticed late.
        action = _reclaim(s, version)
        if isinstance(action, CreateUnowned):
            obstacle = refusal(s.learned, s.now)
            if obstacle is None:
                return Plan((action,), again=0)
            mark = Mark("Ready", status=False, reason=obstacle.reason, message=f"the Job for reclaim: {obstacle.message}")
    marks = [mark]
    stalled = mark.reason == Reason.VERSION_TAKEN
    if stalled or find(asset.status.conditions, "Stalled"):
        marks.append(Mark("Stalled", status=stalled, reason=mark.reason, message=mark.message))  # kstatus: it stays so
    status = {
        "version": version,
        "conditions": conditions_patch(asset.status.conditions, marks, now=s.now, generation=meta.generation),
    }
    write = patch("DataAsset", meta, asset.status.dump(), status)
    again = REFUSED_SECONDS if isinstance(action, CreateUnowned) else 0 if action else None
    replaced = (action,) if isinstance(action, Delete) else ()
    return Plan((*((write,) if write else ()), *replaced), again=again)


def _reclaim(s: DataAssetSnapshot, version: str) -> Action | None:
    """What is to be done about the Job that will delete the data; one that was made of what holds no more is made anew."""
    meta = s.asset.metadata
    job = reclaim_job(s.asset, version, s.stores[str(s.asset.spec.data_store)], s.settings)
    if s.reclaim is None:
        return CreateUnowned(job, tell=meta.uid)
    if s.reclaim.reclaims != job["metadata"]["annotations"][RECLAIMS]:
        return Delete("Job", meta.namespace, s.reclaim.name, s.reclaim.uid)
    return None


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
    if asset.spec.reclaim == "Delete" and not s.stores[str(asset.spec.data_store)].spec.writable:
        message = f"reclaim: Delete deletes data in DataStore {asset.spec.data_store}, which is read only"
        return Mark("Ready", status=False, reason=Reason.DATA_STORE_READ_ONLY, message=message)
    return Mark("Ready", status=True, reason=Reason.VALID)
