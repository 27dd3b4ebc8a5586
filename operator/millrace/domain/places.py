"""Where the files of a run are, those of its inputs and its code: a place in a store, or none of a store's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.jobrun import JobRun
from millrace.api.rundata import Input
from millrace.domain.assets import find_version
from millrace.domain.inline import no_table
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.references import AddressReference, ReferenceRejected, StoreReference, parse
from millrace.domain.web import check_uri

SOURCE = "spec.source.zip.uri"


class Place(NamedTuple):
    """A path below a store's prefix; `store` is None for what stands in the manifest, or is at a web address."""

    store: str | None
    path: str
    asset: DataAsset | None = None


_NO_STORE = Place(None, "")


def places_of_inputs(run: JobRun, assets: Sequence[DataAsset], default: DataStore | None) -> list[Place] | Obstacle:
    """Where the inputs are; the first obstacle found."""
    places = []
    for found in run.spec.inputs:
        place = _of_input(found, run, assets, default)
        if isinstance(place, Obstacle):
            return place
        places.append(place)
    return places


def _of_input(found: Input, run: JobRun, assets: Sequence[DataAsset], default: DataStore | None) -> Place | Obstacle:
    if found.inline:
        why = no_table(found.inline)
        return Obstacle(Reason.INLINE_REJECTED, f"input {found.name}: inline.{why}", heals=False) if why else _NO_STORE
    if found.uri:
        return check_uri(f"input {found.name}", found.uri) or _NO_STORE
    if found.data_store:
        return Place(found.data_store.name, found.data_store.path)
    pinned = next((entry.version for entry in run.status.inputs if entry.name == found.name), None)
    version = find_version(str(found.asset), f"input {found.name}", run.metadata.namespace, assets, pinned=pinned)
    return version if isinstance(version, Obstacle) else _of_asset(version, default)


def check_source(function: Function) -> Obstacle | None:
    """What is wrong with the reference of a zip source, whatever there is in the namespace."""
    if function.spec.source.zip is None:
        return None
    if obstacle := check_uri(SOURCE, function.spec.source.zip.uri):
        return obstacle._replace(heals=True)  # by an edit of the Function
    return None


def place_of_source(
    function: Function, run: JobRun, stores: Mapping[str, DataStore], assets: Sequence[DataAsset], default: DataStore | None
) -> Place | Obstacle | None:
    """Where the archive of a zip source is; None for another source. The latest version is that when a run is admitted."""
    if function.spec.source.zip is None:
        return None
    uri, what = function.spec.source.zip.uri, f"Function {function.metadata.name}: {SOURCE}"
    if uri.startswith("https://"):
        return _NO_STORE
    try:
        named = parse(uri)
    except ReferenceRejected as error:
        return Obstacle(Reason.REFERENCE_REJECTED, f"{what}: {error}")
    if isinstance(named, StoreReference):
        return Place(named.store, named.path)
    if isinstance(named, AddressReference):
        return _of_address(named, stores, default) or Obstacle(
            Reason.DATA_STORE_NOT_FOUND, f"{what}: {uri}: no DataStore of this namespace names that bucket and path"
        )
    pinned = run.status.source.version if run.status.source else None
    version = find_version(uri, what, run.metadata.namespace, assets, pinned=pinned)
    return version if isinstance(version, Obstacle) else _of_asset(version, default)


def _of_asset(version: DataAsset, default: DataStore | None) -> Place | Obstacle:
    store = version.spec.data_store or (default.metadata.name if default else None)
    if store is None:
        name = version.metadata.name
        return Obstacle(Reason.DEFAULT_STORE_NOT_FOUND, f"DataAsset {name} is in the default store, and there is none")
    return Place(store, version.spec.path, version)


def _of_address(address: AddressReference, stores: Mapping[str, DataStore], default: DataStore | None) -> Place | None:
    """The place in a store of that bucket: of several the default one, then the one whose prefix says most."""
    found = []
    for name, store in stores.items():
        fields = store.spec.place.dump() if store.spec.kind == address.service and store.spec.place else {}
        same = address.container in (fields.get("bucket"), fields.get("container"))
        if not same or address.account not in (None, fields.get("account")):
            continue
        above = f"{fields['prefix']}/" if fields.get("prefix") else ""
        if address.path.startswith(above) and address.path != above:
            found.append((store is not default, -len(above), name, address.path.removeprefix(above)))
    return Place(*min(found)[2:]) if found else None
