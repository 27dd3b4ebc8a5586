"""What runs in every cluster: DNS and an object store."""

import json
import secrets

from .context import HACK, Cluster
from .kubectl import kubectl
from .shell import say


def install(cluster: Cluster, manifests: tuple[str, ...]) -> None:
    kubectl(cluster, "apply", "-f", "-", stdin=json.dumps(_minio_namespace()))
    for name in manifests:
        kubectl(cluster, "apply", "-f", HACK / "manifests" / f"{name}.yaml")


def wait(cluster: Cluster) -> None:
    kubectl(cluster, "wait", "--for=create", "node", "--all", "--timeout=60s")
    kubectl(cluster, "wait", "--for=condition=Ready", "node", "--all", "--timeout=120s")
    say("the node is Ready")
    kubectl(cluster, "--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
    say("cluster DNS is ready")
    kubectl(cluster, "--namespace=minio", "rollout", "status", "deployment/minio", "--timeout=120s")
    say("MinIO is ready")


def _minio_namespace() -> dict:
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "minio", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    credentials = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "minio-root", "namespace": "minio"},
        "stringData": {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(20)},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [namespace, credentials]}
