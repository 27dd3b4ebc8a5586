"""The Helm release that hack/install made: upgraded, uninstalled and put back by tests that run alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.cluster import kubectl

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "millrace"
NAME, NAMESPACE = "millrace", "millrace-system"
SECONDS = 120
SHIPPED = ("operator", "crds", "helm", "hack/lib/images")  # what an installation is made of


def run(*command: object, **options: Any) -> str:
    """Runs a command and returns what it prints; fails with its complaint."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False, **options)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr or done.stdout}"
    return done.stdout


def helm(*arguments: object, namespace: str = NAMESPACE) -> str:
    """helm, on the cluster of the tests unless the arguments name another kubeconfig."""
    return run("helm", *arguments, f"--namespace={namespace}")


class Release:
    """The release, with the values that it was installed with."""

    def __init__(self, folder: Path) -> None:
        self.values = json.loads(helm("get", "values", NAME, "--output=json"))
        self._file = folder / "values.json"

    def upgrade(self, chart: Path = CHART, **changes: Any) -> None:
        """`helm upgrade --install`, with values that are others; returns when the new operator is ready."""
        self._file.write_text(json.dumps({**self.values, **changes}))
        helm("upgrade", "--install", NAME, chart, "--values", self._file, "--wait", f"--timeout={SECONDS}s")

    def uninstall(self) -> None:
        """`helm uninstall`, where it is installed; returns when the operator is gone."""
        helm("uninstall", NAME, "--ignore-not-found", "--wait", "--cascade=foreground", f"--timeout={SECONDS}s")


@contextmanager
def released(folder: Path) -> Iterator[Release]:
    """The release; at the end it is as it was."""
    release = Release(folder)
    try:
        yield release
    finally:
        release.upgrade()


def previous(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The chart of the commit before the last change of what is shipped, and values that name the images made from it.

    They are loaded into the cluster. Needs the history of the checkout: a shallow clone skips the test.
    """
    if run("git", "rev-parse", "--is-shallow-repository", cwd=ROOT).strip() == "true":
        pytest.skip("a shallow clone has no commit before this one to upgrade from")
    last = run("git", "log", "-1", "--format=%H", "--", *SHIPPED, cwd=ROOT).strip()
    tree, archive = folder / "previous", folder / "previous.tar"
    tree.mkdir()
    run("git", "archive", f"--output={archive}", f"{last}^", cwd=ROOT)
    run("tar", "-xf", archive, cwd=tree)
    images = folder / "images.tar"
    environment = {**os.environ, "PYTHONPATH": str(tree / "hack" / "lib")}
    made = run(sys.executable, "-c", BUILD, images, cwd=tree, env=environment)
    run(ROOT / "hack" / "cluster", "load", images)
    tags: dict[str, str] = json.loads(made.splitlines()[-1])
    versions = {name.removeprefix("runtime-"): {"tag": tag} for name, tag in tags.items() if name.startswith("runtime-")}
    others = {name: {"tag": tag} for name, tag in tags.items() if not name.startswith("runtime-")}
    return tree / "helm" / "millrace", {"images": others, "pythonVersions": versions}


BUILD = """
import json, sys
from pathlib import Path
from images import cli, oci, spec
made = cli.build_all(list(spec.IMAGES))
oci.archive(made, Path(sys.argv[1]))
print(json.dumps({one.image.name: one.tag for one in made}))
"""


def operator_pods() -> list[str]:
    """UIDs of the operator's pods."""
    selector = "app.kubernetes.io/component=operator"
    return kubectl("-n", NAMESPACE, "get", "pods", "-l", selector, "-o", "jsonpath={.items[*].metadata.uid}").split()
