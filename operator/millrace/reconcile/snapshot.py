"""What the reconciliation of a run looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.domain.settings import Settings
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import Learned


@dataclass(frozen=True)
class RunSnapshot:
    """A run and all that its reconciliation looks at. Jobs and pods are its own, by owner UID."""

    run: JobRun
    function: Function | None
    stores: Mapping[str, DataStore]
    assets: tuple[DataAsset, ...]  # of the assets that the run names
    asset_objects: frozenset[str]  # names of all DataAssets of the namespace, where the run names one
    jobs: tuple[JobFacts, ...]
    pods: Mapping[str, PodFacts]  # by UID of the Job
    orphans: tuple[PodFacts, ...]  # pods of the run whose Job is gone; looked for only where the run's Job is not there
    config_maps: frozenset[str]  # those of ours in the namespace
    bundle: str | None  # digest of the authorities that the namespace has
    ca_bundle: str | None  # the installation's
    learned: Learned
    settings: Settings
    now: datetime
