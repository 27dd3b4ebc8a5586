"""Ties it together: events fill the store and ask for passes; workers take a snapshot, decide, and do."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from millrace.domain.labels import RECLAIMS
from millrace.domain.names import reclaim_name
from millrace.domain.reclaim import Reclaim
from millrace.domain.settings import Settings
from millrace.kube.api import Api, ApiError, NotLeader
from millrace.kube.resources import WATCHED
from millrace.reconcile.dataasset import reconcile_dataasset
from millrace.reconcile.datastore import reconcile_datastore
from millrace.reconcile.function import reconcile_function
from millrace.reconcile.plan import NOTHING, Learned, PatchStatus, Plan
from millrace.reconcile.reclaim import reconcile_reclaim
from millrace.reconcile.run import reconcile_run
from millrace.runtime import metrics, snapshots
from millrace.runtime.execute import Executor, Stale
from millrace.runtime.queue import KeyedQueue
from millrace.runtime.store import Key, Object, Store, asset_of, controller_uid, is_terminal

log = structlog.get_logger()

WORKERS = 16
TIDY_SECONDS = 60  # until a Function is looked at after a run of it has ended
AWAY_SECONDS = 0.5  # between two looks at an API server that is away
OWN_KINDS = {"Function", "DataStore", "DataAsset", "JobRun"}
SHARED_KINDS = {"Function", "DataStore", "DataAsset"}  # runs wait for them
UNDERWAY = {"Staging", "Running", "Uploading"}  # phases of runs that wait for none of these


class Controller:
    """The operator's work, apart from how it learns of changes. One that stands by only knows."""

    def __init__(self, api: Api, settings: Settings, ca_bundle: str | None = None) -> None:
        self.api, self.settings, self._ca_bundle = api, settings, ca_bundle
        self.store = Store()
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.working = False
        self._executor = Executor(api, self.store)
        self._looking = asyncio.Lock()

    # --- What changed -------------------------------------------------------------------------------------------------

    def seen(self, kind: str, obj: Object) -> None:
        """An object was added or changed."""
        if self.store.put(kind, obj) is not None:
            self._enqueue(kind, obj)

    def gone(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """An object was deleted."""
        self.store.bury(uid)
        found = self.store.remove(kind, namespace, name, uid)
        self._executor.learned.pop(uid, None)
        if found is not None:
            self._enqueue(kind, found)

    def _enqueue(self, kind: str, obj: Object) -> None:
        if not self.working:
            return
        meta = obj["metadata"]
        if kind in OWN_KINDS:
            self.queue.add(Key(kind, meta["namespace"], meta["name"]))
        if kind == "Job" and (about := meta.get("annotations", {}).get(RECLAIMS)):
            self.queue.add(Key(kind, meta["namespace"], meta["name"]))
            self._enqueue_reclaimed(meta["namespace"], about)
        if kind == "DataAsset" and obj["spec"].get("reclaim") == "Delete":
            self.queue.add(Key("Job", meta["namespace"], reclaim_name(meta["name"], meta["uid"])))
        if kind in SHARED_KINDS:
            self._enqueue_waiting(kind, obj)
        if owner := controller_uid(obj):
            self._enqueue_owner(owner)

    def _enqueue_reclaimed(self, namespace: str, about: str) -> None:
        """The DataAsset whose data a Job will delete: if it is there, so must the Job be."""
        with contextlib.suppress(ValidationError):
            self.queue.add(Key("DataAsset", namespace, Reclaim.model_validate_json(about).name))

    def _enqueue_owner(self, uid: str) -> None:
        key = self.store.by_uid(uid)
        if key is None:
            return
        if key.kind in OWN_KINDS or _reclaims(self.store.get(key)):
            self.queue.add(key)
        elif (job := self.store.get(key)) and (owner := controller_uid(job)):
            self._enqueue_owner(owner)

    def _enqueue_waiting(self, kind: str, obj: Object) -> None:
        """A Function, a DataStore or a DataAsset changed: what waits for it may go on."""
        namespace = obj["metadata"]["namespace"]
        of_asset = kind == "DataAsset"
        for asset in (
            self.store.versions(namespace, asset_of(obj)) if of_asset else self.store.within("DataAsset", namespace)
        ):
            if not _is_ready(asset) or asset["spec"].get("reclaim") == "Delete":
                self.queue.add(Key("DataAsset", namespace, asset["metadata"]["name"]))
        for run in self.store.unfinished(namespace):
            if run["status"].get("phase") not in UNDERWAY:
                self.queue.add(Key("JobRun", namespace, run["metadata"]["name"]), later=_is_blocked(run))

    # --- Start ----------------------------------------------------------------------------------------------------------

    async def load(self, namespaces: list[str | None]) -> None:
        """Lists everything once, causes before effects, so that decisions start from the whole state."""
        for resource in WATCHED:
            for namespace in namespaces:
                async for page in self.api.pages(resource, namespace):
                    for obj in page:
                        self.store.put(resource.kind, obj)
        log.info("loaded", objects=len(self.store))

    async def run(self) -> None:
        """Works for ever: on all that is there, then on what changes. Nothing is left of what was under way before."""
        self.queue, self._executor = KeyedQueue(), Executor(self.api, self.store)
        self.working = True
        self._enqueue_all()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.queue.run_timers())
                for _ in range(WORKERS):
                    group.create_task(self._work())
        finally:
            self.working = False

    def _enqueue_all(self) -> None:
        """What may go on comes before what is blocked, and that before what is over; without Jobs that needs nothing."""
        for kind in SHARED_KINDS:
            for key in self.store.keys(kind):
                self.queue.add(key)
        for key in self.store.keys("Job"):
            if _reclaims(self.store.get(key)):
                self.queue.add(key)
        over = []
        for key in self.store.keys("JobRun"):
            run = self.store.get(key)
            assert run
            if not is_terminal(run):
                self.queue.add(key, later=_is_blocked(run))
            elif any(self.store.owned(run["metadata"]["uid"], "Job")):
                over.append(key)
        for key in over:
            self.queue.add(key, later=True)

    # --- One pass -------------------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            key = await self.queue.get()
            metrics.QUEUE_LENGTH.set(len(self.queue))
            try:
                with metrics.RECONCILE_SECONDS.labels(key.kind).time():
                    await self._reconcile(key)
            except NotLeader:
                return  # as soon as it gets the word, run() is cancelled
            except Stale as stale:
                log.debug("decide again", key=key, reason=str(stale))
                self.queue.failed(key)
            except ValidationError as error:
                # Stored before its schema was narrowed: nobody else may wait for it.
                log.warning("object does not fit the schema", key=key, error=str(error))
                self.queue.done(key)
            except ApiError as error:
                if error.unanswered and await self._was_away():
                    self.queue.done(key)
                    self.queue.add(key)
                else:
                    self._failed(key, error, error.retry_after)
            except Exception as error:
                log.exception("bug", key=key)
                self._failed(key, error)
            else:
                self.queue.done(key)

    async def _was_away(self) -> bool:
        """Whether the API server is away; returns when it is back. One worker looks, the others wait for it.

        A back-off for each key would grow while it is away, and last after its return.
        """
        away = False
        async with self._looking:
            while not await self.api.answers():
                if not away:
                    log.warning("the API server is away")
                away = True
                await asyncio.sleep(AWAY_SECONDS)
        return away

    def _failed(self, key: Key, error: Exception, at_least: float = 0) -> None:
        metrics.RECONCILE_ERRORS.labels(key.kind).inc()
        pause = self.queue.failed(key, at_least)
        log.warning("trying again", key=key, error=str(error), seconds=pause)

    async def _reconcile(self, key: Key) -> None:
        for _ in range(3):  # a live read or a refusal asks for another decision
            plan = self._decide(key)
            if not await self._executor.execute(plan):
                break
        written = key.kind in SHARED_KINDS and any(isinstance(action, PatchStatus) for action in plan.actions)
        if written and (found := self.store.get(key)):
            # The answer to our write is in the store already, so its watch event will say nothing new.
            self._enqueue_waiting(key.kind, found)
        if _count_finished(plan):
            self._may_tidy(key)
        if plan.again is not None:
            self.queue.add_after(key, plan.again)

    def _may_tidy(self, key: Key) -> None:
        """A run is over: its Function may have a revision that nobody needs any more. There is no hurry."""
        run = self.store.get(key)
        if run is not None:
            self.queue.add_after(Key("Function", key.namespace, run["spec"]["functionRef"]["name"]), TIDY_SECONDS)

    def _decide(self, key: Key) -> Plan:
        now = datetime.now(UTC)
        uid = (self.store.get(key) or {}).get("metadata", {}).get("uid", "")
        learned = self._executor.learned.get(uid, Learned())
        match key.kind:
            case "JobRun":
                run = snapshots.run_snapshot(self.store, key, learned, self.settings, self._ca_bundle, now)
                return reconcile_run(run) if run else NOTHING
            case "Function":
                function = snapshots.function_snapshot(self.store, key, self.settings, now)
                return reconcile_function(function) if function else NOTHING
            case "DataAsset":
                asset = snapshots.dataasset_snapshot(self.store, key, learned, self.settings, now)
                return reconcile_dataasset(asset) if asset else NOTHING
            case "Job":
                reclaim = snapshots.reclaim_snapshot(self.store, key, learned, now)
                return reconcile_reclaim(reclaim) if reclaim else NOTHING
            case _:
                datastore = snapshots.datastore_snapshot(self.store, key, learned, self.settings, now)
                return reconcile_datastore(datastore) if datastore else NOTHING


def _reclaims(obj: Object | None) -> bool:
    """Whether it is a Job that deletes an asset's data."""
    return obj is not None and RECLAIMS in obj["metadata"].get("annotations", {})


def _is_blocked(run: Object) -> bool:
    return bool(run["status"].get("phase") == "Blocked")


def _is_ready(obj: Object) -> bool:
    conditions = obj["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _count_finished(plan: Plan) -> bool:
    ends = [a.status for a in plan.actions if isinstance(a, PatchStatus) and a.kind == "JobRun" and "duration" in a.status]
    for status in ends:
        metrics.RUNS_FINISHED.labels(status["phase"], status.get("failure", {}).get("reason", "")).inc()
    return bool(ends)
