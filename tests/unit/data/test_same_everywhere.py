"""Promise 9: equal trees give equal bytes and digests, wherever and however they were made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Makes a tree in the order that it is told, archives it, and prints the digests. The settings come before any import.
PROGRAM = """
import json, os, sys
how = json.loads(sys.argv[1])
os.umask(how["umask"])
if how["cpus"]:
    os.sched_setaffinity(0, how["cpus"])
import hashlib
from pathlib import Path
from millrace.data.archive import write_zip
from millrace.data.tree import Tree
root = Path(how["root"])
files = {"a.txt": b"", "Z.txt": b"z", "run.sh": b"#!", "b/c/d": bytes(range(256)) * 9000}
files["\\u00fc/\\u00e4.csv"] = b"1,2\\n" * 700_000
for name in how["order"]:
    path = os.fsencode(root) + b"/" + name.encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(files[name])
    os.chmod(path, how["modes"][name == "run.sh"])
    os.utime(path, (how["time"], how["time"]))
sha = hashlib.sha256()
with Tree(root) as tree:
    done = write_zip(tree, sha.update)
print(json.dumps([sha.hexdigest(), done.content_digest, done.files]))
"""
NAMES = ["a.txt", "Z.txt", "ü/ä.csv", "b/c/d", "run.sh"]
PLAIN = {"umask": 0o022, "cpus": [], "order": NAMES, "time": 1_700_000_000, "modes": [0o644, 0o755], "env": {}}
VARIANTS = {
    "time zone": {"env": {"TZ": "Asia/Kathmandu"}},
    "umask": {"umask": 0o077},
    "locale": {"env": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}},
    "order of files": {"order": NAMES[::-1]},
    "one CPU": {"cpus": [min(os.sched_getaffinity(0))]},
    "times of files": {"time": 1},
    "modes of group and others": {"modes": [0o611, 0o700]},
    "hash seed": {"env": {"PYTHONHASHSEED": "7"}},
}


def digests(root: Path, **how: object) -> list[object]:
    """SHA-256 of the archive, content digest, number of files."""
    told = {**PLAIN, **how, "root": str(root)}
    environment = {**os.environ, **told.pop("env")}  # type: ignore[dict-item]
    command = [sys.executable, "-c", PROGRAM, json.dumps(told)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Those of the tree as it usually is."""
    return digests(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_same_tree_gives_the_same_bytes_whatever_differs(plain: list[object], tmp_path: Path, name: str) -> None:
    assert digests(tmp_path, **VARIANTS[name]) == plain
    assert plain[2] == len(NAMES)
