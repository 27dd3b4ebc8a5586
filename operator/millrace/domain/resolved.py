"""A run with all that it names: what its pod is built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.api.rundata import Input, Output
from millrace.protocol import parts_key


@dataclass(frozen=True)
class ResolvedInput:
    """An input, where it is (the path below the store's prefix), and whether it is staged; `asset` where one was named.

    Of one that stands in the run itself, or is at a web address, `store` is None.
    """

    input: Input
    store: DataStore | None
    path: str
    staged: bool
    asset: DataAsset | None = None

    @property
    def type(self) -> str:
        """uri_folder or uri_file."""
        of_asset = "uri_file" if self.asset and self.asset.spec.type == "uri_file" else "uri_folder"
        return self.input.type or of_asset

    @property
    def mounted(self) -> bool:
        """Whether main sees the claim itself; a folder of a local run is copied."""
        return self.input.stage == "Mount" and self.store is not None and self.store.spec.volume is not None

    @property
    def fetched(self) -> bool:
        """Whether stage asks a web address for it."""
        return self.staged and bool(self.input.uri or (self.store and self.store.spec.http))


@dataclass(frozen=True)
class ResolvedSource:
    """Where the archive of a zip source is: as for an input, `store` is None for one at a web address."""

    store: DataStore | None
    path: str
    asset: DataAsset | None = None


@dataclass(frozen=True)
class ResolvedOutput:
    """An output that is uploaded: its store and its key (below the store's prefix)."""

    output: Output
    store: DataStore
    key: str


@dataclass(frozen=True)
class Origin:
    """The Deployment that a run is of: name, UID, and the ConfigMap of its revision."""

    name: str
    uid: str
    revision: str


@dataclass(frozen=True)
class Mapped:
    """What a Deployment's mappings say of a run beyond what a JobRun's spec can.

    `from_environment`: the variables that bring the values of parameters; `void`: outputs that are not kept.
    """

    from_environment: Mapping[str, str] = field(default_factory=dict)
    void: tuple[str, ...] = ()


NOTHING_MAPPED = Mapped()


@dataclass(frozen=True)
class Resolved:
    """All that a pod is built from; the run's spec is the one with its profile."""

    run: JobRun
    function: Function
    revision: str
    image: str
    image_is_ours: bool
    python_version: str
    source: ResolvedSource | None  # None: the code stands in the Function
    inputs: tuple[ResolvedInput, ...]
    outputs: tuple[ResolvedOutput, ...]
    logs_store: DataStore | None
    cache_store: DataStore | None  # where the requirements are kept; the run does without where it is not ready
    origin: Origin | None = None
    kueue_queue: str | None = None  # the LocalQueue by which Kueue admits the Job
    mapped: Mapped = NOTHING_MAPPED
    sliced: ResolvedInput | None = None  # the folder that the shards share out
    earlier: str | None = None  # UID of the run of which some shards are done again

    @property
    def written(self) -> tuple[str, ...]:
        """Names of the outputs that user code has a folder for."""
        return (*(found.output.name for found in self.outputs), *self.mapped.void)

    @property
    def profile(self) -> dict[str, Any] | None:
        """What the status says of the run's profile."""
        spec = self.run.spec
        return {"name": spec.profile, "resources": spec.resources} if spec.profile else None

    @property
    def assets(self) -> dict[str, Any] | None:
        """The versions that the run reads, and the store of those that it makes."""
        read = [{"name": found.input.name, **_version(found.asset)} for found in self.inputs if found.asset]
        code = self.source.asset if self.source else None
        made = next((found.store.metadata.name for found in self.outputs if found.output.asset), None)
        about = {"inputs": read, "source": _version(code) if code else None, "store": made}
        return {key: value for key, value in about.items() if value} or None

    @property
    def places(self) -> dict[str, Any]:
        """Where the outputs go whose places the run says itself, by output; and the store of the logs."""
        parallel = self.run.spec.parallel is not None
        outputs = {
            found.output.name: {"name": found.store.metadata.name, "path": parts_key(found.key) if parallel else found.key}
            for found in self.outputs
            if found.output.data_store
        }
        logs = self.logs_store.metadata.name if self.logs_store else None
        return {key: value for key, value in {"outputs": outputs, "logs": logs}.items() if value}

    @property
    def fetches(self) -> bool:
        """Whether stage asks a web address for a file."""
        by_web = self.source is not None and (self.source.store is None or self.source.store.spec.http is not None)
        return by_web or any(found.fetched for found in self.inputs)

    @property
    def needs_authorities(self) -> bool:
        """Whether stage asks somebody whose certificate the installation's authorities may have signed."""
        return bool(self.function.spec.requirements) or self.fetches

    @property
    def written_stores(self) -> tuple[DataStore, ...]:
        """Stores of the outputs and of the logs."""
        return (*(output.store for output in self.outputs), *([self.logs_store] if self.logs_store else []))

    @property
    def plan_store(self) -> DataStore | None:
        """Where the plan of the shards is kept; None where none is needed: nothing is sliced, or taken over."""
        own = self.sliced.store if self.sliced else None
        return next(iter(self.written_stores), own) if self.sliced or self.earlier else None

    @property
    def data_stores(self) -> tuple[DataStore, ...]:
        """Stores that the run's data needs, each once, the first output's first: it holds the commit record."""
        used = [output.store for output in self.outputs]
        used += [found.store for found in self.inputs if found.staged and found.store]
        used += [self.logs_store] if self.logs_store else []
        return tuple({store.metadata.name: store for store in used}.values())

    @property
    def needed_stores(self) -> tuple[DataStore, ...]:
        """Stores without which the pod does not start: those of the data, then the one of the code, if it is another."""
        return _with(self.data_stores, self.source.store if self.source else None)

    @property
    def stores(self) -> tuple[DataStore, ...]:
        """Stores of the pod: those that it needs, then the one that only stage's cache needs, if it is another."""
        return _with(self.needed_stores, self.cache_store)


def _with(stores: tuple[DataStore, ...], another: DataStore | None) -> tuple[DataStore, ...]:
    known = another is None or any(another.metadata.name == store.metadata.name for store in stores)
    return stores if known or another is None else (*stores, another)


def _version(asset: DataAsset) -> dict[str, Any]:
    """What the status says of a version that is read."""
    return {"asset": asset.asset, "version": asset.version, "assetUid": asset.metadata.uid}
