"""Images of one static binary each, written as docker archives: no registry, no daemon, no build tool."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

from . import tools
from .context import CACHE

# What hack/manifests and hack/lib/cluster/config name. The tag needs no version: a new cluster has no images.
PREFIX = "localhost/millrace-hack"
NONROOT = "65532:65532"


def archive(name: str) -> Path:
    """The docker archive of the tool's image, written when absent."""
    binary = tools.binary(name)
    path = CACHE / "images" / f"{binary.parent.name}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        _write(new, name, binary)
        new.replace(path)
    return path


def _write(path: Path, name: str, binary: Path) -> None:
    layer = path.with_suffix(".layer")
    with tarfile.open(layer, "w") as tar:
        tar.add(binary, name, filter=_plain)
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    with layer.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": arch,
        "os": "linux",
        "config": {"Entrypoint": [f"/{name}"], "User": NONROOT, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [f"{PREFIX}/{name}:dev"], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for member, content in (("config.json", config), ("manifest.json", manifest)):
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, "layer.tar", filter=_plain)
    layer.unlink()


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same bytes whoever builds, whenever."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info
