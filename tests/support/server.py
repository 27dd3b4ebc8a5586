"""A server in a pod of a test's namespace, behind a Service of its name; under Pod Security `restricted`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from support.cluster import Namespace, Object, kubectl


def runtime_image() -> str:
    """An image with Python that the node has: that of the installation's runtime."""
    text = kubectl("-n", "millrace-system", "get", "cm", "millrace-operator", "-o", r"jsonpath={.data.config\.yaml}")
    image: str = yaml.safe_load(text)["pythonVersions"]["3.13"]
    return image


def serve(
    namespace: Namespace,
    name: str,
    volumes: Mapping[str, Object],
    *,
    port: int,
    served_at: int | None = None,
    image: str | None = None,
    **container: Any,
) -> None:
    """Starts it and waits until it is ready. `volumes`: by the path where they are mounted; what is in them must be there.

    The Service takes `served_at` to `port`, where that is another one. Without an image it is one with Python.
    """
    volumes_by_name = {f"v{number}": (path, volume) for number, (path, volume) in enumerate(volumes.items())}
    full = {
        "name": name,
        "image": image or runtime_image(),
        "imagePullPolicy": "IfNotPresent",
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": volume, "mountPath": path} for volume, (path, _) in volumes_by_name.items()],
        **container,
    }
    user = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": user,
        "containers": [full],
        "volumes": [{"name": volume, **content} for volume, (_, content) in volumes_by_name.items()],
    }
    service = {"selector": {"app": name}, "ports": [{"port": served_at or port, "targetPort": port}]}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": service},
    )
    namespace.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s", seconds=70)
