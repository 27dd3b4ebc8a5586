"""Kueue's real controller and webhooks in the cluster: built from its Go module, laid out by the chart that comes with it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from lib.cluster import images

from support.cluster import Object, kubectl
from support.release import ROOT, run
from support.waiting import wait_for

NAMESPACE = "kueue-system"
IMAGE = f"{images.PREFIX}/kueue:dev"
SECONDS = 180
CONFIGURATION = {
    "apiVersion": "config.kueue.x-k8s.io/v1beta1",
    "kind": "Configuration",
    "health": {"healthProbeBindAddress": ":8081"},
    "metrics": {"bindAddress": ":8080"},
    "webhook": {"port": 9443},
    "leaderElection": {"leaderElect": False},
    "integrations": {"frameworks": ["batch/job"]},
}
VALUES = {
    "controllerManager": {
        "featureGates": [{"name": "VisibilityOnDemand", "enabled": False}],
        "manager": {"resources": {"requests": {"cpu": "50m", "memory": "64Mi"}}},
        "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1, "timeoutSeconds": 1},
    },
    "managerConfig": {"controllerManagerConfigYaml": json.dumps(CONFIGURATION)},
}
# The API of pending workloads is off: with nobody behind it the API server could not delete namespaces.
LEFT_OUT = {"APIService", "FlowSchema", "PriorityLevelConfiguration"}


def _chart() -> Path:
    """The chart, of the version that go.mod pins."""
    module = ROOT / "hack" / "tools" / "kueue"
    done = run("go", "mod", "download", "-json", "sigs.k8s.io/kueue", cwd=module, env={**os.environ, "GOFLAGS": ""})
    return Path(json.loads(done)["Dir"]) / "charts" / "kueue"


def _rendered(folder: Path) -> list[Object]:
    values = folder / "values.json"
    values.write_text(json.dumps(VALUES))
    command = ("helm", "template", "kueue", _chart(), f"--namespace={NAMESPACE}", "--values", values)
    found = [obj for obj in yaml.safe_load_all(run(*command)) if obj and obj["kind"] not in LEFT_OUT]
    [deployment] = [obj for obj in found if obj["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    # Without the proxy for metrics, which is another project's image.
    spec["containers"] = [container for container in spec["containers"] if container["name"] == "manager"]
    spec["containers"][0] |= {"image": IMAGE, "imagePullPolicy": "Never", "command": ["/kueue"]}
    return found


@contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Kueue, until the end: then it lets go of all that it holds, and is gone."""
    run(ROOT / "hack" / "cluster", "load", images.archive("kueue"))
    manifests = folder / "kueue.yaml"
    manifests.write_text(yaml.safe_dump_all(_rendered(folder)))
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("apply", "--server-side", "-f", str(manifests))
        deployment = "deployment/kueue-controller-manager"
        kubectl("-n", NAMESPACE, "rollout", "status", deployment, f"--timeout={SECONDS}s", seconds=SECONDS)
        yield
        wait_for("no workload is left", lambda: not items("workloads"), seconds=60)
        kubectl("delete", "localqueues,clusterqueues,resourceflavors", "--all", "--all-namespaces")
    finally:
        hooks = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
        kubectl("delete", hooks, "-l", "app.kubernetes.io/name=kueue")  # else nobody could make Jobs
        kubectl("delete", "-f", str(manifests), "--ignore-not-found", "--wait=false")
        kubectl("delete", "namespace", NAMESPACE, seconds=SECONDS)


def items(kind: str) -> list[Object]:
    """All objects of a kind of Kueue, in all namespaces."""
    found: list[Object] = json.loads(kubectl("get", f"{kind}.kueue.x-k8s.io", "-A", "-o", "json"))["items"]
    return found


def _object(kind: str, name: str, **spec: object) -> Object:
    return {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def queue(name: str, namespace: str, pods: int) -> list[Object]:
    """A LocalQueue and all that it needs, by which as many pods may run at a time; higher priorities take the place of lower."""
    quota = {"cpu": "1k", "memory": "1Ti", "ephemeral-storage": "1Ti", "pods": pods}
    resources = [{"name": resource, "nominalQuota": amount} for resource, amount in quota.items()]
    group = {"coveredResources": list(quota), "flavors": [{"name": name, "resources": resources}]}
    local = _object("LocalQueue", name, clusterQueue=name)
    local["metadata"]["namespace"] = namespace
    return [
        _object("ResourceFlavor", name),
        _object(
            "ClusterQueue",
            name,
            namespaceSelector={},
            preemption={"withinClusterQueue": "LowerPriority"},
            resourceGroups=[group],
        ),
        local,
    ]
