"""Debian with Python, as a layer and as a folder in which that Python can run."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

from cluster.shell import Fail, run, run_long, say

from .spec import EPOCH, HOME, USER, Base

_DROPPED = ("man", "doc", "locale", "info", "lintian", "bash-completion", "zsh", "gcc", "pixmaps")
_OPTIONS = [f"path-exclude=/usr/share/{name}/*" for name in _DROPPED] + ["path-include=/usr/share/doc/*/copyright"]

# $1 is the new root. unchecked-hash: byte code that is valid whatever becomes of its source's date.
_CUSTOMIZE = f"""
set -e
echo 'millrace:x:{USER}:' >> "$1/etc/group"
echo 'millrace:x:{USER}:{USER}:millrace:/home/millrace:/usr/sbin/nologin' >> "$1/etc/passwd"
install -d -m 0755 -o {USER} -g {USER} "$1/home/millrace"
test -e "$1/usr/bin/python" || ln -s python3 "$1/usr/bin/python"
rm -rf "$1"/usr/lib/python3*/test "$1"/usr/lib/python3*/pydoc_data/topics.py
find "$1/usr/lib" "$1/usr/share" -name __pycache__ -prune -exec rm -rf {{}} +
chroot "$1" sh -c 'python3 -m compileall -q --invalidation-mode unchecked-hash /usr/lib/python3* /usr/share/python3'
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old
rm -f "$1"/var/log/*.log "$1"/var/log/apt/* "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/*-
"""


class Built:
    """A base that is there: its layer, what names its content, and its folder."""

    def __init__(self, folder: Path):
        self.layer = folder / "layer.tar"
        self.root = folder / "root"
        self.digest = (folder / "digest").read_text()


def build(base: Base, *, fresh: bool) -> Built:
    """From the cache unless `fresh`: then with the packages of today."""
    recipe = json.dumps([base.suite, base.packages, base.options, _OPTIONS, _CUSTOMIZE, EPOCH])
    folder = HOME / "base" / f"{base.suite}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if fresh or not folder.is_dir():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        _bootstrap(base, new)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    os.utime(folder / "digest")  # in use
    return Built(folder)


def _bootstrap(base: Base, folder: Path) -> None:
    layer, root, hook = folder / "layer.tar", folder / "root", folder / "customize"
    hook.write_text("#!/bin/sh" + _CUSTOMIZE)
    hook.chmod(0o755)
    command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(base.packages)}", f"--customize-hook={hook}"]
    command += [*(f"--dpkgopt={option}" for option in _OPTIONS), *base.options]
    run_long(
        f"Debian {base.suite} with Python {base.python}",
        [*command, base.suite, str(layer), *_mirrors(base.suite)],
        HOME / "log" / f"{base.suite}.log",
        env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH), "PYTHONHASHSEED": "0"},
    )
    root.mkdir()
    run("tar", "--extract", "--file", layer, "--directory", root, "--exclude=./dev/*", "--no-same-owner")
    with layer.open("rb") as file:
        (folder / "digest").write_text(hashlib.file_digest(file, "sha256").hexdigest())
    hook.unlink()
    say(f"Debian {base.suite}: {layer.stat().st_size / 1e6:.0f} MB")


def _mirrors(suite: str) -> list[str]:
    """The places this machine has its own Debian packages from; where it is no Debian, mmdebstrap knows some."""
    targets = ("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages", "Origin: Debian")
    try:
        said = run(*targets, check=False).stdout
    except Fail:
        return []
    places = dict(line.split() for line in said.splitlines() if line.startswith(("Debian ", "Debian-Security ")))
    if "Debian" not in places:
        return []
    lines = [f"deb {places['Debian']} {name} main" for name in (suite, f"{suite}-updates")]
    if "Debian-Security" in places:
        lines.append(f"deb {places['Debian-Security']} {suite}-security main")
    return lines


def compile_all(root: Path, folder: Path) -> None:
    """Byte code, by the Python of the base, for the files in `folder`, which lies in `root` and becomes its /."""
    inside = "/" + str(folder.relative_to(root))
    command = ["chroot", str(root), "/usr/bin/python3", "-m", "compileall", "-q"]
    if os.geteuid() != 0:
        command = ["unshare", "--map-root-user", *command]
    command += ["--invalidation-mode", "unchecked-hash", "-s", inside, "-p", "/", inside]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        raise Fail(f"the source does not compile:\n{(done.stdout + done.stderr).replace(inside, '')}")
