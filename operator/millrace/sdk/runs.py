"""Runs: started, looked at, waited for, ended, and what they wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from millrace.api.base import API_VERSION
from millrace.api.jobrun import JobRun
from millrace.cli import arguments, download
from millrace.cli import logs as log_commands
from millrace.cli.cluster import Cluster
from millrace.cli.errors import Refused
from millrace.cli.follow import Follower, read_run
from millrace.cli.local import run_quietly
from millrace.cli.lookup import existing
from millrace.cli.program import Quiet, call
from millrace.cli.runs import create
from millrace.kube.resources import DATASTORE, DEPLOYMENT, FUNCTION, JOBRUN
from millrace.sdk.names import Object, object_name, said


def run(
    *,
    deployment_name: str | None = None,
    pipeline_name: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    outputs: Mapping[str, str | None] | None = None,
    local_execution: bool = False,
    stores: Mapping[str, str | Path] | None = None,
    namespace: str | None = None,
) -> Object:
    """Starts a run of a Deployment or of a Function; what `get_run` says of it, which is not over yet.

    `inputs` are references by name (STORE/paths/PATH, ASSET@latest, https://…), `outputs` STORE/paths/PATH, or None for an
    asset of that name. With `local_execution` it runs here, by the Function that the cluster has, and is over on return;
    `stores` are folders that stand for its stores.
    """
    if (deployment_name is None) == (pipeline_name is None):
        raise Refused("exactly one of deployment_name, pipeline_name must be given")
    if stores and not local_execution:
        raise Refused("stores: folders stand for stores with local_execution=True only")
    spec = said(
        deploymentRef=deployment_name and {"name": object_name(deployment_name)},
        functionRef=pipeline_name and {"name": object_name(pipeline_name)},
        parameters=dict(parameters or {}) or None,
        inputs=[arguments.input_entry(f"{name}={where}") for name, where in (inputs or {}).items()] or None,
        outputs=[arguments.output_entry(f"{name}={to}" if to else name) for name, to in (outputs or {}).items()] or None,
    )
    folders = {name: Path(folder).resolve() for name, folder in (stores or {}).items()}

    async def work(cluster: Cluster) -> Object:
        kind, name = (DEPLOYMENT, deployment_name) if deployment_name else (FUNCTION, pipeline_name)
        subject = await existing(cluster, kind, object_name(str(name)))
        manifest: Object = {
            "apiVersion": API_VERSION,
            "kind": "JobRun",
            "metadata": {"name": subject["metadata"]["name"], "namespace": cluster.namespace},
            "spec": spec,
        }
        if not local_execution:
            return _run(await create(cluster, Quiet(), manifest))
        return _run(await run_quietly([*await _around(cluster, subject), manifest], folders))

    return call(work, namespace)


def get_run(*, run_name: str, namespace: str | None = None) -> Object:
    """Its name, phase, reason and message of a failure, outputs with their addresses, address of its logs."""

    async def work(cluster: Cluster) -> Object:
        return _run(await read_run(cluster, run_name))

    return call(work, namespace)


def list_runs(*, deployment_name: str | None = None, namespace: str | None = None) -> list[Object]:
    """What `get_run` says, of all runs or those of a Deployment, oldest first."""
    named = deployment_name and object_name(deployment_name)

    async def work(cluster: Cluster) -> list[Object]:
        found = [obj async for page in cluster.pages(JOBRUN, cluster.namespace) for obj in page]
        found = [obj for obj in found if not named or (obj["spec"].get("deploymentRef") or {}).get("name") == named]
        found.sort(key=lambda obj: (obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]))
        return [_run(JobRun.model_validate(obj)) for obj in found]

    return call(work, namespace)


def wait(*, run_name: str, timeout: float | None = None, namespace: str | None = None) -> Object:
    """What `get_run` says when the run is over. Refused after `timeout` seconds: the run goes on."""

    async def work(cluster: Cluster) -> Object:
        follower = Follower(cluster, Quiet(), await read_run(cluster, run_name), logs=False)
        return _run(await follower.to_end(timeout))

    return call(work, namespace)


def cancel(*, run_name: str, namespace: str | None = None) -> Object:
    """Asks for the end of a run; one that is over stays as it is."""

    async def work(cluster: Cluster) -> Object:
        await log_commands.cancel(cluster, Quiet(), run_name)
        return {"name": run_name}

    return call(work, namespace)


def logs(*, run_name: str, container: str = "main", namespace: str | None = None) -> str:
    """What a container of the run's newest attempt has written until now, while its pod is there."""

    async def work(cluster: Cluster) -> str:
        screen = Quiet()
        await log_commands.show(cluster, screen, run_name, container, None)
        return screen.text

    return call(work, namespace)


def results(*, run_name: str, to: str | Path | None = None, namespace: str | None = None) -> dict[str, Path]:
    """Fetches a run's outputs into the folder `to` (None: one of the run's name), unpacked: their folders by name."""

    async def work(cluster: Cluster) -> dict[str, Path]:
        found = await read_run(cluster, run_name)
        wanted = download.Wanted(run_name, [], Path(to) if to else None, extract=True)
        await download.download(cluster, Quiet(), wanted)
        return {output.name: wanted.folder / output.name for output in download.choose(found, [])}

    return call(work, namespace)


async def _around(cluster: Cluster, subject: Object) -> list[Object]:
    """What a run here needs besides itself: its Function, its Deployment, the stores."""
    stores = [obj async for page in cluster.pages(DATASTORE, cluster.namespace) for obj in page]
    named = subject["spec"].get("functionRef")
    functions = [await existing(cluster, FUNCTION, named["name"])] if named else []
    return [*stores, *functions, subject]


def _run(found: JobRun) -> Object:
    status, failure = found.status, found.status.failure
    return said(
        name=found.metadata.name,
        phase=status.phase and status.phase.value,
        reason=failure.reason if failure else status.reason,
        message=failure and failure.message,
        outputs=[output.dump() for output in status.outputs],
        logs=status.logs,
    )
