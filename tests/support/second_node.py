"""A second node for tests that lose one: a containerd and a kubelet beside those of the local cluster's own node.

They are real, and live in the namespaces of that node: its network carries their pods, its kube-proxy serves them. What they
have for themselves is a root folder, a socket, a port and a cgroup, so that the node can be frozen, reset and taken away
while operator, store and DNS go on. A taint keeps away what does not ask for it (`ON_IT`).

Only the provider `local` of hack/cluster can do that: a node of kind is a container of an engine that we may not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from support.cluster import Object, Refused, kubectl
from support.waiting import wait_for

NAME = "node1"
RUN, LIB = f"/run/{NAME}", f"/var/lib/{NAME}"  # inside the node's namespaces
SOCKET = f"{RUN}/containerd.sock"
PORT = 10260  # 10250 is the other kubelet's
TAINT = f"millrace.test/{NAME}"
NEEDED = r"/(pause|stage|runtime-3\.13):"  # images of runs
SERVERS = ("containerd", "kubelet")
# Fields of a run that is to start here, and elsewhere once this node is gone. The pod is evicted 3 s after that is known.
ON_IT: Object = {
    "tolerations": [
        {"key": TAINT, "operator": "Exists"},
        *(
            {"key": f"node.kubernetes.io/{state}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}
            for state in ("unreachable", "not-ready")
        ),
    ],
    "affinity": {
        "nodeAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {
                    "weight": 100,
                    "preference": {
                        "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NAME]}]
                    },
                }
            ]
        }
    },
}


class SecondNode:
    """The node; `start` before anything else."""

    def __init__(self, state: Path) -> None:
        self._state = state  # of hack/cluster
        self._init = int(json.loads((state / "cluster.json").read_text())["init"][0])
        self._settings: dict[str, str] = json.loads((state / "node.json").read_text())
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts it, also after `reset`, and waits until it is Ready."""
        for folder in self._cgroups():
            folder.mkdir(exist_ok=True)
        self._inside("mkdir", "-p", RUN, LIB)
        self._write_configs()
        self._spawn("containerd", "containerd", "--config", f"{LIB}/containerd.toml")
        wait_for("containerd answers", lambda: self._ctr("version"), seconds=30)
        self._load_images()
        self._spawn(
            "kubelet",
            "/run/millrace/bin/kubelet",
            f"--config={LIB}/kubelet.yaml",
            "--kubeconfig=/run/millrace/state/kubeconfig",
            f"--hostname-override={NAME}",
            f"--node-ip={self._settings['address']}",
            f"--root-dir={LIB}/kubelet",
            f"--cgroup-root={self._settings['cgroup']}/{NAME}",
            f"--register-with-taints={TAINT}=:NoSchedule",
        )
        self.ready()

    def _write_configs(self) -> None:
        """Those of the first node, with other places."""
        config = self._state / "config"
        base = (config / "containerd.toml").read_text()
        head = f'version = 2\nroot = "{LIB}/containerd"\nstate = "{RUN}/containerd"\n\n[grpc]\n  address = "{SOCKET}"\n'
        # Tables come after the keys of the top.
        plain, _, tables = base.removeprefix("version = 2\n").partition("[plugins")
        first, _, rest = head.partition("\n[grpc]")
        self._write("containerd.toml", f"{first}\n{plain}\n[grpc]{rest}\n[plugins{tables}")
        kubelet = (config / "kubelet.yaml").read_text().replace("unix:///run/containerd/containerd.sock", f"unix://{SOCKET}")
        assert SOCKET in kubelet
        self._write("kubelet.yaml", f"{kubelet}\nport: {PORT}\nhealthzPort: 0\npodLogsDir: /var/log/{NAME}-pods\n")

    def _write(self, name: str, text: str) -> None:
        self._inside("sh", "-c", f"cat > {LIB}/{name}", stdin=text)

    def _load_images(self) -> None:
        names = [name for name in self._ctr("images", "ls", "-q", first=True).split() if "sha256:" not in name]
        there = self._ctr("images", "ls", "-q").split()
        if missing := [name for name in names if name not in there and re.search(NEEDED, name)]:
            archive = f"{LIB}/images.tar"
            assert self._ctr("images", "export", archive, *missing, first=True) is not None
            self._inside("ctr", "--address", SOCKET, "--namespace", "k8s.io", "images", "import", archive, seconds=120)
            self._inside("rm", archive)

    def _ctr(self, *args: str, first: bool = False) -> str:
        address = "/run/containerd/containerd.sock" if first else SOCKET
        return self._inside("ctr", "--address", address, "--namespace", "k8s.io", *args, check=False, seconds=120)

    def ready(self) -> None:
        """Waits until the cluster finds it well."""
        wait_for(f"{NAME} is Ready", lambda: self._condition() == "True", seconds=90)

    def _condition(self) -> str:
        path = '-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}'
        return kubectl("get", "node", NAME, path, "--ignore-not-found")

    def not_ready(self) -> None:
        """Waits until the cluster has noticed that it is silent: 50 s after its last word, by default."""
        wait_for(f"{NAME} is not Ready", lambda: self._condition() == "Unknown", seconds=120)

    def freeze(self) -> None:
        """Its kubelet stands still; containers run on."""
        os.kill(self._pid("kubelet"), signal.SIGSTOP)

    def thaw(self) -> None:
        """The kubelet goes on where it stood."""
        parent, child = self._running["kubelet"].pid, self._pid("kubelet")
        for pid in (child, parent):  # nsenter stops with its child
            os.kill(pid, signal.SIGCONT)

    def recover(self) -> None:
        """It is well again, whatever was done to it."""
        if "kubelet" in self._running and self._condition():
            self.thaw()
            self.ready()
        else:
            self.reset()
            self.start()

    def log(self, pod: Object, container: str) -> str:
        """A container's log, also while the kubelet stands still."""
        meta = pod["metadata"]
        folder = f"/var/log/{NAME}-pods/{meta['namespace']}_{meta['name']}_{meta['uid']}/{container}"
        return self._inside("sh", "-c", f"cat {folder}/*.log", check=False)

    def reset(self) -> None:
        """The power goes: every process of the node is killed, and what a restart of a machine loses is gone."""
        for name in SERVERS:
            self._kill(name)
        pids = {*self._shims(), *self.processes()}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for("its processes are gone", lambda: not self._shims() and not self.processes(), seconds=20)
        # Deepest first; the folder of the sockets and tasks is in memory on a real machine.
        unmount = f"awk '$5 ~ \"^{RUN}/\" {{print $5}}' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l"
        self._inside("sh", "-c", f"{unmount}; rm -rf {RUN}")

    def processes(self, pod_uid: str = "") -> list[int]:
        """Processes of its containers (of one pod), by their ids on the host."""
        found = []
        for group in self._cgroups():
            for file in group.rglob("cgroup.procs"):
                if pod_uid in str(file) or pod_uid.replace("-", "_") in str(file):
                    with contextlib.suppress(OSError):
                        found += [int(pid) for pid in file.read_text().split()]
        return sorted(set(found))

    def _cgroups(self) -> list[Path]:
        """Its root group, in one hierarchy (version 2) or in each."""
        base = Path("/sys/fs/cgroup")
        parents = [base, *(path for path in base.iterdir() if path.is_dir() and not path.is_symlink())]
        return [
            parent / self._settings["cgroup"].strip("/") / NAME
            for parent in parents
            if (parent / self._settings["cgroup"].strip("/") / "cgroup.procs").exists()
        ]

    def _shims(self) -> list[int]:
        """The parents of its containers, which outlive containerd."""
        home = Path(f"/proc/{self._init}/ns/mnt").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                if SOCKET.encode() in command and b"shim" in command and (folder / "ns/mnt").readlink() == home:
                    found.append(int(folder.name))
        return found

    def stop(self) -> None:
        """Takes it away and leaves the cluster as it was. Never raises before all of it was tried."""
        with contextlib.suppress(AssertionError, Refused, ProcessLookupError, KeyError):
            self.thaw()
        kubectl("delete", "pods", "-A", f"--field-selector=spec.nodeName={NAME}", "--grace-period=1", "--wait=false")
        problems = []
        try:
            wait_for("its pods are gone", lambda: not self._pods(), seconds=60)
        except AssertionError as error:
            problems.append(str(error))
            kubectl("delete", "pods", "-A", f"--field-selector=spec.nodeName={NAME}", "--grace-period=0", "--force")
        self.reset()
        kubectl("delete", "node", NAME, "--ignore-not-found")
        unmount = f"awk '$5 ~ \"^{LIB}/\" {{print $5}}' /proc/self/mountinfo | sort -r | xargs -r -n1 umount -l"
        self._inside("sh", "-c", f"{unmount}; rm -rf {LIB} /var/log/{NAME}-pods")
        for group in self._cgroups():
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        assert not problems, problems

    def _pods(self) -> str:
        return kubectl("get", "pods", "-A", f"--field-selector=spec.nodeName={NAME}", "-o", "name").strip()

    def _spawn(self, name: str, *command: str) -> None:
        log = (self._state / "log" / f"{NAME}-{name}.log").open("ab")
        with log:
            self._running[name] = subprocess.Popen(
                self._nsenter(*command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _pid(self, name: str) -> int:
        """On the host. nsenter, its parent, is outside of the process namespace."""
        parent = self._running[name].pid
        children = Path(f"/proc/{parent}/task/{parent}/children")
        return int(wait_for(f"{name} runs", children.read_text, seconds=10, poll=0.05).split()[0])

    def _kill(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process is not None:
            parent = process.pid
            children = Path(f"/proc/{parent}/task/{parent}/children")
            for pid in [*map(int, children.read_text().split()), parent]:
                os.kill(pid, signal.SIGKILL)
            process.wait()

    def _nsenter(self, *command: str) -> list[str]:
        spaces = ("--mount", "--net", "--pid", "--uts", "--ipc")
        return ["nsenter", "--target", str(self._init), *spaces, "--wd=/", "--", *command]

    def _inside(self, *command: str, stdin: str | None = None, check: bool = True, seconds: float = 60) -> str:
        done: Any = subprocess.run(
            self._nsenter(*command), input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}"
        return str(done.stdout) if done.returncode == 0 else ""


def missing() -> str | None:
    """Why there can be no second node here; None when there can."""
    state = Path(os.environ.get("MILLRACE_CLUSTER_STATE", "/nonexistent"))
    if not (state / "node.json").exists():
        return "the kubelet of this cluster is out of reach: only the provider `local` of hack/cluster gives a second node"
    return None


@contextlib.contextmanager
def second_node() -> Iterator[SecondNode]:
    """The node while the block lasts; afterwards the cluster is as it was."""
    node = SecondNode(Path(os.environ["MILLRACE_CLUSTER_STATE"]))
    try:
        node.start()
        yield node
    finally:
        node.stop()
        kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s", seconds=70)
        for namespace in ("kube-system", "minio", "millrace-system"):
            kubectl(
                "-n", namespace, "wait", "--for=condition=Available", "deployments", "--all", "--timeout=60s", seconds=70
            )
