"""The command `millrace`. Only what every start needs is imported here: each command brings its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from millrace.cli import deployments, options
from millrace.cli.assets_app import assets
from millrace.cli.errors import OK, Refused
from millrace.cli.perform import limit_of, perform, refuse

if TYPE_CHECKING:
    from millrace.cli.cluster import Cluster
    from millrace.cli.screen import Screen
    from millrace.cli.upload import Local

app = typer.Typer(
    name="millrace",
    help="Runs Python functions as jobs on Kubernetes. Objects are listed with kubectl: kubectl get jobruns",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(assets, name="asset")


def _print(manifests: list[Any], warnings: list[str]) -> NoReturn:
    from millrace.cli.documents import write_documents

    for warning in warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(write_documents(manifests), nl=False)
    raise typer.Exit(OK)


def _as_version(uploads: list[Local]) -> Callable[[Local], str]:
    """What takes a folder's zip: it is uploaded, and named by its version."""

    def take(local: Local) -> str:
        uploads.append(local)
        return f"{local.asset}:{local.version}"

    return take


@app.command()
def run(
    script: options.Script = None,
    *,
    file: options.Files = None,
    deployment: options.Deployed = None,
    namespace: options.Namespace = None,
    context: options.Context = None,
    follow: options.Follow = True,
    timeout: options.Timeout = None,
    force: options.Force = False,
    inputs: options.Inputs = None,
    input_type: options.InputType = None,
    outputs: options.Outputs = None,
    parameters: options.Parameters = None,
    variables: options.Variables = None,
    requirements: options.Requirements = None,
    python: options.Python = None,
    handler: options.Handler = None,
    name: options.FunctionName = None,
    entry: options.Entry = None,
    output_format: options.Format = None,
    local: options.Local = False,
    stores: options.Stores = None,
) -> None:
    """Apply manifests, make them for a script, or run a Deployment; create the JobRun and follow it to its end.

    Exit code: 0 succeeded, 1 failed, 2 refused, 3 cancelled, 124 timeout. Ctrl-C leaves the run alone; a local one it ends.
    """
    from millrace.cli.arguments import input_texts
    from millrace.cli.places import Places
    from millrace.cli.sources import ScriptOptions, manifests_of

    try:
        limit = limit_of("--timeout", timeout)
        uploads: list[Local] = []
        places, inputs = Places(stores or []), input_texts(inputs or [], input_type)
        if local:
            used = {"--context": context, "--no-follow": not follow, "--force-conflicts": force, "-o": output_format}
            places.check_local([option for option, value in used.items() if value])
            inputs, outputs = places.inputs(inputs), places.outputs(outputs or [])
        else:
            from millrace.cli.upload import local_inputs, send

            places.check_cluster()
            inputs, uploads = local_inputs(inputs)
        given = ScriptOptions(inputs, outputs, parameters, variables, requirements, python, handler, name, entry)
        placed = places.source if local else _as_version(uploads)
        manifests, source, warnings = manifests_of(
            script, file, deployment, given, namespace, placed, local=local, output_format=output_format
        )
        manifests = places.without_archive(manifests) if local and script and not stores else manifests
    except Refused as error:
        refuse(error)
    if local:
        from millrace.cli.local import Wanted, run_here

        raise typer.Exit(run_here(Wanted(manifests, source, warnings, places.folders, namespace, limit)))
    if output_format == "yaml":
        nothing = [f"-o yaml uploads nothing: {each.asset}:{each.version} is made by the run itself" for each in uploads]
        _print(manifests, warnings + nothing)

    from millrace.cli.follow import goes_on
    from millrace.cli.progress import Line
    from millrace.cli.runs import Submitted, follow_all, submit

    created: list[Any] = []

    async def work(cluster: Cluster, screen: Screen) -> int:
        if deployment:
            await deployments.must_be_there(cluster, deployment)
        screen.say([Line(f"warning: {warning}", "warn") for warning in warnings])
        for each in uploads:
            await send(cluster, screen, each)
        created.extend(await submit(cluster, screen, Submitted(manifests, source, namespace, force)))
        if follow:
            return await follow_all(cluster, screen, created, limit)
        for found in created:
            typer.echo(found.metadata.name)
        return OK

    def interrupted() -> Refused:
        return Refused("not followed any more", *(line for found in created for line in goes_on(found)))

    perform(work, namespace=namespace, context=context, interrupted=interrupted)


