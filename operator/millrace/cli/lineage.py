"""`millrace lineage`: the graph around a version of an asset, as a tree or for programs."""

from __future__ import annotations

from collections.abc import Iterator

import typer

from millrace.api.jobrun import JobRun
from millrace.cli.assets import find, read_assets, write
from millrace.cli.cluster import Cluster
from millrace.cli.errors import OK
from millrace.cli.explain import explain
from millrace.domain.lineage import Lineage, Read, lineage
from millrace.kube.api import ApiError
from millrace.kube.resources import JOBRUN

Branch = tuple[str, list["Branch"]]  # a line, and what is below it


async def show(cluster: Cluster, text: str, output_format: str | None) -> int:
    """Prints it."""
    assets = await read_assets(cluster)
    asset = find(assets, text, cluster.namespace)
    try:
        runs = [JobRun.model_validate(item) async for page in cluster.pages(JOBRUN, cluster.namespace) for item in page]
    except ApiError as error:
        raise explain(error, "list the JobRuns") from None
    key = asset.metadata.uid
    found = lineage(assets, runs).around(key)
    if output_format:
        write(found.dump(key), output_format)
    else:
        typer.echo("\n".join(tree(found, key)))
    return OK


def tree(found: Lineage, key: str) -> Iterator[str]:
    """The lines: what the version comes from, and what came of it. Pure."""
    yield str(found.versions[key])
    shown: set[str] = set()
    maker = found.versions[key].maker
    parts: list[Branch] = []
    if maker:
        parts.append(("made by", [_run(found, maker, shown, ahead=False)]))
    if readers := found.readers(key):
        parts.append(("read by", [_run(found, uid, shown, ahead=True) for uid in readers]))
    yield from _lines(parts or [("no run of this namespace has made or read it", [])], "")


def _lines(branches: list[Branch], indent: str) -> Iterator[str]:
    for number, (line, below) in enumerate(branches, 1):
        last = number == len(branches)
        yield f"{indent}{'└─' if last else '├─'} {line}"
        yield from _lines(below, indent + ("   " if last else "│  "))


def _run(found: Lineage, uid: str, shown: set[str], *, ahead: bool) -> Branch:
    run = found.runs[uid]
    about = f"run {run.name}, Function {run.function}" + (f", revision {run.revision}" if run.revision else "")
    line = about + ("" if run.there else " (deleted)")
    if uid in shown:
        return f"{line}: see above", []
    shown.add(uid)
    if ahead:
        return line, [_version(found, key, "", shown, ahead=True) for key in run.made]
    return line, [_read(found, each, shown) for each in run.reads]


def _read(found: Lineage, read: Read, shown: set[str]) -> Branch:
    if read.version:
        return _version(found, read.version, f"{read.name}: ", shown, ahead=False)
    return f"{read.name}: {read.reference or 'not recorded'}", []


def _version(found: Lineage, key: str, title: str, shown: set[str], *, ahead: bool) -> Branch:
    version = found.versions[key]
    line = f"{title}{version}" + ("" if version.there else " (deleted)")
    maker = [version.maker] if version.maker and version.maker in found.runs else []
    return line, [_run(found, uid, shown, ahead=ahead) for uid in (found.readers(key) if ahead else maker)]
