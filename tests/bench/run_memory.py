"""collect zips and uploads 20 GB, made in the pod, under the real limit of its container (96 MiB) and without a file of its own.

18 GB are a sparse file, 2 GB are random bytes that do not compress and go through the store as they are.
"""

from __future__ import annotations

import time

from support import store as stores
from support.cluster import Namespace, function, job_run, kubectl

SPARSE_GB, RANDOM_GB = 18, 2
CODE = """
import os, pathlib
def main(sparse, random):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    with open(out / "sparse.bin", "wb") as file:
        file.truncate(sparse << 30)
    with open(out / "random.bin", "wb") as file:
        for _ in range(random * 64):
            file.write(os.urandom(16 << 20))
"""


def main() -> float:
    """Runs it; returns the seconds of zip and upload."""
    name = f"bench-{time.time_ns() % 10**8}"
    kubectl("create", "namespace", name)
    namespace, bucket = Namespace(name), stores.new_bucket()
    try:
        stores.install(namespace, bucket)
        namespace.apply(
            function("make", CODE),
            job_run(
                "memory",
                "make",
                parameters={"sparse": SPARSE_GB, "random": RANDOM_GB},
                outputs=[{"name": "out", "dataStore": {"name": "store", "path": "res"}}],
            ),
        )
        status = namespace.finished("memory", seconds=900)
        assert status["phase"] == "Succeeded", status
        (pod,) = namespace.pods("memory")
        collect = next(c for c in pod["spec"]["containers"] if c["name"] == "collect")
        state = next(c for c in pod["status"]["containerStatuses"] if c["name"] == "collect")
        assert state["restartCount"] == 0, state
        begun, ended = (
            time.mktime(time.strptime(status["times"][key], "%Y-%m-%dT%H:%M:%SZ")) for key in ("exited", "uploaded")
        )
        gigabytes = SPARSE_GB + RANDOM_GB
        print(
            f"zip and upload of {gigabytes} GB under {collect['resources']['limits']['memory']}: {ended - begun:.0f} s, "
            f"{status['outputs'][0]['bytes'] / 1e9:.2f} GB in the store",
            flush=True,
        )
        return ended - begun
    finally:
        kubectl("delete", "namespace", name, "--wait=false")
        bucket.client.remove_object(bucket.name, "res/out.zip", version_id=bucket.versions("res/out.zip")[0].version_id)


if __name__ == "__main__":
    main()
