"""From create to the end with pandas: kept in the store, against the same function without requirements.

Alternating rounds on the real cluster; prints medians and the ratio to the function without requirements. The aim is at
most 2 for a start whose requirements are kept. `each time` is in a namespace without a store, where nothing is kept; the
names with `imported` are of code that imports pandas.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict

from run_latency import timed

from support import store as stores
from support.cluster import Namespace, function, job_run, kubectl
from support.waiting import wait_for

ROUNDS = 4
AIM = 2.0
PANDAS = ["pandas==2.3.3"]
NOTHING = "def main():\n    pass\n"
FUNCTIONS = (
    function("plain", NOTHING),
    function("needs", NOTHING, requirements=PANDAS),
    function("imports", f"import pandas\n{NOTHING}", requirements=PANDAS),
)
BASE = "without requirements"
# Function, and whether it runs in the namespace with a store. "first" comes before those that find what it keeps.
KINDS = {
    BASE: ("plain", True),
    "first": ("needs", True),
    "kept": ("needs", True),
    "each time": ("needs", False),
    "kept, imported": ("imports", True),
    "each time, imported": ("imports", False),
}


def clear(bucket: stores.Bucket) -> None:
    """Removes what is kept."""
    for key in bucket.names(".millrace/requirements/"):
        bucket.client.remove_object(bucket.name, key)


def main() -> dict[str, float]:
    """Medians in seconds."""
    stem = f"bench-{time.time_ns() % 10**8}"
    spaces = {True: Namespace(stem), False: Namespace(f"{stem}-bare")}
    bucket = stores.new_bucket()
    results: defaultdict[str, list[float]] = defaultdict(list)
    try:
        for space in spaces.values():
            kubectl("create", "namespace", space.name)
            space.apply(*FUNCTIONS)
        stores.install(spaces[True], bucket)
        wait_for("the store is ready", lambda: "True" in spaces[True].kubectl("get", "dstore", "store", "--no-headers"))
        for number in range(ROUNDS):
            clear(bucket)
            for place, (kind, (code, stored)) in enumerate(KINDS.items()):
                run = job_run(f"{code}-{number}-{place}", code)
                results[kind].append(timed(spaces[stored], run, "jr", "Finished"))
                assert spaces[stored].status(run["metadata"]["name"])["phase"] == "Succeeded"
        medians = {kind: statistics.median(values) for kind, values in results.items()}
        for kind, values in results.items():
            each = " ".join(f"{value:.2f}" for value in values)
            print(f"  {kind:20} median {medians[kind]:5.2f} s  {medians[kind] / medians[BASE]:4.2f} times   {each}")
        print(
            f"requirements that are kept: {medians['kept'] / medians[BASE]:.2f} times none (aim: at most {AIM})", flush=True
        )
        return medians
    finally:
        for space in spaces.values():
            kubectl("delete", "namespace", space.name, "--wait=false")


if __name__ == "__main__":
    main()
