"""The Job that deletes an asset's data: started once its DataAsset is gone, and nobody else names the data or reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.domain.reasons import Reason
from millrace.domain.reclaim import Reclaim, also_named_by
from millrace.observe.failure import obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import NOTHING, Delete, Emit, Learned, LookForAssets, Plan, StartJob

FRESH_SECONDS = 10  # for so long what was read of the DataAssets counts
LISTED = 5  # runs in a message
READ_SECONDS = 10  # between two looks at the runs that still read the version


@dataclass(frozen=True)
class ReclaimSnapshot:
    """The Job, the DataAssets and stores of its namespace, and the runs under way that read the version."""

    job: JobFacts
    namespace: str
    subject: Reclaim
    assets: tuple[DataAsset, ...]
    stores: Mapping[str, DataStore]
    readers: tuple[str, ...]
    pod: PodFacts | None
    learned: Learned
    now: datetime


def reconcile_reclaim(s: ReclaimSnapshot) -> Plan:
    """The next step: a DataAsset that is there needs none."""
    if any(each.metadata.uid == s.subject.uid for each in s.assets):
        return NOTHING
    done = Delete("Job", s.namespace, s.job.name, s.job.uid)
    if s.job.complete:
        report = s.pod.container("reclaim").report() if s.pod else {}
        what = f"{report['files']} objects, {report['bytes']} bytes" if "files" in report else "all of it"
        return Plan((_tell(s, Reason.DATA_DELETED, f"{_data(s)} is deleted: {what}", warning=False), done))
    if not s.job.parked:
        return _underway(s)
    if s.learned.assets is None or s.now.timestamp() - s.learned.assets > FRESH_SECONDS:
        return Plan((LookForAssets(s.namespace, s.job.uid),))
    if other := also_named_by(s.subject, s.assets, s.stores):
        kept = f"{_data(s)} is kept: DataAsset {other.metadata.name} names it too"
        return Plan((_tell(s, Reason.DATA_KEPT, kept, warning=False), done))
    if s.readers:
        waits = f"{_data(s)} is not deleted yet: {_listed(s.readers)} still read it"
        return Plan((_tell(s, Reason.DATA_IN_USE, waits, warning=False),), again=READ_SECONDS)
    return Plan((StartJob(s.namespace, s.job.name, s.job.uid, parked=True),))


def _underway(s: ReclaimSnapshot) -> Plan:
    """The Job goes on until it succeeds; what is in its way is told."""
    if s.pod is None:
        return NOTHING
    obstacle = obstacle_of(s.pod)
    container = s.pod.container("reclaim")
    report = container.report() or container.last_report()
    message = obstacle[1] if obstacle else report.get("message")
    if not message:
        return NOTHING
    return Plan((_tell(s, Reason.DATA_NOT_DELETED, f"{_data(s)} is not deleted yet: {message}", warning=True),))


def _listed(runs: tuple[str, ...]) -> str:
    """Names of runs; of many the first ones."""
    more = f" and {len(runs) - LISTED} more" if len(runs) > LISTED else ""
    return ", ".join(sorted(runs)[:LISTED]) + more


def _data(s: ReclaimSnapshot) -> str:
    return f"the data of {s.subject.asset}@{s.subject.version} at {s.subject.place.data_store}/paths/{s.subject.place.path}"


def _tell(s: ReclaimSnapshot, reason: Reason, message: str, *, warning: bool) -> Emit:
    return Emit("DataAsset", s.namespace, s.subject.name, s.subject.uid, warning, reason, message)
