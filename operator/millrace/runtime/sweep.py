"""Corrects the store every minute by a metadata list: what a watch has missed is found, what is gone is dropped.

After a 410 kopf lists again but tells nobody of what vanished meanwhile; a Job that is gone would look running for ever.
"""

from __future__ import annotations

import asyncio

import structlog

from millrace.kube.api import ApiError, Resource
from millrace.kube.resources import WATCHED
from millrace.runtime import metrics
from millrace.runtime.controller import Controller

log = structlog.get_logger()

INTERVAL = 45  # seconds between two sweeps: what vanished is known within 60
FIRST = 5  # seconds until the first one: what was deleted between our list at the start and kopf's, nobody tells


async def sweep_for_ever(controller: Controller, namespaces: list[str | None]) -> None:
    """Sweeps until it is cancelled; an API server that is away is tried again at the next turn."""
    pause = FIRST
    while True:
        await asyncio.sleep(pause)
        pause = INTERVAL
        metrics.OBJECTS.set(len(controller.store))
        for resource in WATCHED:
            for namespace in namespaces:
                try:
                    await sweep(controller, resource, namespace)
                except ApiError as error:
                    log.warning("sweep failed", kind=resource.kind, error=str(error))


async def sweep(controller: Controller, resource: Resource, namespace: str | None) -> None:
    """Compares one kind with the API server."""
    store = controller.store
    before = [
        (key, store.get(key)["metadata"]["uid"])  # type: ignore[index]
        for key in store.keys(resource.kind)
        if namespace is None or key.namespace == namespace
    ]
    there: set[str] = set()
    async for page in controller.api.pages(resource, namespace, metadata_only=True):
        for obj in page:
            meta = obj["metadata"]
            there.add(meta["uid"])
            known_key = store.by_uid(meta["uid"])
            known = store.get(known_key) if known_key else None
            if known and int(known["metadata"]["resourceVersion"]) >= int(meta["resourceVersion"]):
                continue
            found = await controller.api.get(resource, meta["namespace"], meta["name"])
            if found is not None and store.by_uid(meta["uid"]) is None:
                metrics.SWEEP_REPAIRS.labels(resource.kind, "added").inc()
            if found is not None:
                controller.seen(resource.kind, found)
    for key, uid in before:
        if uid not in there and store.by_uid(uid):
            # Listed after we took note of it, so it is gone for good: UIDs do not come back.
            metrics.SWEEP_REPAIRS.labels(resource.kind, "gone").inc()
            log.info("gone without a word", key=key)
            controller.gone(key.kind, key.namespace, key.name, uid)
