"""The commands of hack/images."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster import tools
from cluster.context import CACHE, HACK, Cluster
from cluster.shell import Fail, locked, run, run_long, say

from . import base, layers, oci
from .oci import Made
from .spec import HOME, IMAGES, PREFIX


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="hack/images",
        description=f"Container images {PREFIX}/NAME:TAG from this checkout: " + ", ".join(IMAGES) + ". "
        "The tag is the hash of all that goes in: the same input is not built again, another one has another tag.",
        epilog=f"Bases and dependencies are cached in {HOME}. Needs mmdebstrap, skopeo and umoci; installs them on Debian.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for function in (build, load, push, list_):
        sub = commands.add_parser(function.__name__.rstrip("_"), help=function.__doc__, description=function.__doc__)
        if function is push:
            sub.add_argument("registry", metavar="REGISTRY", help="host[:port][/path]")
        if function is not list_:
            sub.add_argument("--fresh", action="store_true", help="make the bases anew, from Debian's packages of today")
        names = ", ".join(IMAGES)
        sub.add_argument("--only", action="append", choices=IMAGES, metavar="NAME", help=f"this image; one of {names}")
        sub.set_defaults(function=function)
    options = vars(parser.parse_args())
    try:
        options["only"] = options["only"] or list(IMAGES)
        options.pop("function")(**options)
    except Fail as failure:
        print(f"hack/images: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def build(only: list[str], fresh: bool) -> None:
    """build what changed, and print the names"""
    for made in build_all(only, fresh=fresh):
        print(made.reference)


def load(only: list[str], fresh: bool) -> None:
    """build what changed, and load it into the cluster of hack/cluster"""
    for made in loaded(build_all(only, fresh=fresh)):
        print(made.reference)


def loaded(images: list[Made]) -> list[Made]:
    """Into the nodes, unless all of them say that they have it."""
    there = _on_nodes()
    missing = [made for made in images if made.reference not in there]
    if missing:
        with tempfile.TemporaryDirectory(dir=HOME) as folder:
            archive = Path(folder) / "images.tar"
            oci.archive(missing, archive)
            run(HACK / "cluster", "load", archive)
        say("loaded " + ", ".join(made.image.name for made in missing))
    return images


def _on_nodes() -> set[str]:
    """The images that every node has, as its kubelet said within the last seconds."""
    kubeconfig = Cluster().kubeconfig
    if not kubeconfig.exists():
        raise Fail("no cluster: `hack/cluster up` first")
    nodes = run(tools.binary("kubectl"), "--kubeconfig", kubeconfig, "get", "nodes", "--output=json").stdout
    each = [
        {name for image in node["status"].get("images", ()) for name in image.get("names", ())}
        for node in json.loads(nodes)["items"]
    ]
    return set.intersection(*each) if each else set()


def push(registry: str, only: list[str], fresh: bool) -> None:
    """build what changed, and push it to REGISTRY/NAME:TAG"""
    for made in build_all(only, fresh=fresh):
        pushed = oci.push(made, registry)
        say("pushed")
        print(pushed)


def list_(only: list[str]) -> None:
    """print name, tag, compressed size and digest; builds what is not there"""
    say.quiet_stdout = True
    rows = [("NAME", "TAG", "SIZE", "DIGEST")]
    images = build_all(only)
    rows += [(f"{PREFIX}/{made.image.name}", made.tag, f"{made.size / 1e6:.1f}MB", made.digest) for made in images]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def build_all(only: list[str], *, fresh: bool = False) -> list[Made]:
    images = [IMAGES[name] for name in only]
    with locked(CACHE / "lock" / "images"), ThreadPoolExecutor(2) as pool:
        _install_tools()
        tools.uv()
        wanted = list(dict.fromkeys(image.base for image in images))
        bases = dict(zip(wanted, pool.map(lambda wish: base.build(wish, fresh=fresh), wanted), strict=True))
        dependencies = list(pool.map(lambda image: layers.dependencies(image, bases[image.base]), images))
        sources = list(pool.map(lambda image: layers.source(image, bases[image.base]), images))
        made = []
        for image, *above in zip(images, dependencies, sources, strict=True):
            below = bases[image.base]
            made.append(oci.assemble(image, [(below.digest, below.layer), *((path.stem, path) for path in above if path)]))
        oci.tidy()
    return made


def _install_tools() -> None:
    missing = oci.tools_missing()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Fail("not here: " + ", ".join(missing) + "; images are built with them, on Debian or Ubuntu")
    log, environment = HOME / "log" / "apt.log", os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with locked(CACHE / "lock" / "apt"):
        run_long("refreshing the package lists", ["apt-get", "-q", "update"], log, env=environment)
        words = ["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing]
        run_long("installing " + " ".join(missing), words, log, env=environment)
