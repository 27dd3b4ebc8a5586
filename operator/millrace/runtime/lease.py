"""The Lease that one operator of several holds: who has it works, the others look on.

Semantics of client-go's leader election. Times in the record are for people: whether another's lease has run out is told
by how long, on our own clock, the record has not changed. Our own lease runs from before the request that renewed it, so
it is over here before anybody else can take it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import structlog

from millrace.kube.api import Api, ApiError, Object
from millrace.kube.resources import LEASE
from millrace.runtime import metrics

log = structlog.get_logger()

DURATION = 10  # seconds that others wait after the last change of the record
MARGIN = 2  # seconds before its end from which on we write no more: clocks differ, and so does the way to the server
RENEW = 2  # seconds between two renewals
RETRY = 0.5  # seconds between two looks at another's lease, and after a renewal that failed
PATIENCE = 4  # seconds for one request


def clock() -> float:
    """Seconds on a clock that goes on while the process, or the machine, is asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    """Our share in a Lease of coordination.k8s.io/v1, NAMESPACE/NAME. `identity` is ours alone: the pod's name."""

    def __init__(self, api: Api, lease: str, identity: str) -> None:
        self._namespace, _, self._name = lease.partition("/")
        self._api, self._identity = api, identity
        self._record: Object | None = None  # as it was read or written last
        self._changed = 0.0  # when it was first seen so
        self._until = 0.0  # when we have to stop
        self._complaint = ""  # so that each is logged once
        self.away = False  # whether the API server gave no answer when it was last asked

    def left(self) -> float:
        """For how many seconds we may still write; 0 or less: not at all."""
        return self._until - clock()

    async def acquire(self) -> None:
        """Waits until the lease is ours."""
        while not await self._claim():  # noqa: ASYNC110 - what is waited for is elsewhere
            await asyncio.sleep(RETRY)
        metrics.LEADER.set(1)
        log.info("leader", lease=self._name, identity=self._identity)

    async def keep(self) -> None:
        """Renews the lease; returns as soon as it may no longer be ours.

        A lease that has run out is not renewed, though nobody may have taken it: what was under way in it is given up first.
        """
        pause: float = RENEW
        while (left := self.left()) > 0:
            await asyncio.sleep(min(pause, left))
            if self.left() > 0:
                pause = RENEW if await self._claim(renewal=True) else RETRY
        self._until = 0
        metrics.LEADER.set(0)
        log.warning("no leader any more", lease=self._name, identity=self._identity)

    async def release(self) -> None:
        """Lets the next one begin at once, if the lease is ours."""
        if self.left() <= 0:
            return
        self._until = 0
        metrics.LEADER.set(0)
        try:
            await self._read()  # a renewal may have been under way
            if self._record and self._record["spec"].get("holderIdentity") == self._identity:
                await self._write({**self._record["spec"], "holderIdentity": "", "leaseDurationSeconds": 1})
        except (ApiError, TimeoutError) as error:
            log.warning("lease not released", error=repr(error), seconds=DURATION)

    async def _claim(self, *, renewal: bool = False) -> bool:
        """One try to get the lease, or to renew it; whether that went well."""
        began = clock()
        try:
            if not renewal or self._record is None:
                await self._read()
            claimed = self._is_free() and await self._put(self._desired())
        except (ApiError, TimeoutError) as error:
            self._failed(error)
            return False
        self.away, self._complaint = False, ""
        if not self._is_free():
            self._until = 0
        if not claimed or (renewal and self.left() <= 0):
            return False
        self._until = began + DURATION - MARGIN
        return True

    def _failed(self, error: ApiError | TimeoutError) -> None:
        self.away = isinstance(error, TimeoutError) or error.unanswered
        if repr(error) != self._complaint:
            self._complaint = repr(error)
            log.warning("cannot ask for the lease; trying on", lease=self._name, error=self._complaint)

    def _is_free(self) -> bool:
        spec = self._record["spec"] if self._record else {}
        if spec.get("holderIdentity") in {None, "", self._identity}:
            return True
        return bool(clock() >= self._changed + spec.get("leaseDurationSeconds", DURATION))

    def _desired(self) -> Object:
        spec = self._record["spec"] if self._record else {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = spec.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION,
            "acquireTime": spec.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (not ours),
        }

    async def _read(self) -> None:
        async with asyncio.timeout(PATIENCE):
            found = await self._api.get(LEASE, self._namespace, self._name)
        before = self._record
        self._record = found and {"spec": {}, **found}
        if not before or not found or found["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            self._changed = clock()

    async def _put(self, spec: Object) -> bool:
        """Writes the record; whether it is that now."""
        try:
            await self._write(spec)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise
            await self._read()  # another was faster, or the answer to our own write was lost
        return self._record is not None and bool(self._record["spec"] == spec)

    async def _write(self, spec: Object) -> None:
        meta = {"namespace": self._namespace, "name": self._name}
        manifest = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": meta, "spec": spec}
        async with asyncio.timeout(PATIENCE):
            if self._record is None:
                self._record = await self._api.create(LEASE, manifest)
            else:
                manifest["metadata"] = {**meta, "resourceVersion": self._record["metadata"]["resourceVersion"]}
                self._record = await self._api.replace(LEASE, manifest)
        self._changed = clock()
