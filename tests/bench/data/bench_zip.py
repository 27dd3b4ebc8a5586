"""From a folder of CSV to an object: millrace against zipfile at level 6 and minio-py.

uv run python tests/bench/data/bench_zip.py [--mb 1024] [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from rounds import alternate, report, write_csv


def main() -> None:
    """Prints the ratio of the times, both sizes, and what each level of isal and zlib makes of the same rows."""
    from isal import isal_zlib
    from minio import Minio

    from integration.data.servers import ACCESS, KEYS, SECRET, running_minio
    from millrace.data import Attempt, commit, open_store, upload_output

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "server").mkdir()
        (folder / "out").mkdir()
        files = 8
        for number in range(files):
            write_csv(folder / "out" / f"part-{number}.csv", (args.mb << 20) // files)
        sample = (folder / "out" / "part-0.csv").read_bytes()[: 32 << 20]
        with running_minio(folder / "server") as address:
            client = Minio(address, ACCESS, SECRET, secure=False, region="us-east-1")
            client.make_bucket("bench")
            spec = {"endpoint": f"http://{address}", "bucket": "bench"}
            store = open_store({"name": "bench", "s3": spec, "credentials": True}, KEYS)
            runs = iter(range(1000))

            def ours() -> None:
                attempt = Attempt(f"run-{next(runs)}", 1, {0: store}, 0)
                output = {"name": "o", "path": str(folder / "out"), "store": 0, "key": "ours.zip", "archive": "Zip"}
                deadline = time.monotonic() + 3600
                commit(attempt, "success", [upload_output(attempt, output, deadline=deadline)], deadline=deadline)

            def theirs() -> None:
                with zipfile.ZipFile(folder / "t.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
                    for path in sorted((folder / "out").iterdir()):
                        archive.write(path, path.name)
                client.fput_object("bench", "theirs.zip", str(folder / "t.zip"))

            def clean() -> None:
                (folder / "t.zip").unlink(missing_ok=True)

            taken = alternate({"millrace": ours, "zipfile-6 + minio-py": theirs}, args.rounds, clean)
            sizes = {name: client.stat_object("bench", f"{name}.zip").size for name in ("ours", "theirs")}
            store.close()
        levels = {f"isal {n}": len(isal_zlib.compress(sample, n, -15)) / len(sample) for n in range(4)}
        levels |= {f"zlib {n}": len(zlib.compress(sample, n, -15)) / len(sample) for n in (1, 6)}
        report(
            "zip and upload",
            taken,
            ours="millrace",
            goals={"zipfile-6 + minio-py": 10.0},
            mb=args.mb,
            compressed={name: round(size / (args.mb << 20), 4) for name, size in sizes.items()},
            levels={name: round(ratio, 4) for name, ratio in levels.items()},
        )


if __name__ == "__main__":
    main()
