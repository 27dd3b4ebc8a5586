"""What must be true of every operator and its runs, whatever befell them: one set of questions for all faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from support.apiserver import Object
from support.waiting import wait_for

if TYPE_CHECKING:
    from integration.operator.rig import Rig

ORPHANS = 30  # seconds after which nothing of a deleted run is left
OVER = {"Succeeded": "Complete", "Failed": "Failed", "Cancelled": "Failed"}  # phase, and the condition of its newest Job

# All that the operator may write. There is no rule for Secrets, and none for a spec.
WRITES = {
    ("create", "configmaps"),
    ("create", "cronjobs"),
    ("create", "dataassets"),
    ("create", "events"),
    ("create", "jobruns"),
    ("create", "jobs"),
    ("create", "leases"),
    ("create", "selfsubjectaccessreviews"),
    ("delete", "configmaps"),
    ("delete", "cronjobs"),
    ("delete", "jobs"),
    ("patch", "configmaps"),
    ("patch", "cronjobs"),
    ("patch", "dataassets/status"),
    ("patch", "datastores/status"),
    ("patch", "deployments/status"),
    ("delete", "jobruns"),
    ("patch", "functions/status"),
    ("patch", "jobruns/status"),
    ("patch", "jobs"),
    ("update", "leases"),
}


def check(rig: Rig) -> None:
    """Fails where the operator did what it must not, a Job was made twice, or its runs and their Jobs do not agree."""
    requests = list(rig.proxy.log)
    bugs = [found for found in rig.events if found.get("event") == "bug" or "Traceback" in json.dumps(found)]
    assert not bugs, bugs[0]
    assert "Traceback" not in rig.log, rig.log[-5000:]
    assert not [str(found) for found in requests if found.resource.startswith("secrets")], "it asked for Secrets"
    written = {(found.verb, found.resource) for found in requests if found.verb not in {"get", "list", "watch"}}
    assert written <= WRITES, f"not expected: {written - WRITES}"
    forbidden = [str(found) for found in requests if found.status == 403]
    assert not forbidden, f"it asked for more than the chart gives: {forbidden}"
    twice = {name: count for name, count in rig.made().items() if count > 1}
    assert not twice, f"Jobs made more than once: {twice}"
    wait_for("nothing is left over", lambda: _agree(rig), seconds=ORPHANS)


def _agree(rig: Rig) -> bool:
    """Whether runs, Jobs and pods agree; those that are being deleted do not count."""
    runs, jobs, pods = (
        {found["metadata"]["uid"]: found for found in rig.api.list(resource, rig.namespace)}
        for resource in ("jobruns", "jobs", "pods")
    )
    left = {uid: job for uid, job in jobs.items() if "deletionTimestamp" not in job["metadata"]}
    orphans = [job for job in left.values() if _owner(job, "JobRun") not in {"", *runs}]
    orphans += [pod for pod in pods.values() if _owner(pod, "Job") not in {"", *jobs}]
    return not orphans and all(_over(run, left) for run in runs.values() if run.get("status", {}).get("phase") in OVER)


def _owner(obj: Object, kind: str) -> str:
    """UID of the owner of that kind; empty: none."""
    owners = obj["metadata"].get("ownerReferences", [])
    return next((owner["uid"] for owner in owners if owner["kind"] == kind), "")


def _over(run: Object, jobs: dict[str, Object]) -> bool:
    """Whether the Jobs of a run that is over are what its status says: none goes on, and the newest ended as the run."""
    status, uid = run["status"], run["metadata"]["uid"]
    own = {job["metadata"]["name"]: job for job in jobs.values() if _owner(job, "JobRun") == uid}
    steps = {name for name, job in own.items() if "millrace.dev/step" in job["metadata"]["labels"]}
    if not all(_true(own.pop(name)) for name in steps):
        return False
    if len(own) > status.get("attempt", 0):
        return False
    newest = own.pop(status.get("jobName", ""), None)
    if newest and "shards" in status:  # of which some may fail: its own verdict is not the run's
        return bool(_true(newest)) and all(_true(job) for job in own.values())
    return (newest is None or OVER[status["phase"]] in _true(newest)) and all(_true(job) for job in own.values())


def _true(job: Object) -> set[str]:
    """The conditions of a Job by which it is over."""
    conditions = job.get("status", {}).get("conditions", [])
    found = {condition["type"] for condition in conditions if condition["status"] == "True"} & {"Complete", "Failed"}
    return found or ({"Failed"} if job["spec"].get("suspend") else set())
