"""kopf as the informer: events go into the controller, nothing else happens here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import kopf

from millrace.kube.api import Resource
from millrace.kube.resources import WATCHED
from millrace.runtime.controller import Controller


class Nowhere(kopf.DiffBaseStorage, kopf.ProgressStorage):
    """kopf keeps nothing on objects: the builds of its storages would cost 0.76 ms an event for nothing."""

    def build(self, *, body: kopf.Body, extra_fields: object = None) -> kopf.BodyEssence:  # noqa: ARG002
        return kopf.BodyEssence({})

    def fetch(self, *, body: kopf.Body, key: object = None) -> None:  # noqa: ARG002
        return None

    def store(self, **_: object) -> None:
        pass

    def purge(self, **_: object) -> None:
        pass

    def touch(self, **_: object) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


class Backoffs:
    """Pauses of a watch that fails. After an outage the first try must follow at once: kopf's own pauses go up to 21 s.

    A watch that is refused for a minute (403, say) ends the process; while the API server is away nothing counts as refused.
    """

    def __init__(self, away: Callable[[], bool]) -> None:
        self._away = away

    def __iter__(self) -> Iterator[float]:
        yield 0.5
        refused = 0
        while refused < 60:
            refused += not self._away()
            yield 1.0


def settings(away: Callable[[], bool]) -> kopf.OperatorSettings:
    """Settings of kopf; each deviation from its defaults has a reason. `away`: whether the API server gives no answers."""
    found = kopf.OperatorSettings()
    found.scanning.disabled = True  # else 55 s pass before the first event where only Roles are given
    found.peering.standalone = True  # peering is no leader election: equal priorities freeze both
    found.posting.enabled = False
    found.persistence.finalizer = "millrace.dev/unused"  # none of our handlers asks for one
    found.persistence.diffbase_storage = found.persistence.progress_storage = Nowhere()
    found.watching.server_timeout = 300
    found.watching.client_timeout = 330
    found.watching.connect_timeout = 10
    found.watching.inactivity_timeout = 70  # a silent watch is replaced (kopf#957, kopf#1276)
    found.watching.chunk_size = 500
    # Until it is idle for so long each object has a task with its last event in full: at the start that is all objects.
    found.queueing.idle_timeout = 0.05
    found.networking.request_timeout = 30
    found.networking.connect_timeout = 5
    found.networking.error_backoffs = Backoffs(away)
    for resource in WATCHED:
        if resource.selector:
            group = resource.api_version.partition("/")[0] if "/" in resource.api_version else ""
            found.watching.label_selectors[group, resource.plural] = resource.selector
    return found


def registry(controller: Controller) -> kopf.OperatorRegistry:
    """One event handler for each kind."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    for resource in WATCHED:
        _register(found, resource, controller)
    return found


def _register(found: kopf.OperatorRegistry, resource: Resource, controller: Controller) -> None:
    group, _, version = resource.api_version.rpartition("/")

    @kopf.on.event(group, version, resource.plural, registry=found, id=resource.plural)
    async def changed(event: kopf.RawEvent, **_: Any) -> None:
        obj: dict[str, Any] = event["object"]  # type: ignore[assignment]
        if event["type"] == "DELETED":
            meta = obj["metadata"]
            controller.gone(resource.kind, meta["namespace"], meta["name"], meta["uid"])
        else:
            controller.seen(resource.kind, obj)
