"""The operator's start where many runs are: seconds from its start to the Job of a run that waits for it, and its memory.

Against a real API server without a kubelet. `finished` runs are over and have no Jobs any more; `blocked` ones wait for a
Function that is not there. Their statuses are written as an operator would have left them.
"""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from integration.operator.rig import Rig, operator
from support import cluster
from support.apiserver import Object, running
from support.waiting import wait_for

ROUNDS = 3
CLIENTS = 8
ACTS_AIM, MEMORY_AIM = 3, 150  # seconds with 5,000 finished runs; MiB resident with 10,000
SETTLE = 10  # seconds after which memory is looked at, once all that was listed has been worked on


def finished(name: str) -> tuple[Object, Object]:
    """A run with data, and the status that it ends with."""
    place = {"name": "store", "path": "in"}
    run = cluster.job_run(
        name,
        "absent",
        parameters={"threshold": 0.5, "columns": ["age", "sex", "cp"]},
        inputs=[{"name": "data", "dataStore": place}],
        outputs=[{"name": "scores", "dataStore": {"name": "store", "path": "res/{run}"}}],
    )
    stamp = "2026-01-31T08:00:00Z"
    conditions = [
        {
            "type": kind,
            "status": "True",
            "reason": "Succeeded",
            "message": "user code ended with exit code 0",
            "lastTransitionTime": stamp,
            "observedGeneration": 1,
        }
        for kind in ("Resolved", "Started", "Finished", "Succeeded")
    ]
    output = {"name": "scores", "uri": "s3://bucket/res/scores.zip", "bytes": 1024, "files": 3, "sha256": "0" * 64}
    status: dict[str, Any] = {
        "phase": "Succeeded",
        "reason": "Succeeded",
        "observedGeneration": 1,
        "attempt": 1,
        "jobName": name,
        "functionRevision": "absent-0123456789",
        "conditions": conditions,
        "outputs": [output],
        "duration": "12s",
        "times": dict.fromkeys(("queued", "staged", "started", "exited", "uploaded", "finished"), stamp),
    }
    return run, status


def fill(rig: Rig, kind: str, first: int, last: int) -> None:
    """Makes runs first..last."""

    def make(number: int) -> None:
        run, status = finished(f"{kind}-{number:05}")
        made = rig.api.create("jobruns", rig.placed(run))
        status |= {"jobId": made["metadata"]["uid"]}
        if kind == "blocked":
            status = {"phase": "Blocked", "reason": "FunctionNotFound", "observedGeneration": 1}
        rig.api.merge("jobruns/status", rig.namespace, run["metadata"]["name"], {"status": status})

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(make, range(first, last)))


def memory(pid: int, what: str) -> int:
    """MiB of a process; `VmRSS`: now, `VmHWM`: at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) // 1024


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def starts(rig: Rig, label: str) -> tuple[float, int]:
    """Median of the seconds until it acts, and MiB, over some starts."""
    seconds, resident = [], []
    for round_number in range(ROUNDS):
        name = f"good-{label}-{round_number}"
        rig.run(name)
        began = time.perf_counter()
        rig.start(ready=False)
        wait_for(f"Job {name}", lambda name=name: rig.api.find("jobs", rig.namespace, name), seconds=120, poll=0.02)  # type: ignore[misc]
        seconds.append(time.perf_counter() - began)
        time.sleep(SETTLE)
        resident.append(memory(rig.process.pid, "VmRSS"))
        print(
            f"  {label}: acts after {seconds[-1]:.2f} s; {resident[-1]} MiB, at most {memory(rig.process.pid, 'VmHWM')}; "
            f"CPU {cpu(rig.process.pid):.1f} s",
            flush=True,
        )
        rig.terminate()
    return statistics.median(seconds), max(resident)


def main() -> dict[str, float]:
    """Runs all."""
    with running() as server, operator(server, start=False) as rig:
        rig.function()
        empty, base = starts(rig, "0")
        fill(rig, "finished", 0, 5_000)
        acts, _ = starts(rig, "5000")
        fill(rig, "finished", 5_000, 10_000)
        _, resident = starts(rig, "10000")
        fill(rig, "blocked", 0, 2_000)
        blocked, _ = starts(rig, "10000-and-2000-blocked")
    print(
        f"5,000 finished runs: acts {acts:.2f} s after its start, {acts / empty:.2f} times an empty cluster (aim: {ACTS_AIM} s)"
    )
    print(f"10,000 finished runs: {resident} MiB resident, {base} without any (aim: {MEMORY_AIM})")
    print(
        f"10,000 finished and 2,000 blocked runs: acts after {blocked:.2f} s, {blocked / empty:.2f} times an empty cluster"
    )
    return {"acts": acts, "resident": resident, "blocked": blocked}


if __name__ == "__main__":
    main()
