"""What a version of an asset was made of, and what was made of it: from what DataAssets keep, and the runs that are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.api.dataasset import DataAsset, Source
from millrace.api.jobrun import JobRun
from millrace.domain.assets import versions


@dataclass(frozen=True)
class Version:
    """A version of an asset. `maker` is the UID of its run; `there`: its DataAsset was not deleted."""

    asset: str
    version: str
    sha256: str | None = None
    maker: str | None = None
    there: bool = True

    def __str__(self) -> str:
        return f"{self.asset}@{self.version}"


@dataclass(frozen=True)
class Read:
    """An input of a run: a version by its key, or a place."""

    name: str
    version: str | None
    reference: str | None
    sha256: str | None


@dataclass
class Run:
    """A run, what it has read, and the keys of what it has made. `there`: its JobRun was not deleted."""

    name: str
    function: str
    revision: str | None
    there: bool
    reads: tuple[Read, ...] = ()
    made: list[str] = field(default_factory=list)


@dataclass
class Lineage:
    """Versions by key (the DataAsset's UID, or NAME@VERSION where that is not known), runs by UID."""

    versions: dict[str, Version] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    def readers(self, key: str) -> list[str]:
        """The runs that have read a version."""
        return [uid for uid, run in self.runs.items() if any(read.version == key for read in run.reads)]

    def around(self, key: str) -> Lineage:
        """Only what that version comes from, and what came of it."""
        found = Lineage()
        for ahead in (False, True):
            waiting, seen = [key], set[str]()
            while waiting:
                each = waiting.pop()
                if each in seen:
                    continue
                seen.add(each)
                found.versions[each] = self.versions[each]
                maker = self.versions[each].maker
                for uid in self.readers(each) if ahead else [maker] if maker else []:
                    run = found.runs[uid] = self.runs[uid]
                    waiting += run.made if ahead else [read.version for read in run.reads if read.version]
        for run in found.runs.values():  # what else such a run has read or made is named, not followed
            for each in (*run.made, *(read.version for read in run.reads if read.version)):
                found.versions.setdefault(each, self.versions[each])
        return found

    def dump(self, key: str) -> dict[str, Any]:
        """JSON types."""
        return {
            "version": str(self.versions[key]),
            "versions": [
                {
                    "asset": found.asset,
                    "version": found.version,
                    "sha256": found.sha256,
                    "producedBy": found.maker,
                    "deleted": not found.there,
                }
                for found in self.versions.values()
            ],
            "runs": [
                {
                    "name": run.name,
                    "uid": uid,
                    "function": run.function,
                    "functionRevision": run.revision,
                    "deleted": not run.there,
                    "inputs": [
                        {
                            "name": read.name,
                            "version": str(self.versions[read.version]) if read.version else None,
                            "reference": read.reference,
                            "sha256": read.sha256,
                        }
                        for read in run.reads
                    ],
                    "outputs": [str(self.versions[each]) for each in run.made],
                }
                for uid, run in self.runs.items()
            ],
        }


def lineage(assets: Iterable[DataAsset], runs: Iterable[JobRun]) -> Lineage:
    """All of a namespace. What a DataAsset keeps of its run counts; a run that is there adds what it has read."""
    objects = list(assets)
    found = Lineage()
    current = {
        (name, version): each.metadata.uid
        for name in {each.asset for each in objects}
        for version, each in versions(objects, name).items()
    }
    for uid in current.values():
        each = next(each for each in objects if each.metadata.uid == uid)
        maker = each.status.produced_by
        found.versions[uid] = Version(each.asset, str(each.version), each.status.sha256, maker.uid if maker else None)
    for each in objects:
        maker = each.status.produced_by
        if maker and each.metadata.uid in found.versions:
            run = found.runs.setdefault(maker.uid, Run(maker.job_run, maker.function, maker.function_revision, there=False))
            run.reads = _reads(found, current, maker.inputs)
            run.made.append(each.metadata.uid)
    for left in runs:
        _add(found, current, left)
    return found


def _add(found: Lineage, current: Mapping[tuple[str, str], str], left: JobRun) -> None:
    """A run that was not deleted: it may have read versions and made none."""
    if run := found.runs.get(left.metadata.uid):
        run.there = True
    elif any(entry.asset for entry in left.status.inputs):
        sources = [Source.model_validate(entry.dump()) for entry in left.status.inputs]
        name, revision = left.spec.function, left.status.function_revision
        reads = _reads(found, current, sources)
        found.runs[left.metadata.uid] = Run(left.metadata.name, name, revision, there=True, reads=reads)


def _reads(found: Lineage, current: Mapping[tuple[str, str], str], sources: Iterable[Source]) -> tuple[Read, ...]:
    reads = []
    for each in sources:
        key = None
        if each.asset and each.version:
            key = each.asset_uid or current.get((each.asset, each.version)) or f"{each.asset}@{each.version}"
            found.versions.setdefault(key, Version(each.asset, each.version, each.sha256, there=False))
        reads.append(Read(each.name, key, each.reference, each.sha256))
    return tuple(reads)
