"""What a local cluster asks of the machine it runs on, and gives back: packages, sysctls, network, cgroups."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path

from .context import CACHE, Cluster
from .shell import Fail, locked, run, run_long, say

# what must be there: the Debian package that has it
_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "openssl": "openssl",
    "unshare": "util-linux",
    # what images are built and carried with
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "skopeo": "skopeo",
}

# Not namespaced: the forwarding of the host, and what the kubelet sets. The last cluster to go puts them back.
_SYSCTLS = (
    "net/ipv4/ip_forward",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SYSCTL_RECORD = Path("/run/millrace-sysctls.json")
_CGROUPS = Path("/sys/fs/cgroup")


def install_packages() -> None:
    missing = sorted({package for what, package in _PACKAGES.items() if not shutil.which(what)})
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise Fail("not here: " + ", ".join(missing) + "; install them, or a Docker for kind to use")
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    log = CACHE / "log" / "apt.log"
    with locked(CACHE / "lock" / "apt"), _no_services():
        run_long("refreshing the package lists", ["apt-get", "-q", "update"], log, env=environment)
        run_long(
            "installing " + " ".join(missing),
            ["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing],
            log,
            env=environment,
        )


@contextlib.contextmanager
def _no_services():
    """Packages must not start their services: the cluster runs a containerd of its own."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def free_subnet(cluster: Cluster) -> str:
    """The start of the node's network, 10.254.N: by the cluster's id, past those in use."""
    used = run("ip", "-4", "-o", "address", "show").stdout
    first = int(cluster.id, 16)
    for step in range(254):
        subnet = f"10.254.{(first + step) % 254 + 1}"
        if f" {subnet}." not in used:
            return subnet
    raise Fail("every network in 10.254.0.0/16 is in use; `hack/cluster down` in checkouts that need no cluster")


def veth(cluster: Cluster) -> str:
    return f"mr-{cluster.id}"


def connect(cluster: Cluster, subnet: str, pid: int) -> None:
    """A cable from the host (SUBNET.1) to the node's namespace, and the way out through the host."""
    name = veth(cluster)
    run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", pid)
    run("ip", "address", "add", f"{subnet}.1/24", "dev", name)
    run("ip", "link", "set", name, "up")
    for table, chain, rule in _rules(cluster, subnet):
        run("iptables", "-w", "-t", table, "-I", chain, *rule)


def disconnect(cluster: Cluster, subnet: str) -> None:
    for table, chain, rule in _rules(cluster, subnet):
        while run("iptables", "-w", "-t", table, "-D", chain, *rule, check=False).returncode == 0:
            pass
    run("ip", "link", "delete", veth(cluster), check=False)  # often gone with the node's namespace


def _rules(cluster: Cluster, subnet: str):
    name, comment = veth(cluster), ("-m", "comment", "--comment", cluster.name)
    yield "nat", "POSTROUTING", ["-s", f"{subnet}.0/24", "!", "-o", name, *comment, "-j", "MASQUERADE"]
    yield "filter", "FORWARD", ["-i", name, *comment, "-j", "ACCEPT"]
    yield "filter", "FORWARD", ["-o", name, *comment, "-j", "ACCEPT"]


def borrow_sysctls(cluster: Cluster) -> None:
    with locked(CACHE / "lock" / "sysctls"):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        record = json.loads(_SYSCTL_RECORD.read_text()) if _SYSCTL_RECORD.exists() else {}
        if record.get("boot") != boot:  # none, or from before a restart
            record = {"boot": boot, "users": [], "before": {name: _sysctl(name).read_text() for name in _SYSCTLS}}
        record["users"] = sorted({*record["users"], cluster.id})
        _SYSCTL_RECORD.write_text(json.dumps(record, indent=1))
        _sysctl("net/ipv4/ip_forward").write_text("1")


def return_sysctls(cluster: Cluster) -> None:
    with locked(CACHE / "lock" / "sysctls"):
        if not _SYSCTL_RECORD.exists():
            return
        record = json.loads(_SYSCTL_RECORD.read_text())
        record["users"] = [user for user in record["users"] if user != cluster.id]
        if record["users"]:
            _SYSCTL_RECORD.write_text(json.dumps(record, indent=1))
            return
        for name, before in record["before"].items():
            if _sysctl(name).read_text() != before:
                _sysctl(name).write_text(before)
        _SYSCTL_RECORD.unlink()


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name


def make_cgroups(cluster: Cluster) -> None:
    """The kubelet wants its root group to be there, in every hierarchy."""
    if (_CGROUPS / "cgroup.controllers").exists():  # version 2
        controllers = (_CGROUPS / "cgroup.controllers").read_text().split()
        for group in (_CGROUPS, _CGROUPS / cluster.name):
            group.mkdir(exist_ok=True)
            (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
        return
    for hierarchy in _CGROUPS.iterdir():
        if (hierarchy / "cgroup.procs").exists() and not hierarchy.is_symlink():
            (hierarchy / cluster.name).mkdir(exist_ok=True)


def remove_cgroups(cluster: Cluster) -> None:
    """Their processes are dead, but the kernel may take a moment to see it."""
    groups = [_CGROUPS / cluster.name, *_CGROUPS.glob(f"*/{cluster.name}")]
    deadline = time.monotonic() + 10
    while any(group.exists() for group in groups):
        for group in groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        if time.monotonic() > deadline:
            say(f"the cgroups named {cluster.name} could not be removed: something still runs in them")
            return
        time.sleep(0.02)


def name_servers() -> str:
    """The host's resolver settings, less the servers that only the host's own loopback reaches."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        lines = path.read_text().splitlines() if path.exists() else []
        words = [line.split() for line in lines if not line.startswith(("#", ";"))]
        kept = [word for word in words if word[:1] != ["nameserver"] or not word[1].startswith(("127.", "::1"))]
        if any(word[:1] == ["nameserver"] for word in kept):
            return "".join(" ".join(word) + "\n" for word in kept)
    raise Fail("no name server in /etc/resolv.conf that pods could reach")
