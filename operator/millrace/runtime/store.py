"""What we have seen: trimmed objects by key, with indexes by owner. The only memory of the operator, and it can be lost.

kopf's own index is not used: its start is quadratic (5,000 objects took 133 s against 3 s), and after a 410 it keeps
objects that are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, TypeVar

from millrace.domain.labels import DEPLOYMENT, JOBRUN
from millrace.domain.names import label_value
from millrace.runtime.lines import Group, Lines, asks, deployment_of, is_due, place_of
from millrace.runtime.trim import Object, controller_uid, is_terminal, is_untold, trim

T = TypeVar("T")


class Key(NamedTuple):
    """Identity of an object by name."""

    kind: str
    namespace: str
    name: str


BURIED = 10_000  # UIDs of deleted objects that are kept; what comes late comes within minutes


def asset_of(obj: Object) -> str:
    """The asset that a DataAsset is a version of."""
    return str(obj["spec"].get("asset") or obj["metadata"]["name"])


def _is_closed(job: Object) -> bool:
    """Whether the Job controller has closed the Job: its pods are over."""
    conditions = job["status"].get("conditions") or []
    return any(found["type"] in {"Complete", "Failed"} and found["status"] == "True" for found in conditions)


def slot_of(kind: str, obj: Object) -> tuple[Group, str] | None:
    """The Deployment and the run that a JobRun, or a Job or pod of one, is of, if it is a Deployment's."""
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    if kind == "JobRun":
        group = deployment_of(obj)
        return (group, label_value(meta["name"])) if group else None
    if kind not in {"Job", "Pod"} or DEPLOYMENT not in labels:
        return None
    return (meta["namespace"], labels[DEPLOYMENT]), labels.get(JOBRUN, "")


def _groups_of(key: Key, obj: Object) -> Iterator[tuple[str, ...]]:
    """What an object is looked up by besides its key, owner and kind, where there may be thousands of its kind."""
    match key.kind:
        case "DataAsset":
            yield key.kind, key.namespace, asset_of(obj)
        case "JobRun":
            group = deployment_of(obj)
            if group and is_untold(obj):
                yield "Untold", *group
            if not is_terminal(obj):
                yield key.kind, key.namespace
                if group:
                    yield key.kind, *group
        case "Job" | "Pod" if slot := slot_of(key.kind, obj):
            over = _is_closed(obj) if key.kind == "Job" else obj["status"].get("phase") in {"Succeeded", "Failed"}
            if not over:
                yield "Slot", key.namespace, slot[1]


def _discard(index: dict[Any, set[Key]], group: Hashable, key: Key) -> None:
    index[group].discard(key)
    if not index[group]:
        del index[group]


