"""The operator is killed with SIGKILL while runs go through: nothing is lost, nothing runs twice (promises 1, 2 and 6)."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

from support.cluster import TERMINAL, Namespace, function, job_run
from support.host_operator import host_operator
from support.seed import SEED
from support.store import Bucket
from support.waiting import wait_for

RUNS, KILLS = 100, 20
CODE = """
import os, pathlib, uuid
def main():
    name = f"{os.environ['MILLRACE_RUN']}.{os.environ['MILLRACE_ATTEMPT']}.{uuid.uuid4().hex}"
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / name).write_text("")
"""


def test_a_hundred_runs_finish_once_each_while_the_operator_is_killed_twenty_times(
    namespace: Namespace, store: Bucket, tmp_path: Path
) -> None:
    rng = random.Random(SEED)
    names = [f"run-{number:03}" for number in range(RUNS)]
    output = {"name": "mark", "dataStore": {"name": "store", "path": "marks/{run}"}, "archive": "None", "when": "Always"}
    light = {"requests": {"cpu": "1m", "memory": "16Mi"}}
    with host_operator(tmp_path) as operator:
        wait_for("the store is ready", lambda: "True" in namespace.kubectl("get", "dstore", "store", "--no-headers"))
        namespace.apply(function("mark", CODE))
        runs = [job_run(name, "mark", outputs=[output], logs="None", resources=light) for name in names]
        namespace.apply(*runs)

        def over() -> dict[str, str]:
            found = {run["metadata"]["name"]: run.get("status", {}).get("phase", "") for run in namespace.list("jr")}
            return {name: phase for name, phase in found.items() if phase in TERMINAL}

        for kill in range(KILLS):
            # Spread over the whole work: each kill waits for its share of runs, then for a random moment.
            share = RUNS * kill // (KILLS + 2)
            wait_for(f"{share} runs over before kill {kill}", lambda share=share: len(over()) >= share, seconds=200)
            time.sleep(rng.uniform(0, 1.0))
            operator.kill()
            operator.start()
        wait_for("all runs over", lambda: len(over()) == RUNS, seconds=300)
        ends = over()
    assert Counter(ends.values()) == {"Succeeded": RUNS}, {n: p for n, p in ends.items() if p != "Succeeded"}
    marks = [key.rsplit("/", 1)[1] for key in store.names("marks/") if not key.endswith("manifest.json")]
    started = Counter(tuple(mark.split(".")[:2]) for mark in marks)
    assert {name for name, _ in started} == set(names)
    assert max(started.values()) == 1, [key for key, count in started.items() if count > 1]
