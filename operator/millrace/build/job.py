"""The Jobs of a run: one for each attempt; of a parallel run also one before its shards and one after them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from millrace import protocol as p
from millrace.api.base import API_VERSION, Metadata, seconds
from millrace.build import pod, stores
from millrace.build.payload import payload
from millrace.build.plan import for_attempt
from millrace.domain.labels import (
    AS_MADE,
    ASSETS,
    ATTEMPT,
    CHARGED,
    COMPONENT,
    DEPLOYMENT,
    DEPLOYMENT_ID,
    DEPLOYMENT_REVISION,
    FUNCTION,
    JOB_ID,
    JOBRUN,
    KUEUE_QUEUE,
    MANAGED_BY,
    PLACES,
    PROFILE,
    REVISION,
    STEP,
)
from millrace.domain.names import job_name, label_value
from millrace.domain.resolved import Resolved
from millrace.domain.settings import Settings

Manifest = dict[str, Any]


DEADLINE_LIMIT = 2**31 - 1  # 68 years; the Job controller counts in nanoseconds and would overflow
_KUEUES = ("nodeSelector", "tolerations")  # of a pod: what Kueue adds to at admission
JOB_LIMIT = 1_000_000  # bytes; etcd takes 1.5 MiB, and the API server adds its defaults


class TooLarge(Exception):
    """The payload does not fit into the pod's annotations, or the Job not into etcd."""


