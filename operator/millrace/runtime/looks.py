"""Live reads of what the store does not know: what they tell is learned about the object that a plan is of."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from millrace.domain.clock import parse
from millrace.domain.reasons import Reason
from millrace.kube.api import Api
from millrace.kube.resources import DATAASSET, DEPLOYMENT, EVENT, JOB
from millrace.reconcile.plan import Action, LookForAssets, LookForDeployment, LookForEvents, LookForJob
from millrace.runtime.store import Store
from millrace.runtime.trim import controller_uid

# Events that tell what is wrong where no status does, and what they are to the user.
EVENTS = {
    "FailedCreate": Reason.POD_NOT_CREATED,
    "FailedMount": Reason.VOLUME_NOT_MOUNTED,
    "FailedAttachVolume": Reason.VOLUME_NOT_MOUNTED,
    "FailedCreatePodSandBox": Reason.POD_NOT_CREATED,
}
EVENT_REASONS = (
    ("exceeded quota", Reason.QUOTA_EXCEEDED),
    ("failed quota", Reason.QUOTA_EXCEEDED),
    ("violates PodSecurity", Reason.POD_SECURITY),
)


class Learn(Protocol):
    """Takes facts about the object with a UID."""

    def __call__(self, uid: str, *, absent_job: str | None = None, **facts: Any) -> None: ...


class Looks:
    """One method for each look; all of them ask for another decision."""

    def __init__(self, api: Api, store: Store, learn: Learn) -> None:
        self._api, self._store, self._learn = api, store, learn
        self.handlers: dict[type[Action], Callable[[Any], Awaitable[bool]]] = {
            LookForJob: self._look_for_job,
            LookForDeployment: self._look_for_deployment,
            LookForEvents: self._look_for_events,
            LookForAssets: self._look_for_assets,
        }

    async def _look_for_job(self, action: LookForJob) -> bool:
        found = await self._api.get(JOB, action.namespace, action.name)
        if found is not None and controller_uid(found) == action.owner:
            self._store.put("Job", found)
        else:
            self._learn(action.owner, absent_job=action.name)
        return True

    async def _look_for_deployment(self, action: LookForDeployment) -> bool:
        found = await self._api.get(DEPLOYMENT, action.namespace, action.name)
        if found is not None and found["metadata"]["uid"] == action.uid:
            self._store.put("Deployment", found)
        else:
            self._learn(action.run, absent_deployment=action.uid)
        return True

    async def _look_for_events(self, action: LookForEvents) -> bool:
        selector = f"involvedObject.uid={action.uid},type=Warning"
        found = [
            event
            async for page in self._api.pages(EVENT, action.namespace, field_selector=selector)
            for event in page
            if event.get("reason") in EVENTS
        ]
        newest = max(found, key=_seen, default=None)
        message = newest["message"] if newest else ""
        reason = next((reason for text, reason in EVENT_REASONS if text in message), "") if newest else ""
        reason = reason or (EVENTS[newest["reason"]] if newest else "")
        self._learn(action.owner, events=(action.uid, reason, message[:512], time.time()))
        return True

    async def _look_for_assets(self, action: LookForAssets) -> bool:
        async for page in self._api.pages(DATAASSET, action.namespace):
            for found in page:
                self._store.put("DataAsset", found)
        self._learn(action.owner, assets=time.time())
        return True


def _seen(event: dict[str, Any]) -> float:
    stamp = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    return parse(stamp).timestamp()
