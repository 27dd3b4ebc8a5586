"""The Helm release of the checkout's images, and whether its operator comes up."""

import json
import os
import re
import time
import urllib.parse
from pathlib import Path

from cluster import tools
from cluster.context import REPO, Cluster
from cluster.services import kubectl
from cluster.shell import Fail, run, say, tail

from . import cli
from .oci import Made
from .spec import IMAGES

RELEASE = "millrace"
NAMESPACE = "millrace-system"
_CHART = REPO / "helm" / "millrace"
_SELECTOR = "app.kubernetes.io/name=millrace,app.kubernetes.io/component=operator"
_SECONDS = 120
_HOPELESS = (
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
)


def install(cluster: Cluster, more: list[str]) -> None:
    if not cluster.record():
        raise Fail("no cluster: `hack/cluster up` first")
    images = cli.loaded(cli.build_all(list(IMAGES)))
    _namespace(cluster)
    _upgrade(cluster, [*_values(images), *_machine(), *more])
    _wait(cluster)


def _namespace(cluster: Cluster) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
    kubectl(cluster, "apply", "--server-side", "--filename=-", stdin=json.dumps(namespace))


def _values(images: list[Made]) -> list[str]:
    found = []
    for made in images:
        name, version = made.image.name, made.image.name.removeprefix("runtime-").replace(".", r"\.")
        key = f"images.{name}" if version == name else f"pythonVersions.{version}"
        found.append(f"--set-string={key}.tag={made.tag}")
    return found


def _machine() -> list[str]:
    """What this machine needs to reach its package index, runs need too."""
    found = []
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("UV_INDEX_URL") or os.environ.get("PIP_INDEX_URL")
    if index and urllib.parse.urlsplit(index).username:
        say("the package index of this machine is not handed on to runs: its address holds credentials")
    elif index:
        found.append(f"--set-literal=runs.indexUrl={index}")
        say("handing on this machine's package index to runs")
    authorities = os.environ.get("SSL_CERT_FILE")
    if authorities:
        size = Path(authorities).stat().st_size if Path(authorities).is_file() else 0
        if not size:
            raise Fail(f"SSL_CERT_FILE={authorities} is no file; correct it or unset it")
        found.append(f"--set-file=runs.caBundle={authorities}")
        say(f"handing on this machine's certificate authorities to runs ({size / 1024:.0f} KiB)")
    return found


def _upgrade(cluster: Cluster, arguments: list[str]) -> None:
    # Definitions that were applied by hand before become the release's.
    command = ("upgrade", "--install", RELEASE, _CHART, "--take-ownership", "--history-max=5", "--output=json", *arguments)
    try:
        done = _helm(cluster, *command)
    except Fail as failure:
        if "another operation" not in str(failure):
            raise
        say("an earlier upgrade was cut off: taking it back")
        revisions = json.loads(_helm(cluster, "history", RELEASE, "--output=json").stdout)
        if any(revision["status"] in ("deployed", "superseded") for revision in revisions):
            _helm(cluster, "rollback", RELEASE)
        else:
            _helm(cluster, "uninstall", RELEASE)
        done = _helm(cluster, *command)
    release = json.loads(done.stdout)
    say(f"release {RELEASE}, revision {release['version']}")


def _helm(cluster: Cluster, *arguments: object):
    helm = tools.binary("helm")
    return run(helm, *arguments, f"--namespace={NAMESPACE}", f"--kubeconfig={cluster.kubeconfig}")


def _wait(cluster: Cluster) -> None:
    deadline, said = time.monotonic() + _SECONDS, None
    while True:
        found = {}
        for kind in ("deployments", "pods"):
            listed = kubectl(cluster, "get", kind, f"--namespace={NAMESPACE}", f"--selector={_SELECTOR}", "--output=json")
            found[kind] = json.loads(listed.stdout)["items"]
        if not found["deployments"]:
            raise Fail(f"the release has no deployment with the labels {_SELECTOR}")
        deployment = found["deployments"][0]
        name = deployment["metadata"]["name"]
        state = "up" if _up(deployment) else _state(found["pods"], deployment)
        if state != said:
            say(f"{name}: {state}")
            said = state
        if state == "up":
            return
        if _hopeless(found["pods"]) or time.monotonic() > deadline:
            raise Fail(f"{name} does not come up: {state}{_log(cluster, found['pods'])}")
        time.sleep(0.3)


def _up(deployment: dict) -> bool:
    status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    return seen and status.get("replicas") == status.get("updatedReplicas") == status.get("readyReplicas") == wanted


def _state(pods: list[dict], deployment: dict) -> str:
    """The pods in words; without one, what the deployment says about it."""
    words = [_pod_state(pod) for pod in pods]
    conditions = deployment.get("status", {}).get("conditions", ())
    words += [c["message"] for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    return "; ".join(sorted(words)) or "no pod yet"


def _pod_state(pod: dict) -> str:
    if "deletionTimestamp" in pod["metadata"]:
        return "the old pod is ending"
    for container in pod["status"].get("containerStatuses", ()):
        waiting = container["state"].get("waiting")
        ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated")
        if waiting and waiting["reason"] not in ("CrashLoopBackOff", "ContainerCreating", "PodInitializing"):
            return re.sub(r"\s+", " ", f"{waiting['reason']}: {waiting.get('message', '')}")
        if ended:
            why = f"exit code {ended['exitCode']} ({ended['reason']})"
            return f"the container ended with {why}, {container['restartCount']} restarts"
        return "starting" if waiting else "runs, not ready"
    unscheduled = [c["message"] for c in pod["status"].get("conditions", ()) if c.get("reason") == "Unschedulable"]
    return f"no node takes it: {unscheduled[0]}" if unscheduled else "starting"


def _hopeless(pods: list[dict]) -> bool:
    containers = [
        c for pod in pods if "deletionTimestamp" not in pod["metadata"] for c in pod["status"].get("containerStatuses", ())
    ]
    return any(
        container["restartCount"] >= 2 or container["state"].get("waiting", {}).get("reason") in _HOPELESS
        for container in containers
    )


def _log(cluster: Cluster, pods: list[dict]) -> str:
    for pod in pods:
        name = pod["metadata"]["name"]
        common = ("logs", name, f"--namespace={NAMESPACE}", "--tail=20")
        text = kubectl(cluster, *common, check=False).stdout or kubectl(cluster, *common, "--previous", check=False).stdout
        if text:
            return f"\nThe end of the log of {name}:\n{tail(text, 20)}"
    return f"\n`kubectl -n {NAMESPACE} describe pods` tells more"
