"""The Jobs of a parallel run: its shards are one Indexed Job; a plan goes before them, a merge follows.

All are made at once, those that wait as suspended ones: so the run has its slot all the time, and what it is made of is
settled when it is admitted.
"""

from __future__ import annotations

import json

from millrace import protocol as p
from millrace.build.job import DEADLINE_LIMIT, Manifest, failure_policy, next_job, run_job
from millrace.build.pod import compact
from millrace.domain.labels import COMPONENT, SHARDS, STEP
from millrace.domain.names import job_name
from millrace.domain.resolved import Resolved
from millrace.domain.settings import Settings
from millrace.domain.shards import Shards, Step

CONTAINERS = {Step.PLAN: p.STAGE, Step.MERGE: p.COLLECT}  # whose place in the pod a step has, with its stores and rights
NOT_INDEXED = ("backoffLimit", "podFailurePolicy")  # they would end all shards with the first that fails


def run_jobs(resolved: Resolved, settings: Settings, attempt: int) -> list[Manifest]:
    """What is made of a run, in this order: the last Job is the attempt's own. Raises TooLarge."""
    job = run_job(resolved, settings, attempt)
    parallel = resolved.run.spec.parallel
    if parallel is None:
        return [job]
    steps = []
    if resolved.outputs:
        steps.append(_step(job, resolved.run.metadata.name, Step.MERGE, suspend=True))
    if resolved.plan_store:
        steps.append(_step(job, resolved.run.metadata.name, Step.PLAN))
    shards = Shards(count=parallel.shards, tolerated=parallel.max_failed_shards, only=parallel.only)
    waits = resolved.plan_store is not None
    parallelism = parallel.parallelism or parallel.shards
    rounds = -(-len(shards.mine) // parallelism)  # no further attempt has more
    job["spec"]["activeDeadlineSeconds"] = min(job["spec"]["activeDeadlineSeconds"] * rounds, DEADLINE_LIMIT)
    return [*steps, _indexed(job, shards, parallelism, suspend=waits)]


def next_shards(previous: Manifest, run: str, attempt: int, shards: Shards) -> Manifest:
    """The Job of a further attempt at some shards, made from the previous one's."""
    job = next_job(previous, run, attempt, 0, only=shards.only)
    return _indexed(job, shards, previous["spec"]["parallelism"])


def _indexed(job: Manifest, shards: Shards, parallelism: int, *, suspend: bool = False) -> Manifest:
    """A pod for each shard. None is tried again inside of the Job: the operator alone decides on the next attempt."""
    meta = job["metadata"]
    count = len(shards.mine)
    spec = {key: value for key, value in job["spec"].items() if key not in NOT_INDEXED}
    spec |= {
        "completionMode": "Indexed",
        "completions": count,
        "parallelism": min(parallelism, count),
        "backoffLimitPerIndex": 0,
        **({"suspend": True} if suspend else {}),
    }
    annotations = {**meta["annotations"], SHARDS: compact(shards.dump())}
    return {**job, "metadata": {**meta, "annotations": annotations}, "spec": spec}


def _step(job: Manifest, run: str, step: Step, *, suspend: bool = False) -> Manifest:
    """The Job of a step: the container of the shards' pod that knows the stores, with another program."""
    copy: Manifest = json.loads(json.dumps(job))
    pod = copy["spec"]["template"]["spec"]
    found = next(each for each in (*pod["initContainers"], *pod["containers"]) if each["name"] == CONTAINERS[step])
    used = {mount["name"] for mount in found["volumeMounts"]}
    pod["volumes"] = [volume for volume in pod["volumes"] if volume["name"] in used]
    pod["containers"] = [{**found, "args": [str(step)]}]
    del pod["initContainers"]
    labels = {**copy["metadata"]["labels"], COMPONENT: "chore", STEP: str(step)}
    copy["metadata"] |= {"name": job_name(run, 1, step), "labels": labels}
    copy["spec"]["template"]["metadata"]["labels"] = labels
    copy["spec"]["podFailurePolicy"] = failure_policy([found["name"]])
    return {**copy, "spec": {**copy["spec"], **({"suspend": True} if suspend else {})}}
