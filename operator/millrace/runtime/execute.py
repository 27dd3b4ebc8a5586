"""Does what a plan says: the only writes to the API server. Answers to writes go into the store at once."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import structlog

from millrace.build.job import next_job
from millrace.build.parallel import next_shards
from millrace.domain.labels import COMPONENT, ENDED, KUEUE_QUEUE
from millrace.kube.api import Api, ApiError
from millrace.kube.resources import BY_KIND, EVENT, JOB
from millrace.reconcile.plan import (
    Action,
    Apply,
    Create,
    CreateNextAttempt,
    CreateUnowned,
    Delete,
    Emit,
    EndJob,
    Learned,
    PatchStatus,
    Plan,
    StartJob,
)
from millrace.runtime.looks import Looks
from millrace.runtime.metrics import API_WRITES
from millrace.runtime.store import Key, Store
from millrace.runtime.trim import controller_uid

log = structlog.get_logger()

REFUSED = {400, 403, 422}
TOLD = 1000  # Events that are not written again; an older one is, and the API server knows its name


class Stale(Exception):
    """The object has changed since it was read: decide again."""


def is_taken(meta: dict[str, Any], made: dict[str, Any]) -> bool:
    """Whether Kueue has taken the Job of a run that was not made for it, as where a namespace has a LocalQueue `default`.

    Then the run waits for Kueue, which the plan did not know.
    """
    labels = meta.get("labels") or {}
    ours = labels.get(COMPONENT) == "run"
    return ours and KUEUE_QUEUE not in labels and KUEUE_QUEUE in (made["metadata"].get("labels") or {})


class Executor:
    """Executes plans. `learned` holds, by UID, what live reads and refusals have told; `started` hears of new Jobs."""

    def __init__(self, api: Api, store: Store, started: Callable[[Key], None] = lambda _: None) -> None:
        self._api, self._store, self._started = api, store, started
        self.learned: dict[str, Learned] = {}
        self._handlers: dict[type[Action], Callable[[Any], Awaitable[bool]]] = {
            Create: self._create,
            CreateUnowned: self._create_unowned,
            CreateNextAttempt: self._next,
            Apply: self._apply,
            EndJob: self._end,
            StartJob: self._start,
            Delete: self._delete,
            PatchStatus: self._patch_status,
            Emit: self._emit,
            **Looks(api, store, self._learn).handlers,
        }
        self._told: deque[str] = deque(maxlen=TOLD)

    async def execute(self, plan: Plan) -> bool:
        """Does the actions in their order; returns whether something was learned that asks for another decision.

        Raises Stale when an object has changed meanwhile, ApiError when a request fails for another reason.
        """
        try:
            for action in plan.actions:
                if await self._handlers[type(action)](action):
                    return True
        except ApiError as error:
            if not error.namespace_goes:
                raise
        return False

    async def _create(self, action: Create) -> bool:
        return await self._post(action.manifest, action.tell, action.taken)

    async def _post(self, manifest: dict[str, Any], tell: str | None = None, taken: Emit | None = None) -> bool:
        kind, meta = manifest["kind"], manifest["metadata"]
        owner = meta["ownerReferences"][0]
        try:
            made = await self._api.create(BY_KIND[kind], manifest)
            API_WRITES.labels("create", kind).inc()
        except ApiError as error:
            if error.status == 409:
                return await self._adopt(kind, meta, owner, tell or owner["uid"], taken)
            if self._is_refused(error, tell or (owner["uid"] if kind == "Job" else None)):
                return True
            raise
        self._keep(kind, made)
        if kind == "Job":
            self._started(Key(owner["kind"], meta["namespace"], owner["name"]))
        return is_taken(meta, made)

    def _keep(self, kind: str, made: dict[str, Any]) -> None:
        """Takes a child into the store. But a run needs a pass of its own, so it stays news for the watch."""
        if kind != "JobRun":
            self._store.put(kind, made)

    def _is_refused(self, error: ApiError, tell: str | None) -> bool:
        """Whether the API server takes it as little the next time, which is learned about the object with the UID `tell`."""
        if tell is None or error.status not in REFUSED or error.namespace_goes:
            return False
        self._learn(tell, refusal=(error.status, error.message[:512], time.time()))
        return True

    async def _adopt(self, kind: str, meta: dict[str, Any], owner: dict[str, Any], tell: str, taken: Emit | None) -> bool:
        """The name exists: it is ours only if its controller is (CVE-2023-37264: a child was trusted by its name)."""
        found = await self._api.get(BY_KIND[kind], meta["namespace"], meta["name"])
        if found is None:
            raise Stale(f"{kind} {meta['name']} is gone again")
        if controller_uid(found) == owner["uid"]:
            self._keep(kind, found)
            return is_taken(meta, found)
        if taken:
            return await self._emit(taken)
        owners = found["metadata"].get("ownerReferences") or []
        namesake = any(o["kind"] == owner["kind"] and o["name"] == owner["name"] for o in owners)
        if namesake or "deletionTimestamp" in found["metadata"]:
            message = f"{kind} {meta['name']} of an earlier {owner['kind']} of that name is still there"
            if kind != "Job":
                raise Stale(message)
            self._learn(tell, refusal=(409, message, time.time()))
        elif owner["kind"] == "JobRun":
            self._learn(tell, taken=f"{kind} {meta['name']}")
        else:
            message = f"{kind} {meta['name']} exists and is not of {owner['kind']} {owner['name']}; remove it"
            self._learn(tell, refusal=(409, message, time.time()))
        return True

    async def _next(self, action: CreateNextAttempt) -> bool:
        previous = await self._api.get(JOB, action.namespace, action.previous)
        if previous is None or controller_uid(previous) != action.owner:
            self._learn(action.owner, absent_job=action.previous)
            raise Stale(f"Job {action.previous} is gone")
        if action.shards:
            return await self._post(next_shards(previous, action.run, action.attempt, action.shards))
        return await self._post(next_job(previous, action.run, action.attempt, action.charged))

    async def _create_unowned(self, action: CreateUnowned) -> bool:
        """Another decision follows in any case: what is made is told of its run next, or counted on."""
        kind, meta = action.manifest["kind"], action.manifest["metadata"]
        try:
            found: dict[str, Any] | None = await self._api.create(BY_KIND[kind], action.manifest)
            API_WRITES.labels("create", kind).inc()
        except ApiError as error:
            if self._is_refused(error, action.tell):
                return True
            if error.status != 409:
                raise
            found = await self._api.get(BY_KIND[kind], meta["namespace"], meta["name"])
        if found is not None:
            self._store.put(kind, found)
        return True

    async def _apply(self, action: Apply) -> bool:
        kind = action.manifest["kind"]
        try:
            self._store.put(kind, await self._api.apply(BY_KIND[kind], action.manifest))
        except ApiError as error:
            if self._is_refused(error, action.tell):
                return True
            raise
        API_WRITES.labels("apply", kind).inc()
        return False

    async def _end(self, action: EndJob) -> bool:
        note = {"annotations": {ENDED: f"{action.reason}: {action.message}"}}
        # Kueue starts what it has admitted, whoever has suspended it: without any time it fails before it has a pod.
        return await self._patch_job(action, note, {"suspend": True, "activeDeadlineSeconds": 0})

    async def _start(self, action: StartJob) -> bool:
        return await self._patch_job(action, {}, {"suspend": False, **({"parallelism": 1} if action.parked else {})})

    async def _patch_job(self, action: EndJob | StartJob, note: dict[str, Any], spec: dict[str, Any]) -> bool:
        patch = {"metadata": {"uid": action.uid, **note}, "spec": spec}
        try:
            self._store.put("Job", await self._api.merge(JOB, action.namespace, action.name, patch))
            API_WRITES.labels("patch", "Job").inc()
        except ApiError as error:
            if error.status == 409:
                raise Stale(f"Job {action.name} is another one now") from error
            if error.status != 404:
                raise
        return False

    async def _delete(self, action: Delete) -> bool:
        await self._api.delete(BY_KIND[action.kind], action.namespace, action.name, action.uid)
        API_WRITES.labels("delete", action.kind).inc()
        self._store.remove(action.kind, action.namespace, action.name, action.uid)
        return False

    async def _patch_status(self, action: PatchStatus) -> bool:
        resource = BY_KIND[action.kind]
        patch = {"metadata": {"resourceVersion": action.resource_version}, "status": action.status}
        try:
            found = await self._api.merge(resource, action.namespace, action.name, patch, subresource="status")
        except ApiError as error:
            if error.status not in {404, 409}:
                raise
            current = await self._api.get(resource, action.namespace, action.name)
            if current is not None:
                self._store.put(action.kind, current)
            raise Stale(f"{action.kind} {action.name} has changed") from error
        API_WRITES.labels("patch", action.kind).inc()
        self._store.put(action.kind, found)
        return False

    async def _emit(self, action: Emit) -> bool:
        involved = {"kind": action.kind, "namespace": action.namespace, "name": action.name, "uid": action.uid}
        digest = hashlib.sha256(f"{action.uid}{action.reason}{action.message}".encode()).hexdigest()[:16]
        if digest in self._told:
            return False
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{action.name[:230]}.{digest}", "namespace": action.namespace},
            "involvedObject": {**involved, "apiVersion": BY_KIND[action.kind].api_version},
            "type": "Warning" if action.warning else "Normal",
            "reason": action.reason,
            "message": action.message[:1024] or action.reason,
            "source": {"component": "millrace"},
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            await self._api.create(EVENT, event)
            API_WRITES.labels("create", "Event").inc()
        except ApiError as error:
            # An Event is for people; the status says the same, so nothing waits for it.
            log.info("event not written", reason=action.reason, object=action.name, error=str(error))
        self._told.append(digest)
        return False

    def _learn(self, uid: str, *, absent_job: str | None = None, **facts: Any) -> None:
        known = self.learned.get(uid, Learned())
        if absent_job:
            facts["absent_jobs"] = known.absent_jobs | {absent_job}
        self.learned[uid] = replace(known, **facts)
