"""Images for tests, made from the installation's own: there is no registry to take others from."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "localhost/millrace-test/root:dev"


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@cache
def image_of_root() -> str:
    """A Python 3.11 image whose own user is root, loaded into the cluster; its name."""
    made = _run(sys.executable, ROOT / "hack" / "images", "list").splitlines()
    [tag] = [line.split()[1] for line in made if "runtime-3.11" in line]
    home = _run(
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); from images.spec import HOME; print(HOME)",
        ROOT / "hack" / "lib",
    )
    with tempfile.TemporaryDirectory() as folder:
        layout, archive = f"{folder}/layout", f"{folder}/root.tar"
        _run("skopeo", "copy", f"oci:{home.strip()}/layout:runtime-3.11_{tag}", f"oci:{layout}:root")
        _run("umoci", "config", "--image", f"{layout}:root", "--config.user", "root")
        user = json.loads(_run("skopeo", "inspect", "--config", f"oci:{layout}:root"))["config"]["User"]
        assert user == "root", user
        _run("skopeo", "copy", f"oci:{layout}:root", f"docker-archive:{archive}:{NAME}")
        _run(ROOT / "hack" / "cluster", "load", archive)
    return NAME