def owner(kind: str, metadata: Metadata) -> Manifest:
    """The owner reference of a child that we made."""
    return {
        "apiVersion": API_VERSION,
        "kind": kind,
        "name": metadata.name,
        "uid": metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def failure_policy(containers: list[str]) -> Manifest:
    """FailJob rules only, one per class, so that the class stands in the Job's condition when the pod is gone.

    With Ignore the Job controller would make pods without limit inside one Job (evidence: an evicted pod that provokes
    its eviction loops for ever), so the operator alone decides on the next attempt.
    """
    rules: list[Manifest] = [{"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]
    rules += [
        {"action": "FailJob", "onExitCodes": {"containerName": name, "operator": "NotIn", "values": [0]}}
        for name in containers
    ]
    return {"rules": rules}


def _deadline(resolved: Resolved) -> int:
    # A backstop for a pod that nobody ends while we are away: all phases at their limits, and an hour.
    timeouts = resolved.run.spec.timeouts
    phases = (timeouts.queued, timeouts.scheduling, timeouts.staging, timeouts.running, timeouts.uploading)
    return min(sum(seconds(phase) for phase in phases) + 3600, DEADLINE_LIMIT)


def run_job(resolved: Resolved, settings: Settings, attempt: int) -> Manifest:
    """The Job of an attempt.

    Raises TooLarge when plan and payload together have more than 192 KiB, or the whole more than etcd takes.
    """
    run = resolved.run
    labels = {
        **MANAGED_BY,
        COMPONENT: "run",
        FUNCTION: label_value(resolved.function.metadata.name),
        JOBRUN: label_value(run.metadata.name),
        JOB_ID: run.metadata.uid,
        ATTEMPT: str(attempt),
        **stores.identity_labels(resolved.stores),
    }
    about = {REVISION: resolved.revision}
    if origin := resolved.origin:
        labels |= {DEPLOYMENT: label_value(origin.name), DEPLOYMENT_ID: origin.uid}
        about[DEPLOYMENT_REVISION] = origin.revision
    annotations = pod.pod_annotations(resolved, settings, payload(resolved), attempt)
    size = sum(len(value.encode()) for value in annotations.values())
    if size > p.PAYLOAD_LIMIT:
        raise TooLarge(
            f"parameters, inline data and references take {size} bytes; {p.PAYLOAD_LIMIT} fit into a run. "
            "Put the data into a DataStore and name it under inputs"
        )
    spec = pod.pod_spec(resolved, settings)
    for container in spec["containers"]:
        if container["name"] == p.MAIN:
            container["env"].append({"name": "MILLRACE_ATTEMPT", "value": str(attempt)})
    if resolved.profile:
        about[PROFILE] = pod.compact(resolved.profile)
    if resolved.assets:
        about[ASSETS] = pod.compact(resolved.assets)
    if resolved.places:
        about[PLACES] = pod.compact(resolved.places)
    # Its Job alone: Kueue would take a pod with this label for one more workload.
    held = {KUEUE_QUEUE: resolved.kueue_queue} if resolved.kueue_queue else {}
    # Noted on each: Kueue takes some that were not made for it.
    kueues = {key: spec[key] for key in _KUEUES if key in spec}
    about[AS_MADE] = pod.compact({"pod": kueues, "activeDeadlineSeconds": _deadline(resolved)})
    names = [container["name"] for container in (*spec["containers"], *spec.get("initContainers", []))]
    if (size := len(pod.compact(spec).encode())) > JOB_LIMIT:
        raise TooLarge(f"the pod takes {size} bytes; {JOB_LIMIT} are possible. Shorten env, volumes and affinity")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run.metadata.name, attempt),
            "namespace": run.metadata.namespace,
            "labels": {**labels, **held},
            "annotations": about,
            "ownerReferences": [owner("JobRun", run.metadata)],
        },
        "spec": {
            **({"suspend": True} if held else {}),
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": failure_policy(names),
            "activeDeadlineSeconds": _deadline(resolved),
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }


def next_job(previous: Manifest, run: str, attempt: int, charged: int, *, only: Sequence[int] = ()) -> Manifest:
    """The Job of a further attempt: the previous one's, which is the run's snapshot, under the attempt's name.

    It keeps how many attempts before it were `charged`: what the pods of those have shown goes with them. `only`: the
    shards of it, where the run has shards.
    """
    template = previous["spec"]["template"]
    kept = (*MANAGED_BY, COMPONENT, STEP, FUNCTION, DEPLOYMENT, DEPLOYMENT_ID, JOBRUN, JOB_ID, stores.AZURE_IDENTITY)
    labels = {key: value for key, value in previous["metadata"]["labels"].items() if key in kept} | {ATTEMPT: str(attempt)}
    held = {key: value for key, value in previous["metadata"]["labels"].items() if key == KUEUE_QUEUE}
    as_made: Manifest = {}
    plan = for_attempt(json.loads(template["metadata"]["annotations"][p.PLAN_ANNOTATION]), attempt, only)
    annotations = {**template["metadata"]["annotations"], p.PLAN_ANNOTATION: pod.compact(plan)}
    spec = json.loads(json.dumps(template["spec"]))
    facts = (AS_MADE, ASSETS, DEPLOYMENT_REVISION, PLACES, PROFILE, REVISION)
    about = {key: value for key, value in previous["metadata"]["annotations"].items() if key in facts}
    if held:
        # Else it would be bound to the nodes for which Kueue has admitted the previous one, or end as we ended that.
        as_made = json.loads(about[AS_MADE])
        spec = {key: value for key, value in spec.items() if key not in _KUEUES} | as_made["pod"]
    for container in spec["containers"]:
        for variable in container.get("env", []):
            if variable["name"] == "MILLRACE_ATTEMPT":
                variable["value"] = str(attempt)
    fields = ("backoffLimit", "podReplacementPolicy", "podFailurePolicy", "activeDeadlineSeconds")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(run, attempt, labels.get(STEP, "")),
            "namespace": previous["metadata"]["namespace"],
            "labels": {**labels, **held},
            "annotations": {**about, CHARGED: str(charged)},
            "ownerReferences": previous["metadata"]["ownerReferences"],
        },
        "spec": {
            **({"suspend": True} if held else {}),
            **{field: as_made.get(field, previous["spec"][field]) for field in fields if field in previous["spec"]},
            "template": {"metadata": {"labels": labels, "annotations": annotations}, "spec": spec},
        },
    }
