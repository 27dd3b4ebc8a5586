"""The commands `millrace asset …`. Only what every start needs is imported here."""

from __future__ import annotations

import typer

from millrace.cli import options
from millrace.cli.perform import perform, refuse

assets = typer.Typer(help="Versions of data assets.", no_args_is_help=True)


@assets.command("list")
def list_(
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    output_format: options.DataFormat = None,
) -> None:
    """List the versions of all assets."""
    from millrace.cli import assets as command

    perform(lambda cluster, _: command.list_all(cluster, output_format), namespace=namespace, context=context)


@assets.command()
def show(
    reference: options.AssetVersion,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    output_format: options.DataFormat = None,
) -> None:
    """Show a version: where it is, how much it is, who made it."""
    from millrace.cli import assets as command

    perform(lambda cluster, _: command.show(cluster, reference, output_format), namespace=namespace, context=context)


@assets.command()
def create(file: options.AssetFiles, *, namespace: options.Namespace = None, context: options.Context = None) -> None:
    """Make versions from manifests; print NAME@VERSION of each once it is Ready. All are checked before one is made."""
    from millrace.cli import assets as command
    from millrace.cli.errors import Refused
    from millrace.cli.sources import from_files

    try:
        manifests, _ = from_files(file)
    except Refused as error:
        refuse(error)
    perform(lambda cluster, _: command.create(cluster, manifests, namespace), namespace=namespace, context=context)


@assets.command()
def download(
    reference: options.AssetVersion,
    *,
    namespace: options.Namespace = None,
    context: options.Context = None,
    to: options.AssetTarget = None,
) -> None:
    """Fetch a version's data from its store, checked against the checksums that are known."""
    from millrace.cli import assets as command

    perform(lambda cluster, screen: command.download(cluster, screen, reference, to), namespace=namespace, context=context)
