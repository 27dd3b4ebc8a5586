"""What a kubelet writes into a pod's status, in the order in which things happen to the pod."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from integration.operator.rig import PATIENCE, POLL, Rig
from support.apiserver import Object
from support.waiting import wait_for

JOB_LABEL = "batch.kubernetes.io/job-name"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"


def stamp() -> str:
    """Now, as the kubelet writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Pod:
    """The pod of a Job, of an Indexed one that with the completion index."""

    def __init__(self, rig: Rig, job: str, index: int | None = None, *, seconds: float = PATIENCE) -> None:
        self._rig = rig
        self.object: Object = wait_for(f"the pod of {job}", lambda: _pod(rig, job, index), seconds=seconds, poll=POLL)
        self.name: str = self.object["metadata"]["name"]
        spec = self.object["spec"]
        self._init = {container["name"] for container in spec.get("initContainers", [])}
        self._states: dict[str, Object] = {
            container["name"]: {"waiting": {"reason": "PodInitializing"}}
            for container in (*spec.get("initContainers", []), *spec["containers"])
        }
        self._conditions: dict[str, Object] = {}
        self._phase = "Pending"

    def scheduled(self) -> Pod:
        """It has a node."""
        return self.condition("PodScheduled", "True")

    def condition(self, kind: str, status: str, reason: str = "", message: str = "") -> Pod:
        """A condition."""
        self._conditions[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": stamp(),
        }
        return self

    def waiting(self, container: str, reason: str, message: str = "") -> Pod:
        """A container that does not start."""
        self._states[container] = {"waiting": {"reason": reason, "message": message}}
        return self

    def running(self, container: str = "main") -> Pod:
        """A container that runs."""
        self._phase = "Pending" if container in self._init else "Running"
        self._states[container] = {"running": {"startedAt": stamp()}}
        return self

    def ended(self, container: str = "main", code: int = 0, report: Object | None = None, reason: str = "") -> Pod:
        """A container that is over, with its termination message."""
        since = self._states[container].get("running", {}).get("startedAt", stamp())
        self._states[container] = {
            "terminated": {
                "exitCode": code,
                "reason": reason or ("Error" if code else "Completed"),
                "message": json.dumps(report) if report else "",
                "startedAt": since,
                "finishedAt": stamp(),
            }
        }
        return self

    def over(self, phase: str = "Succeeded") -> Pod:
        """All its containers are over."""
        self._phase = phase
        return self

    def write(self) -> Pod:
        """Writes the status."""
        statuses: dict[str, list[Any]] = {"initContainerStatuses": [], "containerStatuses": []}
        for name, state in self._states.items():
            group = statuses["initContainerStatuses" if name in self._init else "containerStatuses"]
            group.append(
                {
                    "name": name,
                    "image": "x",
                    "imageID": "",
                    "ready": "running" in state,
                    "restartCount": 0,
                    "state": state,
                }
            )
        status = {"phase": self._phase, "conditions": [*self._conditions.values()], **statuses}
        self._rig.api.merge("pods/status", self._rig.namespace, self.name, {"status": status})
        return self


def _pod(rig: Rig, job: str, index: int | None) -> Object | None:
    rig.server.check()
    which = f"{JOB_LABEL}={job}" if index is None else f"{JOB_LABEL}={job},{INDEX_LABEL}={index}"
    found = rig.api.list("pods", rig.namespace, labelSelector=which)
    return next((pod for pod in found if "deletionTimestamp" not in pod["metadata"]), None)


def pods(rig: Rig, job: str) -> list[str]:
    """Names of the pods of a Job."""
    found = rig.api.list("pods", rig.namespace, labelSelector=f"{JOB_LABEL}={job}")
    return [pod["metadata"]["name"] for pod in found]


def succeed(rig: Rig, job: str) -> None:
    """The pod of a run without data goes through its life."""
    Pod(rig, job).scheduled().running().write().ended().over().write()


def answer_probe(rig: Rig, store: str) -> None:
    """The probe of a DataStore finds it well."""
    Pod(rig, f"{store}-probe-1").scheduled().running("probe").write().ended("probe").over().write()


def publish(rig: Rig, job: str, *outputs: str) -> None:
    """The pod of a run with outputs goes through its life."""
    report = {"outputs": [{"name": name, "uri": f"s3://b/{name}", "bytes": 1, "files": 1} for name in outputs]}
    pod = Pod(rig, job).scheduled().running("main").running("collect").write()
    pod.ended("main").ended("collect", report=report).over().write()


def fail(rig: Rig, job: str, code: int = 1) -> None:
    """The same, with an error of user code."""
    Pod(rig, job).scheduled().running().write().ended(code=code).over("Failed").write()
