"""Waiting until the operator has judged an object."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from millrace.api.base import Condition
from millrace.cli.cluster import Cluster
from millrace.cli.errors import FAILED, Refused
from millrace.cli.explain import explain
from millrace.domain.conditions import find
from millrace.kube.api import ApiError, Resource

POLL_SECONDS = 0.2


async def until_ready(
    cluster: Cluster, kind: Resource, namespace: str, name: str, *, seconds: float, patient: bool = False
) -> tuple[dict[str, Any], Condition | None]:
    """The object and its condition Ready: once that is True, or False where nobody is `patient`, else after `seconds`.

    None for the condition: nobody has looked at the object as it is now.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            found = await cluster.get(kind, namespace, name)
        except ApiError as error:
            raise explain(error, f"read {kind.kind} {name}") from None
        if found is None:
            raise Refused(f"{kind.kind} {name} was deleted", code=FAILED)
        conditions = [Condition.model_validate(each) for each in found.get("status", {}).get("conditions", [])]
        ready = find(conditions, "Ready")
        if ready and ready.observed_generation != found["metadata"]["generation"]:
            ready = None
        settled = ready and (ready.status == "True" or (ready.status == "False" and not patient))
        if settled or time.monotonic() >= end:
            return found, ready
        await asyncio.sleep(POLL_SECONDS)
