"""kubectl as the cluster's administrator."""

import os
import subprocess

from . import tools
from .context import Cluster
from .shell import run


def kubectl(
    cluster: Cluster, *arguments: object, stdin: str | None = None, check: bool = True
) -> subprocess.CompletedProcess:
    command = (tools.binary("kubectl"), "--kubeconfig", cluster.kubeconfig, *arguments)
    return run(*command, stdin=stdin, check=check, env=os.environ | environment(cluster))


def environment(cluster: Cluster) -> dict[str, str]:
    """kubectl caches what the API offers by address; the next cluster there may offer something else."""
    return {"KUBECACHEDIR": str(cluster.state / "kubectl-cache")}


def api_answers(cluster: Cluster) -> bool:
    return kubectl(cluster, "get", "--raw", "/readyz", check=False).returncode == 0
