"""`millrace run`: applies what a file holds, creates its JobRuns, follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from millrace.api.jobrun import JobRun
from millrace.cli.cluster import Cluster
from millrace.cli.documents import Object, in_namespace, name_of, split
from millrace.cli.errors import OK, Refused
from millrace.cli.explain import explain
from millrace.cli.follow import Follower
from millrace.cli.lookup import existing
from millrace.cli.names import first_name, fresh
from millrace.cli.progress import Line, exit_code
from millrace.cli.screen import Screen
from millrace.kube.api import ApiError
from millrace.kube.resources import JOBRUN

TRIES = 5  # somebody else may take the name that we chose


@dataclass(frozen=True)
class Submitted:
    """What is to be applied and run."""

    manifests: list[Object]
    source: str  # where it is from, for messages
    namespace: str | None  # asked for with -n
    force: bool = False


async def apply(cluster: Cluster, screen: Screen, submitted: Submitted) -> None:
    """Applies everything; a JobRun is none of it."""
    namespaces, others, runs = split(submitted.manifests)
    if runs:
        raise Refused(f"{submitted.source}: {name_of(runs[0])} would run at once", f"millrace run -f {submitted.source}")
    await _known_kinds(cluster, others)
    for manifest in (*namespaces, *others):
        await _apply(cluster, screen, manifest, submitted)


async def submit(cluster: Cluster, screen: Screen, submitted: Submitted) -> list[JobRun]:
    """Applies everything but JobRuns, then creates those. Nothing is applied where a JobRun would be refused."""
    namespaces, others, runs = split(submitted.manifests)
    if not runs:
        raise Refused(f"{submitted.source}: no JobRun in it, so nothing would run", "kubectl apply -f applies the rest")
    runs = [in_namespace(manifest, cluster.namespace, submitted.namespace) for manifest in runs]
    await _known_kinds(cluster, others)
    for manifest in namespaces:
        await _apply(cluster, screen, manifest, submitted)
    for manifest in runs:
        await _rehearse(cluster, manifest)
    for manifest in others:
        await _apply(cluster, screen, manifest, submitted)
    return [await create(cluster, screen, manifest) for manifest in runs]


async def _known_kinds(cluster: Cluster, manifests: list[Object]) -> None:
    """Refuses a kind that the cluster does not know, unless the file itself may bring it."""
    if any(manifest["kind"] == "CustomResourceDefinition" for manifest in manifests):
        return
    for manifest in manifests:
        try:
            await cluster.kind(manifest["apiVersion"], manifest["kind"])
        except ApiError as error:
            raise explain(error, f"apply {name_of(manifest)}") from None


async def _apply(cluster: Cluster, screen: Screen, manifest: Object, submitted: Submitted) -> None:
    what = f"apply {name_of(manifest)}"
    try:
        kind = await cluster.kind(manifest["apiVersion"], manifest["kind"])
        placed = in_namespace(manifest, cluster.namespace, submitted.namespace) if kind.namespaced else manifest
        await cluster.apply_own(kind, placed, force=submitted.force)
    except ApiError as error:
        raise explain(error, what) from None
    screen.say(Line(f"{name_of(manifest)} applied", "dim"))


async def _rehearse(cluster: Cluster, manifest: Object) -> None:
    """Asks the API server whether it would take the run."""
    try:
        await cluster.post(JOBRUN, manifest, dry_run=True)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise explain(error, f"create {name_of(manifest)}") from None


async def create(cluster: Cluster, screen: Screen, manifest: Object) -> JobRun:
    """Makes the JobRun, under a fresh name where its own is taken."""
    meta = manifest["metadata"]
    wanted = meta.get("name")
    for _ in range(TRIES):
        try:
            run = JobRun.model_validate(await cluster.post(JOBRUN, manifest))
            break
        except ApiError as error:
            if error.reason != "AlreadyExists" or not wanted:
                raise explain(error, f"create {name_of(manifest)}") from None
            name = fresh(wanted, [wanted, *await cluster.names(JOBRUN, meta["namespace"])])
            manifest = {**manifest, "metadata": {**meta, "name": name}}
    else:
        raise Refused(f"cannot create JobRun {wanted}: each name that is free was taken by somebody else", "try again")
    name = run.metadata.name
    why = f" ({wanted} exists)" if wanted and name != wanted else ""
    screen.say(Line(f"JobRun {name} created in namespace {run.metadata.namespace}{why}"))
    return run


async def again(cluster: Cluster, screen: Screen, name: str, *, failed_shards: bool = False) -> JobRun:
    """A new JobRun with the spec of that one; its Function and Deployment are taken as they are now.

    failed_shards: only the shards of it that have failed; the parts of the others are taken over.
    """
    found = await existing(cluster, JOBRUN, name)
    meta = {"name": first_name(name), "namespace": cluster.namespace}
    spec = {field: value for field, value in found["spec"].items() if field not in {"cancel", "suspend"}}
    if failed_shards:
        shards = (found.get("status") or {}).get("shards") or {}
        if not shards.get("failed"):
            why = "none of its shards has failed" if shards else "it has no shards that are over"
            raise Refused(f"JobRun {name}: {why}", f"millrace rerun {name} does all of it again")
        parallel = {**spec.get("parallel", {}), "shards": shards["count"], "of": name, "only": shards["failed"]}
        spec["parallel"] = parallel
    return await create(cluster, screen, {**found, "metadata": meta, "spec": spec, "status": {}})


async def follow_all(cluster: Cluster, screen: Screen, runs: Sequence[JobRun], limit: float | None) -> int:
    """Follows the runs one after the other; the first exit code that is not 0."""
    code = OK
    for run in runs:
        if len(runs) > 1:
            screen.say(Line(f"JobRun {run.metadata.name}"))
        code = code or exit_code((await Follower(cluster, screen, run, logs=True).to_end(limit)).status.phase)
    return code
