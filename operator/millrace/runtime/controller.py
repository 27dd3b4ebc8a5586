"""Ties it together: events fill the store and ask for passes; workers take a snapshot, decide, and do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import structlog
from pydantic import ValidationError

from millrace.domain.names import label_value
from millrace.domain.settings import Settings
from millrace.kube.api import Api, ApiError, NotLeader
from millrace.kube.resources import WATCHED
from millrace.reconcile.dataasset import reconcile_dataasset
from millrace.reconcile.datastore import reconcile_datastore
from millrace.reconcile.deployment import reconcile_deployment
from millrace.reconcile.function import reconcile_function
from millrace.reconcile.plan import NOTHING, Create, CreateNextAttempt, Learned, PatchStatus, Plan
from millrace.reconcile.reclaim import reconcile_reclaim
from millrace.reconcile.run import reconcile_run
from millrace.runtime import metrics, snapshots
from millrace.runtime.execute import Executor, Stale
from millrace.runtime.lines import Group, deployment_of, place_of
from millrace.runtime.queue import KeyedQueue
from millrace.runtime.store import Key, Store
from millrace.runtime.trim import Object
from millrace.runtime.wake import SHARED_KINDS, Waker

log = structlog.get_logger()

WORKERS = 16
AWAY_SECONDS = 0.5  # between two looks at an API server that is away


class Controller:
    """The operator's work, apart from how it learns of changes. One that stands by only knows."""

    def __init__(self, api: Api, settings: Settings, ca_bundle: str | None = None) -> None:
        self.api, self.settings, self._ca_bundle = api, settings, ca_bundle
        self.store = Store()
        self.queue: KeyedQueue[Key] = KeyedQueue()
        self.working = False
        self.waker = Waker(self.store, self.queue)
        self._executor = Executor(api, self.store, self._started)
        self._looking = asyncio.Lock()

    # --- What changed -------------------------------------------------------------------------------------------------

    def seen(self, kind: str, obj: Object) -> None:
        """An object was added or changed."""
        if self.store.put(kind, obj) is not None:
            self._changed(kind, obj)

    def gone(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """An object was deleted."""
        self.store.bury(uid)
        found = self.store.remove(kind, namespace, name, uid)
        self._executor.learned.pop(uid, None)
        if found is not None:
            self._changed(kind, found)

    def _changed(self, kind: str, obj: Object) -> None:
        if self.working:
            self.waker.changed(kind, obj)

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
        self.queue, self._executor = KeyedQueue(), Executor(self.api, self.store, self._started)
        self.store.lines.forget_starting()
        self.waker, self.working = Waker(self.store, self.queue), True
        self.waker.everything()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.queue.run_timers())
                for _ in range(WORKERS):
                    group.create_task(self._work())
        finally:
            self.working = False

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
                self._set_aside(key)
            except ApiError as error:
                if error.unanswered and await self._was_away():
                    self.queue.done(key)
                    self.queue.add(key)
                else:
                    self._failed(key, error, error.retry_after)
            except Exception as error:
                log.exception("bug", key=key)
                self._failed(key, error)
                self._set_aside(key)
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
            group = self._mark_starting(key, plan)
            if not await self._executor.execute(plan):
                break
        if group and plan.actions:
            self.store.lines.set_starting(group, label_value(key.name), None)  # what was made is in the store
            self.waker.move_up(group)
        # Of a Deployment nothing that runs wait for is in its status.
        written = key.kind in SHARED_KINDS - {"Deployment"} and any(
            isinstance(action, PatchStatus) for action in plan.actions
        )
        if written and (found := self.store.get(key)):
            # The answer to our write is in the store already, so its watch event will say nothing new.
            self.waker.waiting_for(key.kind, found)
        _count_finished(plan)
        if plan.again is not None:
            self.queue.add_after(key, plan.again)

    def _started(self, key: Key) -> None:
        """A Job was made, so the next in the queue may follow."""
        if group := self._group(key):
            self.waker.move_up(group)

    def _set_aside(self, key: Key) -> None:
        """A run that cannot be decided on leaves its queue until it changes: nobody may wait for it."""
        if group := self._group(key):
            self.store.lines.set_place(group, label_value(key.name), None)
            self.waker.move_up(group)

    def _mark_starting(self, key: Key, plan: Plan) -> Group | None:
        """Takes a slot before the Job is made, and gives back one that was taken for a Job that will not be.

        Where a POST has no answer its slot stays taken until another pass knows.
        """
        group = self._group(key)
        if group and (run := self.store.get(key)):
            starts = any(
                isinstance(action, CreateNextAttempt) or (isinstance(action, Create) and action.manifest["kind"] == "Job")
                for action in plan.actions
            )
            self.store.lines.set_starting(group, label_value(key.name), place_of(run) if starts else None)
        return group

    def _group(self, key: Key) -> Group | None:
        """The queue that a run is of."""
        run = self.store.get(key) if key.kind == "JobRun" else None
        return deployment_of(run) if run else None

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
            case "Deployment":
                deployment = snapshots.deployment_snapshot(self.store, key, learned, self.settings, self._ca_bundle, now)
                return reconcile_deployment(deployment) if deployment else NOTHING
            case "DataAsset":
                asset = snapshots.dataasset_snapshot(self.store, key, learned, self.settings, now)
                return reconcile_dataasset(asset) if asset else NOTHING
            case "Job":
                reclaim = snapshots.reclaim_snapshot(self.store, key, learned, now)
                return reconcile_reclaim(reclaim) if reclaim else NOTHING
            case _:
                datastore = snapshots.datastore_snapshot(self.store, key, learned, self.settings, now)
                return reconcile_datastore(datastore) if datastore else NOTHING


def _count_finished(plan: Plan) -> None:
    ends = [a.status for a in plan.actions if isinstance(a, PatchStatus) and a.kind == "JobRun" and "duration" in a.status]
    for status in ends:
        metrics.RUNS_FINISHED.labels(status["phase"], status.get("failure", {}).get("reason", "")).inc()
