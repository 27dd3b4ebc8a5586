"""The part of an object that decisions look at: the store keeps no more of ten thousand of them."""

from __future__ import annotations

from typing import Any

from millrace.api.base import GROUP
from millrace.domain.labels import COMPONENT

Object = dict[str, Any]

METADATA = ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp")
UNTOLD = ("reason", "failure", "functionRevision", "duration", "logs", "outputs", "notifications")
CONTAINER_STATUS = ("name", "state", "lastState", "restartCount")


def _pick(found: Object, keys: tuple[str, ...]) -> Object:
    return {key: found[key] for key in keys if key in found}


def _metadata(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = _pick(meta, (*METADATA, "labels", "ownerReferences", "deletionGracePeriodSeconds"))
    if annotations := meta.get("annotations"):
        # All but what kubectl keeps of the whole object.
        kept["annotations"] = {k: v for k, v in annotations.items() if not k.startswith("kubectl.kubernetes.io/")}
    return kept


def _trim_pod(obj: Object) -> Object:
    status = obj.get("status") or {}
    kept = _pick(status, ("phase", "reason", "message", "conditions"))
    for group in ("initContainerStatuses", "containerStatuses"):
        kept[group] = [_pick(found, CONTAINER_STATUS) for found in status.get(group) or []]
    meta = _metadata(obj)
    meta.pop("annotations", None)
    return {"metadata": meta, "spec": {"nodeName": (obj.get("spec") or {}).get("nodeName")}, "status": kept}


def _our_annotations(meta: Object) -> Object:
    return {k: v for k, v in (meta.get("annotations") or {}).items() if k.startswith(f"{GROUP}/")}


def _trim_job(obj: Object) -> Object:
    meta = _metadata(obj)
    meta["annotations"] = _our_annotations(meta)
    spec = _pick(obj.get("spec") or {}, ("suspend", "parallelism"))
    return {"metadata": meta, "spec": spec, "status": obj.get("status") or {}}


def is_terminal(run: Object) -> bool:
    """Whether the run's phase is final."""
    return run["status"].get("phase") in {"Succeeded", "Failed", "Cancelled"}


def is_untold(run: Object) -> bool:
    """Whether somebody is still to be notified of something of the run."""
    return bool((run["status"].get("notifications") or {}).get("pending"))


def _trim_finished(run: Object) -> Object:
    """Nothing of it is decided any more but when its Jobs go and, where its Deployment made it, itself and what it left;
    and what is still to be told of it.
    """
    status = _pick(run["status"], ("observedGeneration", "phase", "times"))
    if controller_uid(run):
        status |= _pick(run["status"], ("logs", "logsStore", "deleted"))
        placed = (output for output in run["status"].get("outputs", []) if "dataStore" in output)
        status["outputs"] = [_pick(output, ("name", "uri", "dataStore")) for output in placed]
    if is_untold(run):
        status |= _pick(run["status"], UNTOLD)
    return {
        "metadata": _pick(run["metadata"], (*METADATA, "ownerReferences")),
        "spec": _pick(run["spec"], ("functionRef", "deploymentRef")),
        "status": status,
    }


def trim(kind: str, obj: Object) -> Object:
    """The part of an object that decisions look at."""
    match kind:
        case "Pod":
            return _trim_pod(obj)
        case "Job":
            return _trim_job(obj)
        case "CronJob":
            meta = _pick(obj["metadata"], (*METADATA, "labels", "ownerReferences"))
            return {"metadata": meta, "spec": obj["spec"], "status": {}}
        case "ConfigMap":
            meta = _pick(obj["metadata"], (*METADATA, "labels", "ownerReferences"))
            meta["annotations"] = _our_annotations(obj["metadata"])
            of_revision = (meta.get("labels") or {}).get(COMPONENT) == "revision"
            return {"metadata": meta, **(_pick(obj, ("data",)) if of_revision else {})}
        case _:
            kept = {"metadata": _metadata(obj), "spec": obj.get("spec") or {}, "status": obj.get("status") or {}}
            return _trim_finished(kept) if kind == "JobRun" and is_terminal(kept) else kept


def controller_uid(obj: Object) -> str | None:
    """UID of the owner that controls the object."""
    owners = obj["metadata"].get("ownerReferences") or []
    return next((owner["uid"] for owner in owners if owner.get("controller")), None)
