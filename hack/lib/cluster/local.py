"""The provider for machines without Docker: one node, Kubernetes from its Go modules, in namespaces of its own.

Everything of the node (processes, mounts, pod and service networks, iptables rules) is inside the namespaces of
one process, init.py, and ends with it. Outside are only the state folder, one veth, three iptables rules, some
sysctls and the cgroups of the pods: machine.py makes and removes these.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import images, machine, pki, tools
from .context import CONFIG, Cluster
from .kubectl import api_answers
from .shell import Fail, say, tail, tail_file, wait_for

NODE = "node0"
SERVERS = ("containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
IMAGES = ("pause", "coredns", "minio")
MANIFESTS = ("coredns", "minio", "storage")


def prepare() -> None:
    if os.geteuid() != 0:
        raise Fail("the local cluster needs root: run as root, or install a Docker or Podman for kind to use")
    machine.install_packages()
    tools.build("kubernetes")


def start(cluster: Cluster) -> None:
    subnet = machine.free_subnet(cluster)
    cluster.note(provider="local", subnet=subnet)
    settings = {
        "node": NODE,
        "address": f"{subnet}.2",
        "gateway": f"{subnet}.1",
        "cgroup": f"/{cluster.name}",
        "bin": str(tools.build("kubernetes")),
    }
    _write_state(cluster, settings)
    machine.borrow_sysctls(cluster)
    machine.make_cgroups(cluster)
    pid = _start_init(cluster)
    machine.connect(cluster, subnet, pid)
    say(f"node {NODE} started at {subnet}.2, process {pid}")

    with ThreadPoolExecutor() as pool:  # images go in while the API server comes up
        loading = [pool.submit(_load_own, cluster, pid, name) for name in IMAGES]
        wait_for("the API server", lambda: _answers(cluster), 180)
        say("the API server answers")
        for load_ in loading:
            load_.result()
    say("images are in")


def _load_own(cluster: Cluster, pid: int, name: str) -> None:
    wait_for("containerd", lambda: _ctr(pid, "version", check=False).returncode == 0 or _fail_if_exited(cluster), 60)
    load(cluster, images.archive(name))


def _write_state(cluster: Cluster, settings: dict) -> None:
    state, config, keys = cluster.state, cluster.state / "config", cluster.state / "pki"
    for name in ("log", "exited", "audit"):
        (state / name).mkdir()
    shutil.copytree(CONFIG, config)
    (config / "resolv.conf").write_text(machine.name_servers())
    pki.make(keys, NODE, settings["address"])
    for who in ("kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"):
        pki.kubeconfig(keys, who, "https://127.0.0.1:6443", config / f"{who}.kubeconfig")
    pki.kubeconfig(keys, "admin", f"https://{settings['address']}:6443", cluster.kubeconfig)
    (state / "node.json").write_text(json.dumps(settings))


def _start_init(cluster: Cluster) -> int:
    """Start process 1 of the node, cut loose from this one; returns its id on the host."""
    namespaces = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
    script = Path(__file__).with_name("init.py")
    with (cluster.state / "log" / "init.log").open("ab") as log:
        parent = subprocess.Popen(
            ["unshare", *namespaces, sys.executable, "-B", script, cluster.state],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    wait_for("the node's process 1", lambda: parent.poll() is not None or children.read_text(), 10, 0.01)
    if parent.poll() is not None:
        raise Fail(f"the node did not start:\n{tail((cluster.state / 'log/init.log').read_text())}")
    pid = int(children.read_text())
    cluster.note(init=[pid, _started(pid)])
    return pid


def _started(pid: int) -> str | None:
    """Tells a process from a later one with the same id: the machine's boot and the tick it started at."""
    try:
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + "/" + ticks


def init_pid(cluster: Cluster) -> int | None:
    """The node's process 1 on the host, if it lives."""
    pid, started = cluster.record().get("init", (0, ""))
    return pid if pid and _started(pid) == started else None


def exited(cluster: Cluster) -> list[str]:
    folder = cluster.state / "exited"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _fail_if_exited(cluster: Cluster) -> None:
    if not init_pid(cluster):
        raise Fail("the node has ended:\n" + tail(tail_file(cluster.state / "log/init.log", 15)))
    for name in exited(cluster):
        raise Fail(f"{name} has exited:\n" + tail(tail_file(cluster.state / f"log/{name}.log", 15)))


def _answers(cluster: Cluster) -> bool:
    _fail_if_exited(cluster)
    return api_answers(cluster)


def problem(cluster: Cluster) -> str | None:
    """What is wrong with a cluster that was up; None for nothing."""
    try:
        return None if _answers(cluster) else "the API server does not answer"
    except Fail as failure:
        return str(failure)


def minio_address(cluster: Cluster) -> str:
    return f"{cluster.record()['subnet']}.2:30900"


def load(cluster: Cluster, archive: Path) -> str:
    pid = init_pid(cluster)
    if not pid:
        raise Fail("the node does not run: `hack/cluster up` first")
    with archive.open("rb") as file:
        return _ctr(pid, "--namespace", "k8s.io", "images", "import", "-", stdin_file=file).stdout


def _ctr(pid: int, *arguments: str, check: bool = True, stdin_file=None) -> subprocess.CompletedProcess:
    """ctr inside the node, as the node's containerd is reached only there."""
    words = ["nsenter", "--target", str(pid), "--mount", "ctr", *arguments]
    given = stdin_file or subprocess.DEVNULL
    done = subprocess.run(words, check=False, capture_output=True, text=True, stdin=given)
    if check and done.returncode:
        raise Fail(f"`ctr {' '.join(arguments)}` failed:\n{tail(done.stderr)}")
    return done


def stop(cluster: Cluster) -> None:
    record = cluster.record()
    pid = init_pid(cluster)
    if pid:
        os.kill(pid, signal.SIGKILL)  # the kernel kills all in its process namespace before it lets it go
        wait_for("the end of the node's processes", lambda: not init_pid(cluster), 30, 0.02)
    if "subnet" in record:
        machine.disconnect(cluster, record["subnet"])
    machine.remove_cgroups(cluster)
    machine.return_sysctls(cluster)
