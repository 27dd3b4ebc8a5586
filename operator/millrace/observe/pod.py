"""What a pod object says: pure readings, nothing is decided here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from millrace.domain.labels import COMPLETION_INDEX


def _json_object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # "[[[[…" of untrusted text overruns the parser's stack
        return {}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class ContainerFacts:
    """State of one container. Times are RFC 3339 text, whole seconds, as the kubelet writes them."""

    name: str
    waiting: str | None = None
    message: str = ""
    running: bool = False
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    reason: str | None = None
    restarts: int = 0
    last_message: str = ""  # of the run before a restart

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.exit_code is not None

    @property
    def failed(self) -> bool:
        """Whether it has ended badly."""
        return self.over and self.exit_code != 0

    def report(self) -> dict[str, Any]:
        """The JSON object of its termination message; empty when it wrote none. Untrusted when it is main's."""
        return _json_object(self.message)

    def last_report(self) -> dict[str, Any]:
        """The same of its run before a restart."""
        return _json_object(self.last_message)


@dataclass(frozen=True)
class PodFacts:
    """A pod."""

    name: str
    phase: str
    created: str
    uid: str = ""
    node: str | None = None
    deleted: str | None = None
    grace_seconds: int = 0
    reason: str | None = None
    message: str = ""
    scheduled: bool = False
    unschedulable: str | None = None
    position: int | None = None  # completion index, of a shard's pod
    disruption: tuple[str, str] | None = None  # reason and message of the condition DisruptionTarget
    containers: Mapping[str, ContainerFacts] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether all its containers have ended for good."""
        return self.phase in {"Succeeded", "Failed"}

    def container(self, name: str) -> ContainerFacts:
        """The container, or one about which nothing is known yet."""
        return self.containers.get(name) or ContainerFacts(name)


def _time(stamp: str | None) -> str | None:
    # What never ran began at the Unix epoch, says the kubelet.
    return None if stamp is None or stamp.startswith("1970-") else stamp


def _container(status: Mapping[str, Any]) -> ContainerFacts:
    state = status.get("state") or {}
    last = (status.get("lastState") or {}).get("terminated") or {}
    common = {
        "name": status["name"],
        "restarts": status.get("restartCount", 0),
        "last_message": last.get("message", ""),
    }
    if waiting := state.get("waiting"):
        return ContainerFacts(**common, waiting=waiting.get("reason", "Waiting"), message=waiting.get("message", ""))
    if running := state.get("running"):
        return ContainerFacts(**common, running=True, started=running.get("startedAt"))
    if ended := state.get("terminated"):
        return ContainerFacts(
            **common,
            started=_time(ended.get("startedAt")),
            finished=_time(ended.get("finishedAt")),
            exit_code=ended.get("exitCode", -1),
            reason=ended.get("reason"),
            message=ended.get("message", ""),
        )
    return ContainerFacts(**common)


def read_pod(pod: Mapping[str, Any]) -> PodFacts:
    """Reads a pod object."""
    meta, status = pod["metadata"], pod.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    disruption = conditions.get("DisruptionTarget", {})
    position = (meta.get("labels") or {}).get(COMPLETION_INDEX)
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return PodFacts(
        name=meta["name"],
        phase=status.get("phase", "Pending"),
        created=meta.get("creationTimestamp", ""),
        uid=meta.get("uid", ""),
        node=(pod.get("spec") or {}).get("nodeName"),
        deleted=meta.get("deletionTimestamp"),
        grace_seconds=meta.get("deletionGracePeriodSeconds") or 0,
        reason=status.get("reason"),
        message=status.get("message", ""),
        scheduled=scheduled.get("status") == "True",
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        position=int(position) if position is not None else None,
        disruption=(disruption.get("reason", ""), disruption.get("message", ""))
        if disruption.get("status") == "True"
        else None,
        containers={status["name"]: _container(status) for status in statuses},
    )
