"""What the reconciliation of a run looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.domain.obstacle import Obstacle
from millrace.domain.queue import Line
from millrace.domain.resolved import Mapped, Origin
from millrace.domain.settings import Settings
from millrace.domain.template import deployment_revision
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import Learned


@dataclass(frozen=True)
class RunSnapshot:
    """A run and all that its reconciliation looks at. Jobs and pods are its own, by owner UID."""

    run: JobRun  # of a Deployment: with the template's defaults and what is mapped
    function: Function | None
    deployment: Deployment | None  # the one that the run names
    line: Line | None  # its queue; None: the run takes no slot
    unmade: Obstacle | None  # why the template, the mappings and the run give no spec
    mapped: Mapped  # what the mappings say beyond the spec
    stores: Mapping[str, DataStore]
    assets: tuple[DataAsset, ...]  # of the assets that the run names
    asset_objects: frozenset[str]  # names of all DataAssets of the namespace, where the run names one
    jobs: tuple[JobFacts, ...]  # those of its attempts
    steps: tuple[JobFacts, ...]  # what a parallel run does before and after its shards
    shard_pods: tuple[PodFacts, ...]  # of the newest attempt at them
    pods: Mapping[str, PodFacts]  # by UID of the Job
    earlier: tuple[str, bool] | None  # UID of the run that parallel.of names, and whether it is over
    orphans: tuple[PodFacts, ...]  # pods of the run whose Job is gone; looked for only where the run's Job is not there
    config_maps: frozenset[str]  # those of ours in the namespace
    bundle: str | None  # digest of the authorities that the namespace has
    ca_bundle: str | None  # the installation's
    learned: Learned
    settings: Settings
    now: datetime

    @property
    def left_alone(self) -> bool:
        """Whether the run has had a Deployment, and it is gone."""
        return self.run.spec.deployment_ref is not None and self.deployment is None and bool(self.run.status.deployment_id)

    @cached_property
    def origin(self) -> Origin | None:
        """The Deployment, in the state that the run is made of."""
        if self.deployment is None:
            return None
        meta = self.deployment.metadata
        current = deployment_revision(meta.name, self.deployment.spec)
        return Origin(meta.name, meta.uid, self.run.status.deployment_revision or current)
