"""Programs built from their Go modules, as hack/tools/NAME/go.mod pins them, one from npm, and uv from PyPI."""

import hashlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .context import CACHE, HACK
from .shell import Fail, locked, run_long, say

KUBERNETES = "v1.34.4"
UV = "0.13.8"

_HELM = "helm.sh/helm/v3"


@dataclass(frozen=True)
class Tool:
    module: str  # folder of hack/tools
    packages: tuple[str, ...] = ("tool",)  # "tool": what its go.mod lists as tools
    variables: dict[str, str] = field(default_factory=dict)  # set at link time
    rename: dict[str, str] = field(default_factory=dict)  # where Go's name for a binary says too little
    for_image: bool = False  # runs in a pod, so for Linux whatever this machine is
    npm: str = field(default="", repr=False)  # of an npm package that package-lock.json pins: its program


# what the servers say they are, and the user agent they leave in the audit log
_KUBERNETES_VERSION = {
    "k8s.io/component-base/version.gitVersion": KUBERNETES,
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "34",
    "k8s.io/client-go/pkg/version.gitVersion": KUBERNETES,
    "k8s.io/client-go/pkg/version.gitCommit": "unknown",
}

TOOLS = {
    "kubernetes": Tool("kubernetes", variables=_KUBERNETES_VERSION, rename={"server": "etcd"}),
    "kubectl": Tool("kubernetes", ("k8s.io/kubernetes/cmd/kubectl",), _KUBERNETES_VERSION),
    "helm": Tool(
        "helm",
        variables={
            f"{_HELM}/internal/version.version": "v3.22.0",
            f"{_HELM}/internal/version.metadata": "",
            # what `helm template` and `helm lint` take the cluster to be
            f"{_HELM}/pkg/chartutil.k8sVersionMajor": "1",
            f"{_HELM}/pkg/chartutil.k8sVersionMinor": "34",
            f"{_HELM}/pkg/lint/rules.k8sVersionMajor": "1",
            f"{_HELM}/pkg/lint/rules.k8sVersionMinor": "34",
        },
    ),
    "coredns": Tool("coredns", for_image=True),
    "minio": Tool("minio", for_image=True),
    "pause": Tool("pause", (".",), for_image=True),
    "kind": Tool("kind"),
    "kwok": Tool("kwok", variables={"sigs.k8s.io/kwok/pkg/consts.Version": "v0.7.0"}),
    "azurite": Tool("azurite", npm="azurite-blob"),
    "argo": Tool(
        "argo", variables={"github.com/argoproj/argo-workflows/v3.version": "v3.6.2"}, rename={"workflow-controller": "argo"}
    ),
    "bombardier": Tool("bombardier"),
    "kueue": Tool("kueue", for_image=True),
    "s5cmd": Tool("s5cmd", variables={"github.com/peak/s5cmd/v2/version.Version": "v2.3.0"}),
    "toxiproxy": Tool("toxiproxy", rename={"server": "toxiproxy", "cli": "toxiproxy-cli"}),
    "fake-gcs-server": Tool("fake-gcs-server"),
    "versitygw": Tool("versitygw"),
}

# what is built along with others, for those who want one of them
PARTS = dict.fromkeys(("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"), "kubernetes")

NAMES = sorted({*TOOLS, *PARTS, "uv"} - {"kubernetes"})


def folder(name: str) -> Path:
    """Where the tool's binaries are, built or not: the name changes with all that goes into them."""
    tool = TOOLS[name]
    digest = hashlib.sha256(repr(tool).encode())
    digest.update(f"{platform.system()} {platform.machine()}".encode())
    for source in sorted((HACK / "tools" / tool.module).iterdir()):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return CACHE / "bin" / f"{name}-{digest.hexdigest()[:12]}"


def build(name: str) -> Path:
    """The folder with the tool's binaries, which are built when absent."""
    target = folder(name)
    if target.is_dir():
        return target
    program, version = ("npm", "npm and Node.js 20") if TOOLS[name].npm else ("go", "Go 1.26")
    if not shutil.which(program):
        raise Fail(f"building {name} needs {version} or newer on PATH: install it and try again")
    with locked(CACHE / "lock" / name):
        if not target.is_dir():
            _make(name, target)
    return target


def binary(name: str) -> Path:
    return (uv() if name == "uv" else build(PARTS.get(name, name))) / name


def _make(name: str, target: Path) -> None:
    new = target.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    (_install if TOOLS[name].npm else _compile)(name, TOOLS[name], new)
    new.rename(target)
    say(f"built {name}")


def _install(name: str, tool: Tool, new: Path) -> None:
    for pinned in ("package.json", "package-lock.json"):
        shutil.copy(HACK / "tools" / tool.module / pinned, new)
    command = ["npm", "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
    run_long(f"installing {name}, once", command, CACHE / "log" / f"build-{name}.log", cwd=new)
    (new / name).symlink_to(f"node_modules/.bin/{tool.npm}")


def _compile(name: str, tool: Tool, new: Path) -> None:
    variables = " ".join(f"-X {key}={value}" for key, value in tool.variables.items())
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": ""}
    if tool.for_image:
        environment["GOOS"] = "linux"
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {variables}"]
    run_long(
        f"building {name}, once, for minutes",
        [*command, "-o", f"{new}/", *tool.packages],
        CACHE / "log" / f"build-{name}.log",
        cwd=HACK / "tools" / tool.module,
        env=environment,
    )
    for old, better in tool.rename.items():
        (new / old).rename(new / better)


def uv() -> Path:
    """The folder that has uv and nothing else, to go on PATH."""
    home = CACHE / "bin" / f"uv-{UV}"
    with locked(CACHE / "lock" / "uv"):
        if not (home / "path").exists():
            log = CACHE / "log" / "uv.log"
            run_long("making a place for uv", [sys.executable, "-m", "venv", "--clear", home / "venv"], log)
            run_long(f"installing uv {UV}", [home / "venv/bin/pip", "install", "--quiet", f"uv=={UV}"], log)
            new = home / "path.new"
            new.mkdir(exist_ok=True)
            for name in ("uv", "uvx"):
                (new / name).symlink_to(home / "venv/bin" / name)
            new.rename(home / "path")
    return home / "path"
