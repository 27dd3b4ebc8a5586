"""The provider where Docker or Podman works: kind."""

import os
import shutil
from pathlib import Path

from . import images, tools
from .context import CACHE, HACK, Cluster
from .kubectl import api_answers
from .shell import Fail, run, run_long, say

IMAGES = ("minio",)
MANIFESTS = ("minio",)


def engine() -> str | None:
    """The container engine that works here, if any."""
    for name in ("docker", "podman"):
        if shutil.which(name) and run(name, "info", check=False).returncode == 0:
            return name
    return None


def _kind(engine_: str, *arguments: object, check: bool = True):
    environment = os.environ | {"KIND_EXPERIMENTAL_PROVIDER": engine_}
    return run(tools.binary("kind"), *arguments, check=check, env=environment)


def prepare() -> None:
    tools.build("kind")


def start(cluster: Cluster) -> None:
    engine_ = engine()
    if not engine_:
        raise Fail("kind needs a working Docker or Podman: start one, or take MILLRACE_CLUSTER_PROVIDER=local")
    cluster.note(provider="kind", engine=engine_)
    create = (tools.binary("kind"), "create", "cluster", "--name", cluster.name)
    run_long(
        f"creating {cluster.name} with kind on {engine_}",
        [*create, "--config", HACK / "kind.yaml", "--kubeconfig", cluster.kubeconfig, "--wait", "120s"],
        CACHE / "log" / "kind.log",
        env=os.environ | {"KIND_EXPERIMENTAL_PROVIDER": engine_},
    )
    for name in IMAGES:
        load(cluster, images.archive(name))
    say("images are in")


def problem(cluster: Cluster) -> str | None:
    return None if api_answers(cluster) else "the API server does not answer"


def minio_address(cluster: Cluster) -> str:
    published = run(cluster.record()["engine"], "port", f"{cluster.name}-control-plane", "30900/tcp").stdout
    return published.splitlines()[0].strip()


def load(cluster: Cluster, archive: Path) -> str:
    _kind(cluster.record()["engine"], "load", "image-archive", archive, "--name", cluster.name)
    return f"loaded {archive}\n"


def stop(cluster: Cluster) -> None:
    _kind(cluster.record()["engine"], "delete", "cluster", "--name", cluster.name)
