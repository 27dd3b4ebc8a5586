"""The layers above the base. A layer is a tar that depends on nothing but its inputs, kept under their hash."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cluster import tools
from cluster.context import REPO
from cluster.shell import Fail, run, say

from .base import Built, compile_all
from .spec import EPOCH, HOME, PACKAGE, RUNTIME, SITE, Image, sources

_LAYERS = HOME / "layers"
_RECIPE = "1"  # to be raised when the code below makes other layers of the same inputs
_PLATFORM = {"x86_64": "x86_64-manylinux_2_28", "aarch64": "aarch64-manylinux_2_28"}
_PROGRAMS = ("uv",)  # the programs of dependencies that images need; the others are for people


def dependencies(image: Image, built: Built) -> Path | None:
    """What uv.lock names, wheels only, hashes checked; None where the image needs none."""
    if not image.export:
        return None
    uv = tools.uv() / "uv"
    common = ("--quiet", "--frozen", "--no-emit-project", "--no-header", "--no-annotate")
    locked = run(uv, "export", *common, *image.export, cwd=REPO).stdout
    machine = os.uname().machine
    key = _key("dependencies", image.base.python, machine, locked)

    def make(folder: Path) -> None:
        site = folder / SITE
        options = ["--python-version", image.base.python, "--python-platform", _PLATFORM.get(machine, machine)]
        options += ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-config"]
        run(uv, "pip", "install", "--quiet", *options, "--target", site, "--requirements", "-", stdin=locked)
        for name in _PROGRAMS:
            program = site / "bin" / name
            if program.exists():
                target = folder / "usr/local/bin" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                program.rename(target)
        shutil.rmtree(site / "bin", ignore_errors=True)
        (site / ".lock").unlink(missing_ok=True)
        for noted in site.glob("*.dist-info/RECORD"):
            noted.unlink()  # nobody uninstalls here, and it names what is gone

    return _layer(f"dependencies of {image.name}", key, built, make)


def source(image: Image, built: Built) -> Path:
    """Our code: the part of the package that the image needs, or the bundle that runs user code."""
    if image.source is None:
        return _runtime(image, built)
    files = sources(image.source)

    def make(folder: Path) -> None:
        for path in files:
            target = folder / SITE / "millrace" / path.relative_to(PACKAGE)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    return _layer(f"source of {image.name}", _key("source", image.base.python, *files), built, make)


def _runtime(image: Image, built: Built) -> Path:
    files = sources(("__init__.py", "protocol.py", "inpod/__init__.py", "inpod/bundle.py", "inpod/runtime"))

    def make(folder: Path) -> None:
        environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        run(sys.executable, "-P", "-m", "millrace.inpod.bundle", folder / RUNTIME, env=environment)

    return _layer(f"source of {image.name}", _key("runtime", image.base.python, *files), built, make)


def _key(*parts: str | Path) -> str:
    digest = hashlib.sha256(f"{_RECIPE} {EPOCH}".encode())
    for part in parts:
        text = str(part.relative_to(REPO)).encode() if isinstance(part, Path) else part.encode()
        content = part.read_bytes() if isinstance(part, Path) else b""
        digest.update(b"%d %d\n" % (len(text), len(content)) + text + content)
    return digest.hexdigest()[:24]


def _layer(what: str, key: str, built: Built, make: Callable[[Path], None]) -> Path:
    target = _LAYERS / f"{key}.tar"
    if target.exists():
        os.utime(target)  # in use
        return target
    _LAYERS.mkdir(parents=True, exist_ok=True)
    # In the base's folder, as its Python must see it there.
    with tempfile.TemporaryDirectory(dir=built.root / "tmp") as name:
        folder = Path(name)
        try:
            make(folder)
        except OSError as error:
            raise Fail(f"{what}: {error}") from error
        compile_all(built.root, folder)
        new = target.with_suffix(".new")
        _pack(folder, new)
        new.rename(target)
    say(f"{what}: {target.stat().st_size / 1e6:.1f} MB")
    return target


def _pack(folder: Path, target: Path) -> None:
    """Only what is ours: an entry for a folder of the base would change that."""
    names = [path for place in (SITE, "usr/local/bin") for path in (folder / place).glob("*")]
    names += [path for path in (folder / "opt/millrace",) if path.is_dir()]
    options = ["--format=gnu", "--sort=name", f"--mtime=@{EPOCH}", "--owner=0", "--group=0", "--numeric-owner"]
    options += ["--mode=u=rwX,go=rX", "--null", "--verbatim-files-from", "--files-from=-"]
    listing = "\0".join(sorted(str(path.relative_to(folder)) for path in names))
    run("tar", "--create", "--file", target, "--directory", folder, *options, stdin=listing)
