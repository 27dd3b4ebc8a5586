"""The same manifest on this machine and in the cluster: the same content digest, and the same zip where the image is the same."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.cluster import Namespace, function, job_run
from support.store import Bucket, data_store

CODE = """
import locale, os, pathlib, shutil, time

def main(data, threshold):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    for path in pathlib.Path(data).rglob("*"):
        if path.is_file():
            target = out / path.relative_to(data)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    (out / "here.txt").write_text(f"{time.tzname} {time.localtime(0)} {locale.getpreferredencoding()} {threshold} äöü")
    (out / "tool.sh").write_text("#!/bin/sh")
    (out / "tool.sh").chmod(0o755)
    (out / "empty").mkdir()
    os.open(out / "mode", os.O_CREAT, 0o777)
"""
VARIED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "another time zone": {"env": {"TZ": "Pacific/Auckland"}},
    "a closed umask": {"umask": 0o077},
    "an open umask": {"umask": 0o000},
    "another locale": {"env": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0"}},
    "one processor": {"command": ["taskset", "-c", str(min(os.sched_getaffinity(0)))]},
    "another order of files": {"seed": 7},
}


def tree() -> dict[str, bytes]:
    """Small, large, compressible and random files, with names whose order depends on the locale."""
    random_bytes = random.Random(1).randbytes(3 << 20)
    rows = b"".join(b"%d,%d\n" % (number, number * number) for number in range(300_000))
    names = ("B", "a", "ä", "Z.csv", "a.d/x", "ab/c", "z y", "100%")
    return {"rows.csv": rows, "random.bin": random_bytes, **{name: name.encode() * 9 for name in names}}


def write(folder: Path, files: dict[str, bytes], seed: int) -> None:
    order = sorted(files)
    random.Random(seed).shuffle(order)
    for name in order:
        path = folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])


def printed(text: str, title: str) -> str:
    [line] = [line for line in text.splitlines() if line.startswith(title)]
    return line.split()[-1]


def test_local_and_cluster_digests_are_equal_whatever_differs(namespace: Namespace, store: Bucket, tmp_path: Path) -> None:
    files = tree()
    for name, data in files.items():
        store.put(f"in/{name}", data)
    objects = [
        function("f", CODE, pythonVersion="3.11"),
        job_run(
            "r",
            "f",
            parameters={"threshold": 0.5},
            inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}}],
            outputs=[{"name": "out", "dataStore": {"name": "store", "path": "out"}}],
        ),
    ]
    namespace.apply(*objects)
    status = namespace.finished("r")
    assert status["phase"] == "Succeeded", status
    [output] = status["outputs"]
    manifest = tmp_path / "all.yaml"
    manifest.write_text("\n---\n".join(map(json.dumps, [*objects, data_store("store", store.name)])))
    in_cluster = store.get("out/out.zip")
    assert hashlib.sha256(in_cluster).hexdigest() == output["sha256"]
    for number, (name, how) in enumerate(VARIED.items()):
        folder = tmp_path / str(number)
        write(folder, files, how.get("seed", 1))
        done = subprocess.run(
            [
                *how.get("command", []),
                str(Path(sys.executable).with_name("millrace")),
                *("run", "--local", "-f", str(manifest), "--store", f"store={folder}"),
            ],
            env={**os.environ, "KUBECONFIG": "/nonexistent", **how.get("env", {})},
            umask=how.get("umask", -1),
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}"
        assert printed(done.stderr, "digest") == output["contentDigest"], name
        # The archive is made by isal of the lock file and by nothing of the interpreter, here as in the image.
        assert (folder / "out/out.zip").read_bytes() == in_cluster, name