class Store:
    """Objects by key; by UID of their owner; by kind and namespace; versions by asset; runs that are not over."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._owned: defaultdict[str, set[Key]] = defaultdict(set)
        self._uids: dict[str, Key] = {}
        self._spaces: defaultdict[tuple[str, str], set[Key]] = defaultdict(set)
        self._groups: defaultdict[tuple[str, ...], set[Key]] = defaultdict(set)
        self.lines = Lines()
        self._derived: defaultdict[str, dict[Any, Any]] = defaultdict(dict)  # by UID and what made it
        self._gone: dict[str, None] = {}  # UIDs of the last that were deleted, oldest first

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> Object | None:
        """The object under that key."""
        return self._objects.get(key)

    def by_uid(self, uid: str) -> Key | None:
        """The key of the object with that UID."""
        return self._uids.get(uid)

    def owned(self, uid: str, kind: str) -> Iterator[Object]:
        """Objects of that kind that the object with that UID controls."""
        return (self._objects[key] for key in self._owned.get(uid, ()) if key.kind == kind)

    def within(self, kind: str, namespace: str) -> Iterator[Object]:
        """All objects of a kind in a namespace."""
        return (self._objects[key] for key in self._spaces.get((kind, namespace), ()))

    def versions(self, namespace: str, asset: str) -> Iterator[Object]:
        """The DataAssets of an asset."""
        return (self._objects[key] for key in self._groups.get(("DataAsset", namespace, asset), ()))

    def unfinished(self, namespace: str) -> Iterator[Object]:
        """The JobRuns of a namespace that are not over."""
        return (self._objects[key] for key in self._groups.get(("JobRun", namespace), ()))

    def unfinished_of(self, group: Group) -> Iterator[Object]:
        """The JobRuns of a Deployment that are not over."""
        return (self._objects[key] for key in self._groups.get(("JobRun", *group), ()))

    def untold(self, group: Group) -> Iterator[Object]:
        """The JobRuns of a Deployment of which somebody is still to be notified."""
        return (self._objects[key] for key in self._groups.get(("Untold", *group), ()))

    def derived(self, obj: Object, make: Callable[[Object], T]) -> T:
        """What `make` makes of an object that is here; kept until that changes."""
        known = self._derived[obj["metadata"]["uid"]]
        if make not in known:
            known[make] = make(obj)
        found: T = known[make]
        return found

    def keys(self, kind: str) -> list[Key]:
        """All keys of a kind."""
        return [key for key in self._objects if key.kind == kind]

    def put(self, kind: str, obj: Object) -> Key | None:
        """Takes an object in; returns its key when that changed anything.

        A delayed watch may bring an older state than the answer to our own write did: it is left out. Resource versions
        are compared as numbers, which Kubernetes promises for built-in and custom resources alike since 1.35 and etcd
        has always given.
        """
        meta = obj["metadata"]
        if meta["uid"] in self._gone:
            return None
        key = Key(kind, meta["namespace"], meta["name"])
        before = self._objects.get(key)
        if before:
            known, version = before["metadata"], int(meta["resourceVersion"])
            if known["uid"] == meta["uid"] and int(known["resourceVersion"]) >= version:
                return None
            self._drop(key)  # with its place under an owner that it may have no more
        kept = trim(kind, obj)
        self._objects[key] = kept
        self._uids[meta["uid"]] = key
        self._spaces[kind, key.namespace].add(key)
        for group in _groups_of(key, kept):
            self._groups[group].add(key)
        if owner := controller_uid(kept):
            self._owned[owner].add(key)
        self._line_up(key, kept, there=True)
        return key

    def remove(self, kind: str, namespace: str, name: str, uid: str) -> Object | None:
        """Forgets an object, if it is still that one; returns what was known of it."""
        key = Key(kind, namespace, name)
        found = self._objects.get(key)
        if found is None or found["metadata"]["uid"] != uid:
            return None
        self._drop(key)
        return found

    def bury(self, uid: str) -> None:
        """The object with that UID was deleted: an old event, or the answer to a write, does not bring it back."""
        self._gone[uid] = None
        if len(self._gone) > BURIED:
            del self._gone[next(iter(self._gone))]

    def _drop(self, key: Key) -> None:
        found = self._objects.pop(key)
        self._uids.pop(found["metadata"]["uid"], None)
        self._derived.pop(found["metadata"]["uid"], None)
        self._spaces[key.kind, key.namespace].discard(key)
        for group in _groups_of(key, found):
            _discard(self._groups, group, key)
        if owner := controller_uid(found):
            _discard(self._owned, owner, key)
        self._line_up(key, found, there=False)

    def _line_up(self, key: Key, obj: Object, *, there: bool) -> None:
        """Tells the queues of what has come or gone."""
        slot = slot_of(key.kind, obj)
        if slot and key.kind == "JobRun":
            self.lines.names[slot[0]] = obj["spec"]["deploymentRef"]["name"]
            self.lines.set_moved(slot[0], obj["status"].get("times") or {})
            self.lines.set_place(*slot, place_of(obj) if there and asks(obj) else None, due=is_due(obj))
        if slot:
            self._count(*slot)

    def _count(self, group: Group, run: str) -> None:
        """A run holds a slot while a pod of it, or a Job that has no pod yet, is not over; one that is over has none."""
        found = self._objects.get(Key("JobRun", group[0], run))
        open_ = self._groups.get(("Slot", group[0], run), ())
        holds = not (found and is_terminal(found)) and any(
            key.kind == "Pod" or not any(self.owned(self._objects[key]["metadata"]["uid"], "Pod")) for key in open_
        )
        self.lines.set_holder(group, run, holds=holds)
