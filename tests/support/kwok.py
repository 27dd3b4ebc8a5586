"""A node of kwok, and the scheduler: pods that start and end at once, and cost next to nothing.

The Job controller and the scheduler are the real ones, so that a bare Job takes what it takes in a cluster with a very fast node.
"""

from __future__ import annotations

from support.apiserver import ApiServer
from support.waiting import wait_for

NODE = "kwok"
STAGES = """\
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: node-ready}
spec:
  resourceRef: {apiGroup: v1, kind: Node}
  selector:
    matchExpressions:
    - {key: '.status.conditions.[] | select(.type == "Ready") | .status', operator: NotIn, values: ["True"]}
  next:
    statusTemplate: |
      conditions:
      - {type: Ready, status: "True", reason: KubeletReady, lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
      allocatable: {cpu: 1k, memory: 10Ti, pods: 1M, ephemeral-storage: 10Ti}
      capacity: {cpu: 1k, memory: 10Ti, pods: 1M, ephemeral-storage: 10Ti}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-runs}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.startTime, operator: DoesNotExist}
  next:
    statusTemplate: |
      {{ $now := Now | Quote }}
      phase: Running
      startTime: {{ $now }}
      conditions:
      - {type: Initialized, status: "True", lastTransitionTime: {{ $now }}}
      - {type: Ready, status: "True", lastTransitionTime: {{ $now }}}
      - {type: ContainersReady, status: "True", lastTransitionTime: {{ $now }}}
      initContainerStatuses:
      {{ range .spec.initContainers }}
      - {name: {{ .name }}, image: {{ .image | Quote }}, imageID: x, ready: true, restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}}
      {{ end }}
      containerStatuses:
      {{ range .spec.containers }}
      - {name: {{ .name }}, image: {{ .image | Quote }}, imageID: x, ready: true, restartCount: 0, state: {running: {startedAt: {{ $now }}}}}
      {{ end }}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-is-over}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: DoesNotExist}
    - {key: .status.phase, operator: In, values: [Running]}
  next:
    statusTemplate: |
      {{ $now := Now | Quote }}
      phase: Succeeded
      containerStatuses:
      {{ range .spec.containers }}
      - {name: {{ .name }}, image: {{ .image | Quote }}, imageID: x, ready: false, restartCount: 0, state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}}
      {{ end }}
---
apiVersion: kwok.x-k8s.io/v1alpha1
kind: Stage
metadata: {name: pod-goes}
spec:
  resourceRef: {apiGroup: v1, kind: Pod}
  selector:
    matchExpressions:
    - {key: .metadata.deletionTimestamp, operator: Exists}
  next: {delete: true}
"""


def start(server: ApiServer) -> None:
    """Starts both beside the API server, with which they end; returns when the node is ready."""
    stages = server.folder / "stages.yaml"
    stages.write_text(STAGES)
    kubeconfig = f"--kubeconfig={server.kubeconfig}"
    server.run("kwok", kubeconfig, f"--config={stages}", "--manage-all-nodes", "--server-address=")
    rates = "--kube-api-qps=500", "--kube-api-burst=1000"
    server.run("kube-scheduler", kubeconfig, "--leader-elect=false", "--secure-port=0", *rates)
    server.admin.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}})

    def ready() -> bool:
        server.check()
        conditions = server.admin.get("nodes", None, NODE)["status"].get("conditions", [])
        return any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)

    wait_for("kwok's node is ready", ready, seconds=60, poll=0.1)
    # The API server taints a new node as not ready; the controller that takes that back does not run.
    server.admin.merge("nodes", None, NODE, {"spec": {"taints": None}})
