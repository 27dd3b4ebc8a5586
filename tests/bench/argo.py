"""Argo Workflows' controller beside the API server, with the settings that cost it least: no Events, many workers, no rate limit."""

from __future__ import annotations

import subprocess
from typing import Any

from support.apiserver import ApiServer

NAMESPACE = "argo"
KINDS = (
    "Workflow",
    "WorkflowTemplate",
    "ClusterWorkflowTemplate",
    "CronWorkflow",
    "WorkflowTaskSet",
    "WorkflowTaskResult",
    "WorkflowArtifactGCTask",
    "WorkflowEventBinding",
)
SETTINGS = {"nodeEvents": "{enabled: false}", "workflowEvents": "{enabled: false}"}
FLAGS = (
    "--qps=500",
    "--burst=1000",
    "--workflow-workers=32",
    "--pod-cleanup-workers=32",
    "--loglevel=error",
    "--namespaced",
)


def _crd(kind: str) -> dict[str, Any]:
    """As Argo's own `minimal` CRDs: no schema, no subresource."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1alpha1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    plural = f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.argoproj.io"},
        "spec": {
            "group": "argoproj.io",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "scope": "Cluster" if kind.startswith("Cluster") else "Namespaced",
            "versions": [version],
        },
    }


def start(server: ApiServer) -> subprocess.Popen[bytes]:
    """Starts it, for Workflows in a namespace of its own: what it adds to a pod is not fit for Pod Security `restricted`."""
    server.namespace(NAMESPACE)
    crds = [_crd(kind) for kind in KINDS]
    server.apply(*crds)
    for crd in crds:
        server.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}", "--timeout=30s")
    meta = {"name": "workflow-controller-configmap", "namespace": NAMESPACE}
    server.admin.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": SETTINGS})
    flags = f"--kubeconfig={server.kubeconfig}", f"--namespace={NAMESPACE}", "--executor-image=argoexec", *FLAGS
    return server.run("argo", *flags, ARGO_NAMESPACE=NAMESPACE, LEADER_ELECTION_DISABLE="true", DEFAULT_REQUEUE_TIME="1s")


def workflow(name: str, pod: dict[str, Any]) -> dict[str, Any]:
    """A Workflow of one step: the main container of a pod's spec. Argo adds an init container and one that waits."""
    main = next(container for container in pod["containers"] if container["name"] == "main")
    container = {key: main[key] for key in ("image", "resources", "securityContext") if key in main}
    template = {"name": "main", "container": {**container, "command": ["python3", "-c", "pass"]}}
    spec = {"entrypoint": "main", "templates": [template]}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}
