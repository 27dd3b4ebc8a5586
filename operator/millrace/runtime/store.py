"""What we have seen: trimmed objects by key, with indexes by owner. The only memory of the operator, and it can be lost.

kopf's own index is not used: its start is quadratic (5,000 objects took 133 s against 3 s), and after a 410 it keeps
objects that are gone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple, TypeVar

from millrace.api.base import GROUP
from millrace.domain.labels import COMPONENT, DEPLOYMENT, JOBRUN
from millrace.domain.names import label_value
from millrace.runtime.lines import Group, Lines, asks, deployment_of, is_due, place_of

Object = dict[str, Any]
T = TypeVar("T")


class Key(NamedTuple):
    """Identity of an object by name."""

    kind: str
    namespace: str
    name: str


METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
CONTAINER_STATUS = ("name", "state", "lastState", "restartCount")
BURIED = 10_000  # UIDs of deleted objects that are kept; what comes late comes within minutes


def _pick(found: Object, keys: tuple[str, ...]) -> Object:
    return {key: found[key] for key in keys if key in found}


def _metadata(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = _pick(meta, (*METADATA, "labels", "ownerReferences", "deletionGracePeriodSeconds"))
    if annotations := meta.get("annotations"):
        # All but what kubectl keeps of the whole object.
        kept["annotations"] = {k: v for k, v in annotations.items() if not k.startswith("kubectl.kubernetes.io/")}
    return kept


def _trim_pod(obj: Object) -> Object:
    status = obj.get("status") or {}
    kept = _pick(status, ("phase", "reason", "message", "conditions"))
    for group in ("initContainerStatuses", "containerStatuses"):
        kept[group] = [_pick(found, CONTAINER_STATUS) for found in status.get(group) or []]
    meta = _metadata(obj)
    meta.pop("annotations", None)
    return {"metadata": meta, "spec": {"nodeName": (obj.get("spec") or {}).get("nodeName")}, "status": kept}


def _our_annotations(meta: Object) -> Object:
    return {k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}


def _trim_job(obj: Object) -> Object:
    meta = _metadata(obj)
    meta["annotations"] = _our_annotations(meta)
    return {"metadata": meta, "spec": _pick(obj.get("spec") or {}, ("suspend",)), "status": obj.get("status") or {}}


def is_terminal(run: Object) -> bool:
    """Whether the run's phase is final."""
    return run["status"].get("phase") in {"Succeeded", "Failed", "Cancelled"}


def _trim_finished(run: Object) -> Object:
    """Nothing of it is decided any more but when its Jobs go and, where its Deployment made it, itself and what it left."""
    status = _pick(run["status"], ("observedGeneration", "phase", "times"))
    if controller_uid(run):
        status |= _pick(run["status"], ("logs", "logsStore", "deleted"))
        placed = (output for output in run["status"].get("outputs", []) if "dataStore" in output)
        status["outputs"] = [_pick(output, ("name", "uri", "dataStore")) for output in placed]
    return {
        "metadata": _pick(run["metadata"], (*METADATA, "ownerReferences")),
        "spec": _pick(run["spec"], ("functionRef", "deploymentRef")),
        "status": status,
    }


def trim(kind: str, obj: Object) -> Object:
    """The part of an object that decisions look at."""
    match kind:
        case "Pod":
            return _trim_pod(obj)
        case "Job":
            return _trim_job(obj)
        case "CronJob":
            meta = _pick(obj["metadata"], (*METADATA, "labels", "ownerReferences"))
            return {"metadata": meta, "spec": obj["spec"], "status": {}}
        case "ConfigMap":
            meta = _pick(obj["metadata"], (*METADATA, "labels", "ownerReferences"))
            meta["annotations"] = _our_annotations(obj["metadata"])
            of_revision = (meta.get("labels") or {}).get(COMPONENT) == "revision"
            return {"metadata": meta, **(_pick(obj, ("data",)) if of_revision else {})}
        case _:
            kept = {"metadata": _metadata(obj), "spec": obj.get("spec") or {}, "status": obj.get("status") or {}}
            return _trim_finished(kept) if kind == "JobRun" and is_terminal(kept) else kept


def controller_uid(obj: Object) -> str | None:
    """UID of the owner that controls the object."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)


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
        case "JobRun" if not is_terminal(obj):
            yield key.kind, key.namespace
            if group := deployment_of(obj):
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
        self._derived: dict[str, Any] = {}  # by UID
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

    def derived(self, obj: Object, make: Callable[[Object], T]) -> T:
        """What `make`, always the same of a kind, makes of an object that is here; kept until that changes."""
        uid = obj["metadata"]["uid"]
        if uid not in self._derived:
            self._derived[uid] = make(obj)
        found: T = self._derived[uid]
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
