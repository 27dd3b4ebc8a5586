"""`millrace asset`: versions of data assets, listed, shown, made and fetched with the user's own rights."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.cli.cluster import Cluster
from millrace.cli.documents import Object, in_namespace, name_of, write_documents
from millrace.cli.download import MANIFEST, check_folder, matches, workshop_in
from millrace.cli.errors import FAILED, OK, Refused
from millrace.cli.explain import explain
from millrace.cli.fetch import Source, fetch
from millrace.cli.names import similar
from millrace.cli.progress import Line, files, size
from millrace.cli.ready import until_ready
from millrace.cli.screen import Screen
from millrace.cli.stores import read_stores
from millrace.cli.table import table
from millrace.domain.assets import is_ready, newest, versions
from millrace.domain.clock import human, parse
from millrace.domain.conditions import find as find_condition
from millrace.domain.labels import SHA256
from millrace.domain.references import LATEST, AssetReference, ReferenceRejected, parse_asset
from millrace.domain.resolve import default_store
from millrace.kube.api import ApiError
from millrace.kube.resources import DATAASSET

POLL_SECONDS = 0.2
NOBODY_SECONDS = 30.0  # an operator that works takes a DataAsset in less than one


async def read_objects(cluster: Cluster) -> list[Object]:
    """The namespace's DataAssets."""
    try:
        return [item async for page in cluster.pages(DATAASSET, cluster.namespace) for item in page]
    except ApiError as error:
        raise explain(error, "list the DataAssets") from None


async def read_assets(cluster: Cluster) -> list[DataAsset]:
    """The same, as models."""
    return [DataAsset.model_validate(item) for item in await read_objects(cluster)]


def find(assets: Sequence[DataAsset], text: str, namespace: str) -> DataAsset:
    """The version that NAME or NAME@VERSION names; of a name alone the newest that is Ready. Refused where there is none."""
    try:
        named = parse_asset(text)
    except ReferenceRejected as error:
        raise Refused(str(error)) from None
    if not isinstance(named, AssetReference) or named.namespace not in {None, namespace}:
        raise Refused(f"{text}: NAME or NAME@VERSION of an asset of namespace {namespace} is expected")
    known = versions(assets, named.asset)
    found = newest(known.values()) if named.version == LATEST else known.get(named.version)
    if found is not None:
        return found
    if known:
        ready = ", ".join(version for version, each in known.items() if is_ready(each))
        what = "no version that is Ready" if named.version == LATEST else f"no version {named.version}"
        raise Refused(f"asset {named.asset} has {what}; versions that are: {ready or 'none'}")
    meant = similar(named.asset, {each.asset for each in assets})
    hint = f"did you mean {meant}?" if meant else f"millrace asset list -n {namespace}"
    raise Refused(f"there is no asset {named.asset} in namespace {namespace}", hint)


def write(found: Any, output_format: str) -> None:
    """JSON or YAML on stdout."""
    as_yaml = output_format == "yaml"
    text = write_documents([found]).removeprefix("---\n") if as_yaml else json.dumps(found, indent=2, ensure_ascii=False)
    typer.echo(text.rstrip("\n"))


async def list_all(cluster: Cluster, output_format: str | None) -> int:
    """All versions, asset by asset, oldest first."""
    objects = await read_objects(cluster)
    if output_format:
        write({"apiVersion": "v1", "kind": "List", "items": objects}, output_format)
        return OK
    assets = [DataAsset.model_validate(item) for item in objects]
    header = ("ASSET", "VERSION", "TYPE", "READY", "SIZE", "PLACE", "RUN", "AGE")
    rows = [row(each, datetime.now(UTC)) for each in sorted(assets, key=_order)]
    typer.echo(table(header, rows) if rows else f"no assets in namespace {cluster.namespace}", err=not rows)
    return OK


def _order(asset: DataAsset) -> tuple[str, str, int, str]:
    version = asset.version or ""
    return asset.asset, asset.metadata.creation_timestamp, int(version) if version.isdecimal() else 0, version


def row(asset: DataAsset, now: datetime) -> tuple[str | None, ...]:
    """A version in the list: pure."""
    maker, about = asset.status.produced_by, find_condition(asset.status.conditions, "Ready")
    return (
        asset.asset,
        asset.version,
        _type(asset),
        (about.status if about.status == "True" else about.reason) if about else None,
        size(asset.status.bytes),
        _place(asset),
        maker.job_run if maker else None,
        human(now - parse(asset.metadata.creation_timestamp)),
    )


def _type(asset: DataAsset) -> str:
    return asset.spec.type or "uri_folder"


def _place(asset: DataAsset) -> str:
    return f"{asset.spec.data_store}/paths/{asset.spec.path}" if asset.spec.data_store else asset.spec.path


async def show(cluster: Cluster, text: str, output_format: str | None) -> int:
    """One version."""
    objects = await read_objects(cluster)
    asset = find([DataAsset.model_validate(item) for item in objects], text, cluster.namespace)
    if output_format:
        write(next(item for item in objects if item["metadata"]["uid"] == asset.metadata.uid), output_format)
    else:
        typer.echo("\n".join(f"{title:<12} {value}" for title, value in details(asset)))
    return OK


