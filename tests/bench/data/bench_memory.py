"""Zip and upload under the memory limit of the collect container, without a file on the disk: 20 GB, and 200,000 files.

    sudo uv run python tests/bench/data/bench_memory.py [--gb 20] [--random-gb 2] [--files 200000] [--limit-mb 96]

The limit is a real one: a memory control group (version 1 or 2), which takes root. The 20 GB are a sparse file and
`random-gb` of bytes that do not compress, which go through the store as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rounds import ROOT, write_random

CHILD = """
import json, resource, sys, time
from millrace.data import Attempt, Credentials, commit, open_store, upload_output
task = json.loads(sys.argv[1])
attempt = Attempt(task["uid"], 1, {0: open_store(task["entry"], Credentials(*task["keys"]))}, 0)
output = {"name": "o", "path": task["tree"], "store": 0, "key": "o" + task["end"], "archive": task["archive"]}
deadline = time.monotonic() + 3600
begun = time.monotonic()
pending = upload_output(attempt, output, deadline=deadline)
done = commit(attempt, "success", [pending], deadline=deadline)
print(json.dumps({"seconds": round(time.monotonic() - begun, 1), "bytes": done[0].bytes, "files": done[0].files,
                  "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
"""


class Limit:
    """A control group with a memory limit."""

    def __init__(self, mb: int) -> None:
        base = Path("/sys/fs/cgroup")
        self._one = (base / "memory").is_dir()
        self.path = (base / "memory" if self._one else base) / f"millrace-bench-{os.getpid()}"
        self.path.mkdir()
        (self.path / ("memory.limit_in_bytes" if self._one else "memory.max")).write_text(str(mb << 20))

    def join(self) -> None:
        (self.path / "cgroup.procs").write_text("0")

    def peak_mb(self) -> int:
        return int((self.path / ("memory.max_usage_in_bytes" if self._one else "memory.peak")).read_text()) >> 20

    def remove(self) -> None:
        for _ in range(50):
            try:
                self.path.rmdir()
            except OSError:
                time.sleep(0.1)
            else:
                return


def run(name: str, tree: Path, address: str, limit_mb: int, archive: str = "Zip") -> None:
    """One child under the limit; prints one JSON line, exit code -9 in it means that the limit was hit."""
    from integration.data.servers import ACCESS, SECRET

    entry = {"name": "bench", "s3": {"endpoint": f"http://{address}", "bucket": "bench"}, "credentials": True}
    task = {"uid": name.replace(" ", "-"), "entry": entry, "keys": [ACCESS, SECRET], "tree": str(tree), "archive": archive}
    task["end"] = ".zip" if archive == "Zip" else "/"
    limit = Limit(limit_mb)
    try:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "MALLOC_ARENA_MAX": "2"}
        command = [sys.executable, "-c", CHILD, json.dumps(task)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, preexec_fn=limit.join)
        answer = json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr[-400:]}
        line = {"benchmark": name, "limit_mb": limit_mb, "exit": done.returncode, "group_peak_mb": limit.peak_mb()}
        print(json.dumps({**line, **answer}), flush=True)
    finally:
        limit.remove()


def main() -> None:
    """Builds the trees, runs the children."""
    from minio import Minio

    from integration.data.servers import ACCESS, SECRET, running_minio

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gb", type=float, default=20)
    parser.add_argument("--random-gb", type=float, default=2)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--limit-mb", type=int, default=96)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        (folder / "big").mkdir()
        with (folder / "big" / "sparse").open("wb") as file:
            file.truncate(int((args.gb - args.random_gb) * 10**9))
        write_random(folder / "big" / "random", int(args.random_gb * 10**9))
        for number in range(args.files):
            path = folder / "many" / f"{number // 1000:04}" / f"file-{number:07}.csv"
            if number % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.write_bytes(b"%d,row\n" % number)
        with running_minio(folder / "server") as address:
            Minio(address, ACCESS, SECRET, secure=False, region="us-east-1").make_bucket("bench")
            run(f"{args.gb:g} GB in one zip", folder / "big", address, args.limit_mb)
            run(f"{args.files} files in one zip", folder / "many", address, args.limit_mb)
            run(f"{args.gb:g} GB file by file", folder / "big", address, args.limit_mb, archive="None")
        shutil.rmtree(folder / "many", ignore_errors=True)


if __name__ == "__main__":
    main()
