"""`millrace deploy`, `millrace runs` and `millrace run --deployment`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from millrace.cli import options
from millrace.cli.errors import FAILED, OK, Refused
from millrace.cli.perform import limit_of, perform, refuse

if TYPE_CHECKING:
    from millrace.cli.cluster import Cluster
    from millrace.cli.screen import Screen
    from millrace.cli.sources import ScriptOptions


def deploy(
    file: options.Manifests,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    force: options.Force = False,
    timeout: options.ReadyTimeout = "60s",
) -> None:
    """Apply manifests, and wait until their Deployments are ready.

    Exit code: 0 all are ready, 1 one is not, 2 refused.
    """
    from millrace.cli.sources import from_files

    try:
        limit = limit_of("--timeout", timeout) or 0
        manifests, source = from_files(file)
    except Refused as error:
        refuse(error)

    async def work(cluster: Cluster, screen: Screen) -> int:
        from millrace.cli.documents import in_namespace
        from millrace.cli.runs import Submitted, apply

        await apply(cluster, screen, Submitted(manifests, source, namespace, force))
        ours = [m for m in manifests if m["kind"] == "Deployment" and m["apiVersion"].startswith("millrace.dev/")]
        placed = [in_namespace(manifest, cluster.namespace, namespace)["metadata"] for manifest in ours]
        ready = [await _ready(cluster, screen, meta["namespace"], meta["name"], limit) for meta in placed]
        return OK if all(ready) else FAILED

    perform(work, namespace=namespace, context=context)


async def _ready(cluster: Cluster, screen: Screen, namespace: str, name: str, limit: float) -> bool:
    from millrace.api.deployment import Deployment
    from millrace.cli.progress import Line
    from millrace.cli.ready import until_ready
    from millrace.kube.resources import DEPLOYMENT

    found, ready = await until_ready(cluster, DEPLOYMENT, namespace, name, seconds=limit, patient=True)
    if ready and ready.status == "True":
        schedule = Deployment.model_validate(found).status.schedule
        due = f": {schedule.human_readable} ({schedule.time_zone})" if schedule else ""
        due += f", next at {schedule.next[0]}" if schedule and schedule.next else ""
        run_it = f"run it: millrace run --deployment {name} -n {namespace}"
        screen.say(Line(f"Deployment {name} is ready{due}; {run_it}", "good"))
        return True
    why = f"{ready.reason}: {ready.message}" if ready else "the operator has not looked at it"
    screen.say(Line(f"Deployment {name} is not ready after {limit:.0f} seconds: {why}", "bad"))
    return False


def runs(
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    deployment: options.OfDeployment = None,
    output_format: options.Table = None,
) -> None:
    """List runs, oldest first."""

    async def work(cluster: Cluster, _screen: Screen) -> int:
        import json

        from millrace.kube.resources import JOBRUN

        found = [run async for page in cluster.pages(JOBRUN, cluster.namespace) for run in page]
        if deployment:
            found = [run for run in found if (run["spec"].get("deploymentRef") or {}).get("name") == deployment]
        found.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))
        if output_format == "json":
            typer.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2))
            return OK
        _print_table(found)
        return OK

    perform(work, namespace=namespace, context=context)


def _print_table(found: list[dict[str, Any]]) -> None:
    from datetime import UTC, datetime

    from millrace.api.jobrun import JobRun
    from millrace.cli.table import table
    from millrace.domain.clock import human, parse

    rows: list[tuple[str | None, ...]] = []
    for obj in found:
        run = JobRun.model_validate(obj)
        status, spec = run.status, run.spec
        rows.append(
            (
                run.metadata.name,
                f"mdep/{spec.deployment_ref.name}" if spec.deployment_ref else f"fn/{spec.function}",
                status.phase.value if status.phase else None,
                str(status.queue_position or ""),
                status.reason,
                status.duration,
                human(datetime.now(UTC) - parse(run.metadata.creation_timestamp)),
            )
        )
    typer.echo(table(("NAME", "OF", "PHASE", "QUEUE", "REASON", "DURATION", "AGE"), rows))


def manifests(name: str, given: ScriptOptions, *, local: bool) -> tuple[list[dict[str, Any]], str, list[str]]:
    """The JobRun of a Deployment that the options ask for; what to call it; no warnings."""
    from millrace.api.base import API_VERSION
    from millrace.cli import arguments

    of_function = {
        "--requirements": given.requirements,
        "--python": given.python,
        "--handler": given.handler,
        "--script": given.script,
        "--name": given.name,
        "--local": local,
    }
    if used := [option for option, value in of_function.items() if value]:
        raise Refused(f"{', '.join(used)}: not with --deployment; its Function says what is run")
    said = {
        "parameters": dict(map(arguments.parameter, given.parameters or [])),
        "environmentVariables": dict(map(arguments.variable, given.variables or [])),
        "inputs": arguments.unique("--input", [arguments.input_entry(text) for text in given.inputs or []]),
        "outputs": arguments.unique("--output", [arguments.output_entry(text) for text in given.outputs or []]),
    }
    spec = {"deploymentRef": {"name": name}, **{field: value for field, value in said.items() if value}}
    run = {"apiVersion": API_VERSION, "kind": "JobRun", "metadata": {"name": name}, "spec": spec}
    return [run], f"--deployment {name}", []


async def must_be_there(cluster: Cluster, name: str) -> None:
    """Refused where there is no such Deployment: the run would wait for it."""
    from millrace.cli.lookup import existing
    from millrace.kube.resources import DEPLOYMENT

    await existing(cluster, DEPLOYMENT, name)