def details(asset: DataAsset) -> list[tuple[str, str]]:
    """What a person wants to know of a version: pure."""
    status, maker = asset.status, asset.status.produced_by
    ready = find_condition(status.conditions, "Ready")
    found: list[tuple[str, object]] = [
        ("asset", f"{asset.asset}@{asset.version}"),
        ("object", asset.metadata.name),
        ("type", _type(asset)),
        ("ready", ready and ": ".join(filter(None, (ready.status, ready.reason, ready.message)))),
        ("description", asset.spec.description),
        ("store", asset.spec.data_store or "the default store"),
        ("path", asset.spec.path),
        ("size", status.bytes is not None and f"{size(status.bytes)}, {files(status.files)}"),
        ("sha256", asset.metadata.annotations.get(SHA256) or status.sha256),
        ("digest", status.content_digest),
        ("table", status.rows is not None and f"{status.rows} rows, {len(status.columns)} columns"),
        ("made by", maker and f"run {maker.job_run}, Function {maker.function}, revision {maker.function_revision or '-'}"),
        ("created", asset.metadata.creation_timestamp),
    ]
    lines = [(title, str(value)) for title, value in found if value]
    return lines + [("column", f"{column.name}  {column.type}") for column in status.columns]


async def create(cluster: Cluster, manifests: list[Object], namespace: str | None) -> int:
    """Makes them; the first that does not get Ready is the exit code."""
    for manifest in manifests:
        if manifest["kind"] != "DataAsset" or manifest["apiVersion"] != DATAASSET.api_version:
            raise Refused(f"{name_of(manifest)}: only DataAssets are made here", "kubectl apply -f applies the rest")
    placed = [in_namespace(manifest, cluster.namespace, namespace) for manifest in manifests]
    for dry_run in (True, False):
        for manifest in placed:
            try:
                await cluster.post(DATAASSET, manifest, dry_run=dry_run)
            except ApiError as error:
                raise explain(error, f"create {name_of(manifest)}") from None
    for manifest in placed:
        asset = await ready(cluster, manifest)
        typer.echo(f"{asset.asset}@{asset.version}")
    return OK


async def ready(cluster: Cluster, manifest: Object) -> DataAsset:
    """The DataAsset once it is Ready. Refused (exit code 1) with its reason where it is not."""
    meta, what = manifest["metadata"], name_of(manifest)
    found, about = await until_ready(cluster, DATAASSET, meta["namespace"], meta["name"], seconds=NOBODY_SECONDS)
    if about is None:
        raise Refused(
            f"{what} is made, but nobody has looked at it for {NOBODY_SECONDS:g} s",
            "is millrace's operator running? kubectl get pods -A -l app.kubernetes.io/component=operator",
            code=FAILED,
        )
    if about.status != "True":
        raise Refused(f"{what} is made, but not ready: {about.reason}: {about.message}", code=FAILED)
    return DataAsset.model_validate(found)


async def download(cluster: Cluster, screen: Screen, text: str, to: Path | None) -> int:
    """Fetches a version's data into a folder."""
    asset = find(await read_assets(cluster), text, cluster.namespace)
    store = _store_of(asset, await read_stores(cluster))
    name, began = f"{asset.asset}@{asset.version}", time.monotonic()
    target = to or Path(f"{asset.asset}-{asset.version}")
    key = asset.spec.path.rstrip("/")
    kind = "uri_file" if asset.spec.type == "uri_file" else "uri_folder"
    final = target / Path(key).name if kind == "uri_file" else target
    if final.exists() and (kind == "uri_file" or not final.is_dir() or any(final.iterdir())):
        raise Refused(f"{final} is there already", "remove it, or choose another folder with --to")
    with workshop_in(target if kind == "uri_file" else target.absolute().parent) as workshop:
        staged = await fetch(cluster, screen, Source(name, store, key, kind, asset.status.bytes), workshop / "data")
        checked = _check(asset, workshop / "data", staged.sha256)
        ready_one = workshop / "data" / final.name if kind == "uri_file" else workshop / "data"
        if final.is_dir():
            final.rmdir()
        ready_one.replace(final)
    seconds = time.monotonic() - began
    screen.say(Line(f"{final}: {size(staged.bytes)}, {files(staged.files)}, {seconds:.1f} s, {checked}", "good"))
    return OK


def _check(asset: DataAsset, data: Path, sha256: str) -> str:
    """Compares what was fetched with what is known of the version; a run's folder has a manifest."""
    uploaded, name = asset.metadata.annotations.get(SHA256), f"asset {asset.asset}@{asset.version}"
    expected = uploaded or asset.status.sha256
    if expected is None:
        return "no checksum to compare with"
    if uploaded or asset.spec.type == "uri_file":
        same = sha256 == expected
    else:
        same = matches(data / MANIFEST, expected) and check_folder(name, data) >= 0
    if not same:
        raise Refused(f"{name} is not what was published: its checksum differs", "something has written to its place")
    return "checksum is right"


def _store_of(asset: DataAsset, stores: dict[str, DataStore]) -> DataStore:
    found = stores.get(asset.spec.data_store) if asset.spec.data_store else default_store(stores)
    if found is None:
        missing = f"DataStore {asset.spec.data_store}" if asset.spec.data_store else "a default store"
        raise Refused(f"{asset.asset}@{asset.version} is in {missing}, which this namespace does not have")
    return found