@app.command()
def serve(
    *,
    file: options.Files = None,
    local: options.LocalService = False,
    name: options.ServedFunction = None,
    namespace: options.Namespace = None,
    parameters: options.InitParameters = None,
    port: options.Port = 8080,
) -> None:
    """Answer HTTP with a Function's handler, on this machine, until Ctrl-C; the same runtime as in a service's pod.

    Exit code: 0 stopped, 1 it could not serve, 2 refused.
    """
    from millrace.cli import serve as command

    try:
        wanted = command.wanted(file or [], name, namespace, parameters or [], port, local=local)
    except Refused as error:
        refuse(error)
    raise typer.Exit(command.serve_here(wanted))


@app.command()
def rerun(
    run: options.Run,
    *,
    failed_shards: options.FailedShards = False,
    namespace: options.Namespace = None,
    context: options.Context = None,
    follow: options.Follow = True,
    timeout: options.Timeout = None,
) -> None:
    """Run it again: a new JobRun with the same spec, by its Function and Deployment as they are now.

    Exit code: as that of run.
    """
    from millrace.cli.names import run_name

    try:
        limit = limit_of("--timeout", timeout)
    except Refused as error:
        refuse(error)

    async def work(cluster: Cluster, screen: Screen) -> int:
        from millrace.cli.runs import again, follow_all

        created = await again(cluster, screen, run_name(run), failed_shards=failed_shards)
        if follow:
            return await follow_all(cluster, screen, [created], limit)
        typer.echo(created.metadata.name)
        return OK

    perform(work, namespace=namespace, context=context)


@app.command()
def convert(
    kind: options.Foreign,
    file: options.ForeignFile,
    *,
    namespace: options.Namespace = None,
    deployment: options.Deployment = None,
    stores: options.ConnectedStores = None,
    assets: options.SpaceAssets = None,
) -> None:
    """Print manifests for a payload of watsonx or a data asset of Azure ML; no cluster is needed.

    Exit code: 2 where anything in it has no counterpart: nothing is left out without a word.
    """
    from millrace.cli import convert as command

    try:
        given = command.options(namespace, deployment, stores or [], assets or [])
        text, notes = command.convert(kind, file, given)
    except Refused as error:
        refuse(error)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(text, nl=False)


@app.command()
def logs(
    run: options.Runs,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    follow: options.FollowLog = False,
    container: options.Container = "main",
    tail: options.TailLines = None,
) -> None:
    """Show what runs have written: the newest attempt of each. Of several each line begins with its run's name."""
    from millrace.cli import logs as command
    from millrace.cli.names import run_name

    names, wanted = [run_name(each) for each in run], command.Wanted(container, tail, follow)
    perform(lambda cluster, screen: command.logs(cluster, screen, names, wanted), namespace=namespace, context=context)


@app.command()
def wait(
    run: options.Run,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    timeout: options.Timeout = None,
) -> None:
    """Wait until a run is over.

    Exit code: 0 succeeded, 1 failed, 2 refused, 3 cancelled, 124 timeout.
    """
    from millrace.cli import logs as command
    from millrace.cli.names import run_name

    try:
        limit = limit_of("--timeout", timeout)
    except Refused as error:
        refuse(error)
    perform(
        lambda cluster, screen: command.wait(cluster, screen, run_name(run), limit), namespace=namespace, context=context
    )


@app.command()
def cancel(run: options.Run, *, namespace: options.Namespace = None, context: options.Context = None) -> None:
    """End a run. It cannot be taken back."""
    from millrace.cli import logs as command
    from millrace.cli.names import run_name

    perform(lambda cluster, screen: command.cancel(cluster, screen, run_name(run)), namespace=namespace, context=context)


@app.command()
def download(
    run: options.Run,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    output: options.OneOutput = None,
    to: options.Target = None,
    extract: options.Extract = False,
) -> None:
    """Fetch a run's outputs from their stores, checked against the checksums of its status."""
    from millrace.cli import download as command
    from millrace.cli.names import run_name

    wanted = command.Wanted(run_name(run), output or [], to, extract)
    perform(lambda cluster, screen: command.download(cluster, screen, wanted), namespace=namespace, context=context)


@app.command()
def lineage(
    reference: options.AssetVersion,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    output_format: options.DataFormat = None,
) -> None:
    """Show what a version of an asset was made of, by which runs, and what was made of it."""
    from millrace.cli import lineage as command

    perform(lambda cluster, _: command.show(cluster, reference, output_format), namespace=namespace, context=context)


app.command()(deployments.deploy)
app.command()(deployments.runs)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(f"millrace {installed('millrace')}")


if __name__ == "__main__":
    app()
