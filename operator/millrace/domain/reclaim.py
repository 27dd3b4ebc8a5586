"""Whose data is deleted with a DataAsset, and whether another one names it too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from millrace.api.base import Model
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.domain.resolve import default_store

SAME_PLACE = ("region", "pathStyle", "readOnly")  # fields that say how a store is reached, not where it is


class Place(Model):
    """A place of data: the DataStore and the path in it, and what both lead to."""

    data_store: str
    path: str
    service: str | None = None  # None: the DataStore is not there
    key: str = ""

    def overlaps(self, other: Place) -> bool:
        """Whether one of them is the other or lies in it."""
        if self.data_store == other.data_store and _nested(self.path, other.path):
            return True
        return self.service is not None and self.service == other.service and _nested(self.key, other.key)


class Reclaim(Model):
    """The annotation of a Job that deletes data once its DataAsset is gone. `made`: digest of what the Job was made of."""

    uid: str
    name: str
    asset: str
    version: str
    place: Place
    made: str


def _nested(one: str, other: str) -> bool:
    return all(a == b for a, b in zip(_parts(one), _parts(other), strict=False))


def _parts(path: str) -> list[str]:
    return [part for part in path.split("/") if part]


def place(path: str, name: str, store: DataStore | None) -> Place:
    """The place of a path in the DataStore of that name."""
    if store is None or store.spec.place is None:
        return Place(data_store=name, path=path)
    kind, fields = store.spec.kind, store.spec.place.dump()
    prefix = str(fields.pop("prefix", None) or fields.pop("subPath", None) or "")
    where = {key: str(value).rstrip("/") for key, value in fields.items() if key not in SAME_PLACE}
    return Place(data_store=name, path=path, service=json.dumps([kind, where], sort_keys=True), key="/".join((prefix, path)))


def also_named_by(subject: Reclaim, assets: Iterable[DataAsset], stores: Mapping[str, DataStore]) -> DataAsset | None:
    """Another DataAsset whose data is the same, lies in it, or holds it."""
    default = default_store(stores)
    for each in assets:
        name = each.spec.data_store or (default.metadata.name if default else "")
        if each.metadata.uid != subject.uid and subject.place.overlaps(place(each.spec.path, name, stores.get(name))):
            return each
    return None
