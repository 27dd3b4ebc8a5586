"""Staging against s5cmd and minio-py, on one machine with the server: one large object, and many small ones.

uv run python tests/bench/data/bench_stage.py [--mb 1024] [--files 2000] [--kb 10] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from rounds import ROOT, alternate, report, write_random

HASHES = "millrace computes it, the others do not"


def main() -> None:
    """Prints one JSON line for each of the two."""
    from minio import Minio

    from integration.data.servers import ACCESS, KEYS, SECRET, running_minio
    from millrace.data import open_store, put_file, stage_input

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1024)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--kb", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    tool = [ROOT / "hack" / "cluster", "tool", "s5cmd"]
    s5cmd = subprocess.run(tool, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        with running_minio(folder / "server") as address:
            client = Minio(address, ACCESS, SECRET, secure=False, region="us-east-1")
            client.make_bucket("bench")
            write_random(folder / "large", args.mb << 20)
            client.fput_object("bench", "large", str(folder / "large"), part_size=64 << 20)
            (folder / "large").unlink()
            spec = {"endpoint": f"http://{address}", "bucket": "bench"}
            store = open_store({"name": "bench", "s3": spec, "credentials": True}, KEYS)
            (folder / "small").write_bytes(os.urandom(args.kb << 10))
            for number in range(args.files):
                put_file(store, f"small/{number:05}", folder / "small", deadline=time.monotonic() + 600)
            target = folder / "in"
            keys = {"AWS_ACCESS_KEY_ID": ACCESS, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}

            def clean() -> None:
                shutil.rmtree(target, ignore_errors=True)
                target.mkdir()

            def theirs(source: str) -> None:
                command = [s5cmd, "--log", "error", "--endpoint-url", f"http://{address}", "cp", f"s3://bench/{source}"]
                subprocess.run([*command, f"{target}/"], env={**os.environ, **keys}, check=True)

            def ours(key: str, kind: str) -> None:
                item = {"type": kind, "key": key, "path": str(target)}
                stage_input(store, item, deadline=time.monotonic() + 600)

            def plain(prefix: str) -> None:
                for found in client.list_objects("bench", prefix=prefix):
                    client.fget_object("bench", str(found.object_name), str(target / str(found.object_name)))

            one = {
                "millrace": lambda: ours("large", "uri_file"),
                "s5cmd": lambda: theirs("large"),
                "minio-py": lambda: plain("large"),
            }
            taken = alternate(one, args.rounds, clean)
            goals = {"s5cmd": 1.0, "minio-py": 2.0}
            report("stage one object", taken, ours="millrace", goals=goals, mb=args.mb, sha256=HASHES)
            many = {
                "millrace": lambda: ours("small", "uri_folder"),
                "s5cmd": lambda: theirs("small/*"),
                "minio-py": lambda: plain("small/"),
            }
            taken = alternate(many, args.rounds, clean)
            goals = {"s5cmd": 1.0, "minio-py": 10.0}
            report("stage many objects", taken, ours="millrace", goals=goals, files=args.files, kb=args.kb, sha256=HASHES)
            store.close()


if __name__ == "__main__":
    main()
