"""Which objects are looked at when one has changed."""

from __future__ import annotations

import contextlib

from pydantic import ValidationError

from millrace.api.deployment import CONCURRENCY
from millrace.domain.labels import RECLAIMS
from millrace.domain.names import label_value, reclaim_name
from millrace.domain.reclaim import Reclaim
from millrace.runtime.lines import Group, place_of
from millrace.runtime.queue import KeyedQueue
from millrace.runtime.store import Key, Store, asset_of, slot_of
from millrace.runtime.trim import Object, controller_uid, is_terminal

OWN_KINDS = {"Function", "DataStore", "DataAsset", "Deployment", "JobRun"}
SHARED_KINDS = {"Function", "DataStore", "DataAsset", "Deployment"}  # runs wait for them
UNDERWAY = {"Queued", "Staging", "Running", "Uploading"}  # phases of runs that wait for none of these
TELL_SECONDS = 2  # between two looks at a busy Deployment, which tells how many runs go on, and positions


class Waker:
    """Asks the queue for passes. It looks at what the store has indexes for, never at all runs of a long queue."""

    def __init__(self, store: Store, queue: KeyedQueue[Key]) -> None:
        self._store, self._queue = store, queue

    def changed(self, kind: str, obj: Object) -> None:
        """An object was added, changed or deleted: what it is about is looked at."""
        meta = obj["metadata"]
        if kind in OWN_KINDS:
            self._queue.add(Key(kind, meta["namespace"], meta["name"]))
        if kind == "Job" and (about := meta.get("annotations", {}).get(RECLAIMS)):
            self._queue.add(Key(kind, meta["namespace"], meta["name"]))
            self._reclaimed(meta["namespace"], about)
        if kind == "DataAsset" and obj["spec"].get("reclaim") == "Delete":
            self._queue.add(Key("Job", meta["namespace"], reclaim_name(meta["name"], meta["uid"])))
        if kind in SHARED_KINDS:
            self.waiting_for(kind, obj)
        if slot := slot_of(kind, obj):
            self.move_up(slot[0])
        if kind != "JobRun" and (owner := controller_uid(obj)):  # a run's Deployment has been told by its queue
            self._owner(owner)

    def _reclaimed(self, namespace: str, about: str) -> None:
        """The DataAsset whose data a Job will delete: if it is there, so must the Job be."""
        with contextlib.suppress(ValidationError):
            self._queue.add(Key("DataAsset", namespace, Reclaim.model_validate_json(about).name))

    def _owner(self, uid: str) -> None:
        key = self._store.by_uid(uid)
        if key is None:
            return
        if key.kind in OWN_KINDS or _reclaims(self._store.get(key)):
            self._queue.add(key)
        elif (job := self._store.get(key)) and (owner := controller_uid(job)):
            self._owner(owner)

    def waiting_for(self, kind: str, obj: Object) -> None:
        """A Function, a DataStore or a DataAsset changed: what waits for it may go on."""
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        if kind == "Deployment":
            self._runs_of(namespace, name)
            return
        for deployment in self._store.within("Deployment", namespace) if kind == "Function" else ():
            if deployment["spec"]["functionRef"]["name"] == name:
                self._queue.add(Key("Deployment", namespace, deployment["metadata"]["name"]))
        of_asset = kind == "DataAsset"
        for asset in (
            self._store.versions(namespace, asset_of(obj)) if of_asset else self._store.within("DataAsset", namespace)
        ):
            if not _is_ready(asset) or asset["spec"].get("reclaim") == "Delete":
                self._queue.add(Key("DataAsset", namespace, asset["metadata"]["name"]))
        held = [run for run in self._store.unfinished(namespace) if run["status"].get("phase") not in UNDERWAY]
        for run in sorted(held, key=place_of):  # what was blocked by the same starts in the order of its queue
            self._queue.add(Key("JobRun", namespace, run["metadata"]["name"]), later=_is_held(run))

    def _runs_of(self, namespace: str, deployment: str) -> None:
        """A Deployment changed: runs that wait for it may go on, as far as it has slots; all, where theirs is gone."""
        group, found = (namespace, label_value(deployment)), self._store.get(Key("Deployment", namespace, deployment))
        uid = found["metadata"]["uid"] if found else None
        concerned = (
            run
            for run in self._store.unfinished_of(group)
            if run["status"].get("phase") not in UNDERWAY or run["status"].get("deploymentId") not in {None, uid}
        )
        for run in sorted(concerned, key=place_of):
            self._queue.add(Key("JobRun", namespace, run["metadata"]["name"]), later=_is_held(run))
        self.move_up(group)

    def move_up(self, group: Group) -> None:
        """Slots may be free: the next in the queue come to take them, and what is too much to go."""
        key = Key("Deployment", group[0], self._store.lines.names.get(group, group[1]))
        deployment = self._store.get(key)
        if deployment is None:
            return
        self._queue.add_after(key, TELL_SECONDS)
        if group not in self._store.lines:
            return
        spec = deployment["spec"]
        free = spec.get("concurrency", CONCURRENCY) - len(self._store.lines.busy(group))
        displaces = (spec.get("queue") or {}).get("whenFull") == "CancelOldest"
        lines = self._store.lines
        for name in lines.queue(group) if displaces else lines.upcoming(group, max(free, 0)):
            self._queue.add(Key("JobRun", group[0], name))

    def everything(self) -> None:
        """What may go on comes before what is held, and that before what is over; without Jobs that needs nothing."""
        for kind in SHARED_KINDS:
            for key in self._store.keys(kind):
                self._queue.add(key)
        for key in self._store.keys("Job"):
            if _reclaims(self._store.get(key)):
                self._queue.add(key)
        over = []
        for key in self._store.keys("JobRun"):
            run = self._store.get(key)
            assert run
            if not is_terminal(run):
                self._queue.add(key, later=_is_held(run))
            elif any(self._store.owned(run["metadata"]["uid"], "Job")):
                over.append(key)
        for key in over:
            self._queue.add(key, later=True)
        for group in self._store.lines.groups():
            self.move_up(group)


def _reclaims(obj: Object | None) -> bool:
    """Whether it is a Job that deletes an asset's data."""
    return obj is not None and RECLAIMS in obj["metadata"].get("annotations", {})


def _is_held(run: Object) -> bool:
    return run["status"].get("phase") in {"Blocked", "Queued"}


def _is_ready(obj: Object) -> bool:
    conditions = obj["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
