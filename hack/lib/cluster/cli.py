"""The commands of hack/cluster."""

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from . import kind, local, services, tools
from .context import CACHE, CLUSTERS, REPO, Cluster
from .kubectl import environment, kubectl
from .shell import Fail, locked, run, run_long, say, tail_file

PROVIDERS = {"kind": kind, "local": local}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="hack/cluster",
        description="A small Kubernetes cluster of this checkout's own, with cluster DNS and MinIO: "
        "kind where Docker or Podman works, else a node in namespaces of its own (Debian, root).",
        epilog=f"Tools and images are cached in {CACHE}. MILLRACE_CLUSTER_PROVIDER=kind|local chooses the provider.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name: str, *arguments: tuple[str, dict]) -> None:
        sub = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        for argument, options in arguments:
            sub.add_argument(argument, **options)
        sub.set_defaults(function=function)

    command(up, "up")
    command(down, "down")
    command(status, "status")
    command(env, "env")
    command(load, "load", ("image", {"nargs": "+", "help": "an archive (docker or OCI), or a name buildah knows"}))
    command(logs, "logs", ("component", {"nargs": "?", "help": "one of the node's servers; all without"}))
    command(tool, "tool", ("name", {"choices": tools.NAMES}))

    options = vars(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exit that tidies up, as an interrupt is
    try:
        options.pop("function")(Cluster(), **options)
    except Fail as failure:
        print(f"hack/cluster: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    return 0


def up(cluster: Cluster) -> None:
    """start the cluster, unless it is up; install and build what that needs"""
    with locked(cluster.lock):
        record = cluster.record()
        if record.get("up") and _alive(cluster, record):
            provider = PROVIDERS[record["provider"]]
            problem = provider.problem(cluster)
            if problem:
                raise Fail(f"the cluster is not well: {problem}\n`hack/cluster down`, then `up`, makes a new one")
            say("already up")
            return
        if cluster.state.exists():
            say("clearing what is left of an earlier cluster")
            _remove(cluster)
        _create(cluster)


def _alive(cluster: Cluster, record: dict) -> bool:
    return record["provider"] != "local" or local.init_pid(cluster) is not None


def _create(cluster: Cluster) -> None:
    name = os.environ.get("MILLRACE_CLUSTER_PROVIDER") or ("kind" if kind.engine() else "local")
    if name not in PROVIDERS:
        raise Fail(f"MILLRACE_CLUSTER_PROVIDER={name}: kind or local")
    provider = PROVIDERS[name]
    provider.prepare()
    for built in ("kubectl", "helm", *provider.IMAGES):
        tools.build(built)
    tools.uv()
    provider.start(cluster)
    services.install(cluster, provider.MANIFESTS)
    services.wait(cluster)
    cluster.note(up=True)
    _sync()
    say('up. For a shell that knows it: eval "$(hack/cluster env)"')


def _sync() -> None:
    """`env` puts millrace on PATH, so it has to be there."""
    if (REPO / "uv.lock").exists() and not (REPO / ".venv").exists():
        try:
            run_long("uv sync", [tools.uv() / "uv", "sync", "--frozen"], CACHE / "log" / "uv-sync.log", cwd=REPO)
        except Fail as failure:
            say(f"the cluster is up, but: {failure}")


def down(cluster: Cluster) -> None:
    """stop the cluster and leave nothing of it behind but the cache"""
    with locked(cluster.lock):
        if not cluster.state.exists():
            say("no cluster")
            return
        _remove(cluster)
        say("down")


def _remove(cluster: Cluster) -> None:
    provider = cluster.record().get("provider")
    if provider:
        PROVIDERS[provider].stop(cluster)
    mounted = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {cluster.state}/" in line]
    if mounted:
        raise Fail("still mounted, so not removed:\n" + "\n".join(mounted))
    shutil.rmtree(cluster.state)
    with contextlib.suppress(OSError):  # other clusters' are there
        CLUSTERS.rmdir()


def status(cluster: Cluster) -> None:
    """one screen: provider, versions, node, pods"""
    record = _running(cluster)
    problem = PROVIDERS[record["provider"]].problem(cluster)
    if not problem and not record.get("up"):
        problem = "`hack/cluster up` has not finished"
    print(f"cluster   {cluster.name}, {record['provider']}, {cluster.state}")
    print(f"health    {problem or 'well'}")
    if problem:
        raise Fail("`hack/cluster logs` tells more")
    print(f"MinIO     http://{PROVIDERS[record['provider']].minio_address(cluster)}")
    print("\n" + kubectl(cluster, "get", "nodes", "-o", "wide").stdout, end="")
    for namespace in ("kube-system", "minio"):
        print(f"\n{namespace}\n" + kubectl(cluster, "get", "pods", "--namespace", namespace).stdout, end="")


def env(cluster: Cluster) -> None:
    """print what a shell needs: eval "$(hack/cluster env)"; without a cluster, the tools alone"""
    say.quiet_stdout = True
    folders = [REPO / ".venv" / "bin", tools.build("kubectl"), tools.build("helm"), tools.uv()]
    record = cluster.record()
    if record:
        exports = {
            "KUBECONFIG": cluster.kubeconfig,
            **environment(cluster),
            "MILLRACE_CLUSTER_STATE": cluster.state,
            "MILLRACE_MINIO_ENDPOINT": f"http://{PROVIDERS[record['provider']].minio_address(cluster)}",
        }
        for name, value in exports.items():
            print(f"export {name}={shlex.quote(str(value))}")
    else:
        say("no cluster, so only PATH; `hack/cluster up` makes one")
    # The shell's own PATH, as this process may have been given another (pyenv does).
    print(f'export PATH={shlex.quote(os.pathsep.join(map(str, folders)))}:"$PATH"')


def load(cluster: Cluster, image: list[str]) -> None:
    """load images into the node"""
    provider = PROVIDERS[_running(cluster)["provider"]]
    for each in image:
        if Path(each).is_file():
            print(provider.load(cluster, Path(each)), end="")
            continue
        if not shutil.which("buildah") or run("buildah", "inspect", "--type=image", each, check=False).returncode:
            raise Fail(f"{each}: neither an image archive nor the name of an image that buildah has")
        with tempfile.TemporaryDirectory(dir=cluster.state) as folder:
            archive = Path(folder) / "image.tar"
            run("buildah", "push", each, f"docker-archive:{archive}:{each}")
            print(provider.load(cluster, archive), end="")


def logs(cluster: Cluster, component: str | None) -> None:
    """the end of the servers' logs"""
    if _running(cluster)["provider"] == "kind":
        raise Fail(f"kind keeps them: `kind export logs --name {cluster.name}`")
    folder = cluster.state / "log"
    known = sorted(path.stem for path in folder.glob("*.log"))
    if component and component not in known:
        raise Fail(f"no log of {component}; there are: {', '.join(known)}")
    for name in [component] if component else known:
        print(f"==> {folder / name}.log <==" if not component else "", end="" if component else "\n")
        print(tail_file(folder / f"{name}.log", 200 if component else 10))


def tool(_: Cluster, name: str) -> None:
    """print the path of a tool's binary, which is built when absent"""
    say.quiet_stdout = True
    print(tools.binary(name))


def _running(cluster: Cluster) -> dict:
    record = cluster.record()
    if not record:
        raise Fail("no cluster: `hack/cluster up` first")
    return record
