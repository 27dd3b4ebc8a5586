"""Process 1 of a local node, in namespaces of its own: lays out the node, starts its servers, reaps.

Run by local.py as `python3 init.py STATE`. A server that exits is not started again: a cluster that hides its
failures is no use for tests. It leaves its status in STATE/exited/NAME, where `up` and `status` look.
"""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

# The node's own names for the state folder and the binaries, the same in every cluster.
STATE = Path("/run/millrace/state")
BIN = Path("/run/millrace/bin")

running: dict[int, str] = {}


def main() -> None:
    state = Path(sys.argv[1])
    settings = json.loads((state / "node.json").read_text())
    lay_out_files(state, Path(settings["bin"]))
    os.chdir("/")
    run("hostname", settings["node"])
    lay_out_network(settings["address"], settings["gateway"])

    for name, command in commands_of_the_api(settings).items():
        start(name, command)
    while not api_is_ready():
        reap(os.WNOHANG)
        time.sleep(0.05)
    for name, command in commands_by_the_api(settings).items():
        start(name, command)
    start("volumes", [sys.executable, "-B", str(Path(__file__).with_name("volumes.py")), str(STATE)])
    while True:
        reap()


def lay_out_files(state: Path, binaries: Path) -> None:
    """A /proc, /run and /var of the node's own. The sources are bound first: they may lie under what gets hidden."""
    run("mount", "-t", "proc", "proc", "/proc")
    stage = state / "run"
    stage.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", stage)
    for source, name in ((state, STATE), (binaries, BIN)):
        target = stage / name.relative_to("/run")
        target.mkdir(parents=True)
        run("mount", "--bind", source, target)
    (stage / "lock").mkdir()

    var = state / "var"
    for name in ("lib", "log", "tmp", "cache"):
        (var / name).mkdir(parents=True)
    (var / "run").symlink_to("/run")
    (var / "lock").symlink_to("/run/lock")

    run("mount", "--rbind", stage, "/run")
    run("mount", "--bind", STATE / "var", "/var")
    run("mount", "--make-rshared", "/")  # volumes propagate into containers


def lay_out_network(address: str, gateway: str) -> None:
    run("ip", "link", "set", "lo", "up")
    while subprocess.run(["ip", "link", "show", "eth0"], check=False, capture_output=True).returncode:
        time.sleep(0.02)  # the host's side brings it
    run("ip", "address", "add", f"{address}/24", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", gateway)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # One rule here instead of a chain per pod by the network plugin.
    run("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.244.0.0/16", "-o", "eth0", "-j", "MASQUERADE")


def commands_of_the_api(settings: dict) -> dict[str, list[str]]:
    """What is there before the API server answers, and it."""
    config, pki, address = STATE / "config", STATE / "pki", settings["address"]
    return {
        "containerd": ["containerd", "--config", f"{config}/containerd.toml"],
        "etcd": [
            "--data-dir=/var/lib/etcd",
            "--unsafe-no-fsync",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "kube-apiserver": [
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={address}",
            "--bind-address=0.0.0.0",
            "--secure-port=6443",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/admin.crt",
            f"--kubelet-client-key={pki}/admin.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--audit-policy-file={config}/audit-policy.yaml",
            f"--audit-log-path={STATE}/audit/audit.log",
            "--audit-log-maxsize=100",
            "--audit-log-maxbackup=5",
        ],
    }


def commands_by_the_api(settings: dict) -> dict[str, list[str]]:
    """What asks the API server."""
    config, pki, address = STATE / "config", STATE / "pki", settings["address"]

    def kubeconfig(name: str) -> str:
        return f"--kubeconfig={config}/{name}.kubeconfig"

    return {
        "kube-controller-manager": [
            kubeconfig("kube-controller-manager"),
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={pki}/sa.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            # the defaults are for large clusters: benchmarks would measure the 20 requests a second
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
            "--concurrent-job-syncs=20",
        ],
        "kube-scheduler": [kubeconfig("kube-scheduler"), "--leader-elect=false"],
        "kubelet": [
            kubeconfig("kubelet"),
            f"--config={config}/kubelet.yaml",
            f"--hostname-override={settings['node']}",
            f"--node-ip={address}",
            f"--cgroup-root={settings['cgroup']}",
        ],
        "kube-proxy": [
            kubeconfig("kube-proxy"),
            "--proxy-mode=iptables",
            "--cluster-cidr=10.244.0.0/16",
            f"--hostname-override={settings['node']}",
            # the machine's limits are not ours to raise
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ],
    }


def start(name: str, command: list[str]) -> None:
    program = command if name in ("containerd", "volumes") else [str(BIN / name), *command]
    with (STATE / "log" / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    running[child.pid] = name
    child.returncode = 0  # reap() waits for all children, so that Popen need not


def reap(options: int = 0) -> None:
    try:
        pid, status = os.waitpid(-1, options)
    except ChildProcessError:
        time.sleep(1)  # nothing left to wait for: stay, for `logs` and `down`
        return
    if pid in running:
        (STATE / "exited" / running.pop(pid)).write_text(f"{os.waitstatus_to_exitcode(status)}\n")


def api_is_ready() -> bool:
    trust = ssl.create_default_context(cafile=str(STATE / "pki/ca.crt"))
    try:
        with urllib.request.urlopen("https://127.0.0.1:6443/readyz", context=trust, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def run(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
