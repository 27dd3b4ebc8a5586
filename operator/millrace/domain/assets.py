"""Versions of data assets: which object is which version, which one is the latest, and which comes next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from millrace.api.dataasset import DataAsset
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.domain.conditions import find
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.references import LATEST, AssetReference, ReferenceRejected, parse_asset


def _number(asset: DataAsset) -> int:
    version = asset.version or ""
    return int(version) if version.isdecimal() else 0


def _age(asset: DataAsset) -> tuple[str, int, str]:
    return asset.metadata.creation_timestamp, _number(asset), asset.metadata.name


def versions(assets: Iterable[DataAsset], asset: str) -> dict[str, DataAsset]:
    """The objects of an asset by their version, oldest first; of two for one version the oldest one counts."""
    found: dict[str, DataAsset] = {}
    for each in sorted((each for each in assets if each.asset == asset), key=_age):
        if each.version:
            found.setdefault(each.version, each)
    return found


def next_version(assets: Iterable[DataAsset], asset: str) -> str:
    """The whole number after the highest version that is one."""
    return str(max((_number(each) for each in assets if each.asset == asset), default=0) + 1)


def waits_for(asset: DataAsset, assets: Iterable[DataAsset]) -> DataAsset | None:
    """The older object of the asset that has no version yet, if there is one: automatic versions follow creation order."""
    older = (each for each in assets if each.asset == asset.asset and not each.version and _age(each) < _age(asset))
    return next((each for each in older if not each.metadata.deletion_timestamp), None)


def is_ready(asset: DataAsset) -> bool:
    """Whether a run can name it."""
    ready = find(asset.status.conditions, "Ready")
    return ready is not None and ready.status == "True"


def newest(assets: Iterable[DataAsset]) -> DataAsset | None:
    """The newest one that is Ready."""
    return max(filter(is_ready, assets), key=_age, default=None)


def reference(text: str, what: str, namespace: str) -> AssetReference | Obstacle:
    """The version of an asset of that namespace that is named by `what`, such as `input data`."""
    try:
        named = parse_asset(text)
    except ReferenceRejected as error:
        return Obstacle(Reason.REFERENCE_REJECTED, f"{what}: {error}", heals=False)
    if not isinstance(named, AssetReference):
        message = f"{what}: {text} is no asset; a place in a store goes under dataStore"
        return Obstacle(Reason.REFERENCE_REJECTED, message, heals=False)
    if named.namespace not in {None, namespace}:
        message = f"{what}: {text} is of another namespace; a run reads assets of its own one"
        return Obstacle(Reason.REFERENCE_FORBIDDEN, message, heals=False)
    return named


def named_assets(run: JobRun, function: Function | None) -> set[str]:
    """Names of the assets that the run reads, its code among them, or makes."""
    texts = [entry.asset for entry in run.spec.inputs if entry.asset]
    texts += [function.spec.source.zip.uri] if function and function.spec.source.zip else []
    inputs = [reference(text, "", run.metadata.namespace) for text in texts]
    read = {named.asset for named in inputs if isinstance(named, AssetReference)}
    return read | {entry.asset for entry in run.spec.outputs if entry.asset}


def find_version(
    text: str, what: str, namespace: str, assets: Sequence[DataAsset], *, pinned: str | None
) -> DataAsset | Obstacle:
    """The version that is named by `what`; `latest` is the newest one that is Ready, or the one that was recorded before."""
    named = reference(text, what, namespace)
    if isinstance(named, Obstacle):
        return named
    known = versions(assets, named.asset)
    ready = {version: each for version, each in known.items() if is_ready(each)}
    wanted = pinned or named.version
    if wanted == LATEST and (latest := newest(known.values())):
        return latest
    if wanted in ready:
        return ready[wanted]
    if wanted in known:
        condition = find(known[wanted].status.conditions, "Ready")
        why = f"{condition.reason}: {condition.message}" if condition else "it is being looked at"
        return Obstacle(Reason.ASSET_NOT_FOUND, f"{what}: {text} is not ready: {why}")
    there = ", ".join(ready) or "none"
    return Obstacle(Reason.ASSET_NOT_FOUND, f"{what}: there is no {text} in this namespace; versions: {there}")
