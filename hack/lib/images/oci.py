"""Layers put together to images, in one OCI layout that all images of this machine share."""

import contextlib
import hashlib
import io
import json
import os
import platform
import shutil
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from cluster.shell import Fail, run

from .spec import CREATED, HOME, PREFIX, USER, Image, version

_LAYOUT = HOME / "layout"
_KEPT = HOME / "kept"  # a file for each tag, touched when used
_KEEP_SECONDS = 14 * 86400
_REFERENCE = "org.opencontainers.image.ref.name"
_INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True)
class Made:
    """An image that is there."""

    image: Image
    tag: str
    digest: str  # of its manifest
    size: int  # bytes that a registry sends

    @property
    def reference(self) -> str:
        return f"{PREFIX}/{self.image.name}:{self.tag}"


def assemble(image: Image, layers: list[tuple[str, Path]]) -> Made:
    """`layers`: what names the content, and the tar; the lowest first. What is there already is not made again."""
    if not (_LAYOUT / "index.json").exists():
        _LAYOUT.parent.mkdir(parents=True, exist_ok=True)
        run("umoci", "init", "--layout", _LAYOUT)
    settings = _settings(image)
    name = None
    for number, (_, layer) in enumerate(layers):
        below, name = name, _name(image if number else None, [key for key, _ in layers[: number + 1]])
        if name in _index():
            continue
        if below is None:
            run("umoci", "new", "--image", f"{_LAYOUT}:{name}")
        _add(below or name, layer, name)
    tag = hashlib.sha256(json.dumps([name, settings]).encode()).hexdigest()[:12]
    final = f"{image.name}_{tag}"
    if final not in _index():
        run("umoci", "config", "--no-history", "--image", f"{_LAYOUT}:{name}", "--tag", final, *settings)
    _KEPT.mkdir(exist_ok=True)
    for used in (final, name):
        (_KEPT / used).touch()
    return _made(image, tag)


def _settings(image: Image) -> list[str]:
    labels = {
        "title": image.title,
        "version": version(),
        "licenses": "Apache-2.0",
        "vendor": "millrace",
        "base.name": f"debian:{image.base.suite}",
    }
    environment = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", *image.environment)
    settings = [f"--config.label=org.opencontainers.image.{name}={value}" for name, value in labels.items()]
    settings += [f"--config.env={value}" for value in environment]
    settings += [f"--config.entrypoint={word}" for word in image.entrypoint]
    settings += [f"--config.user={USER}:{USER}", "--config.workingdir=/", f"--created={CREATED}", "--os=linux"]
    return [*settings, f"--architecture={architecture()}"]


def architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _name(image: Image | None, keys: list[str]) -> str:
    """Of an image that has these layers and no settings yet; the lowest layer is shared."""
    digest = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]
    return f"{image.name if image else 'base'}-layers_{digest}"


def _add(below: str, layer: Path, name: str) -> None:
    history = (f"--history.created={CREATED}", "--history.created_by=hack/images")
    run("umoci", "raw", "add-layer", "--image", f"{_LAYOUT}:{below}", "--tag", name, *history, layer)


def _index() -> dict[str, dict]:
    """The manifests of the layout by their name."""
    content = json.loads((_LAYOUT / "index.json").read_text())
    return {entry["annotations"][_REFERENCE]: entry for entry in content["manifests"] or ()}


def _blob(digest: str) -> Path:
    return _LAYOUT / "blobs" / digest.replace(":", "/")


def _made(image: Image, tag: str) -> Made:
    entry = _index()[f"{image.name}_{tag}"]
    manifest = json.loads(_blob(entry["digest"]).read_text())
    size = sum(part["size"] for part in (manifest["config"], *manifest["layers"]))
    return Made(image, tag, entry["digest"], size)


def archive(images: list[Made], target: Path) -> None:
    """One archive of all of them, each layer once, as containerd, kind and podman load it."""
    entries, blobs = [], set()
    for made in images:
        entry = dict(_index()[f"{made.image.name}_{made.tag}"])
        entry["annotations"] = dict.fromkeys((_REFERENCE, "io.containerd.image.name"), made.reference)
        entry["platform"] = {"architecture": architecture(), "os": "linux"}
        entries.append(entry)
        manifest = json.loads(_blob(entry["digest"]).read_text())
        blobs.update([entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])])
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
    with tarfile.open(target, "w") as tar:
        for name, content in (("oci-layout", {"imageLayoutVersion": "1.0.0"}), ("index.json", index)):
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for digest in sorted(blobs):
            tar.add(_blob(digest), f"blobs/{digest.replace(':', '/')}")


def push(made: Made, registry: str) -> str:
    """To REGISTRY/NAME:TAG; the credentials are those of `skopeo login`. The reference by digest."""
    name = f"{registry.rstrip('/')}/{made.image.name}"
    host = registry.partition("/")[0].partition(":")[0]
    options = ["--dest-tls-verify=false"] if host in ("localhost", "127.0.0.1") else []
    source = f"oci:{_LAYOUT}:{made.image.name}_{made.tag}"
    run("skopeo", "copy", "--quiet", *options, source, f"docker://{name}:{made.tag}")
    return f"{name}:{made.tag}@{made.digest}"


def tidy() -> None:
    """Forget what was not used for two weeks."""
    unused = [path for path in (*_KEPT.glob("*"), *(HOME / "layers").glob("*.tar")) if _old(path)]
    for path in unused:
        path.unlink()
        if path.parent == _KEPT:
            with contextlib.suppress(Fail):
                run("umoci", "rm", "--image", f"{_LAYOUT}:{path.name}")
    if unused:
        run("umoci", "gc", "--layout", _LAYOUT)
    for folder in (HOME / "base").glob("*"):
        if _old(folder / "digest") if folder.suffix != ".new" else _old(folder):
            shutil.rmtree(folder)


def _old(path: Path) -> bool:
    return path.stat().st_mtime < time.time() - _KEEP_SECONDS


def tools_missing() -> list[str]:
    """Debian packages to install."""
    folders = os.get_exec_path()
    needed = ("mmdebstrap", "skopeo", "umoci")
    return [name for name in needed if not any((Path(folder) / name).exists() for folder in folders)]
