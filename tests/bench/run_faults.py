"""Faults at the scale of a large cluster, which takes too long for the suite; a promise that does not hold ends it with an error.

F02: the operator is killed twenty times while 1,000 runs go through, on a node of kwok whose pods are over at once. F09: the
API server is away for ten minutes. F10: it is restarted, and each page of its lists takes 0.3 s longer. F17: the kernel kills the
operator while it reads what is there. F09, F10 and F17 with 10,000 finished runs in the cluster.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from bench.run_many import CLIENTS
from bench.run_outage import away, running_pod
from bench.run_start import fill, memory
from integration.operator.oom import LIMIT, killed_for_memory
from integration.operator.rig import Rig, operator
from support import kwok, proxy
from support.apiserver import CONTROLLERS, running
from support.seed import SEED
from support.waiting import wait_for

RUNS, KILLS = 1_000, 20
OBJECTS = 10_000
AWAY, PAGE_SECONDS = 600, 0.3
RECOVERED = {"F09": 5, "F10": 10}  # seconds from the API server's return until all is as promised
TOO_LITTLE = 80  # MiB: its modules, and not what it reads


def killed(rig: Rig) -> float:
    """F02; seconds until all runs are over."""
    rng, names = random.Random(SEED), [f"run-{number:04}" for number in range(RUNS)]

    def over() -> Counter[str]:
        listed = rig.api.list("jobruns", rig.namespace, resourceVersion="0")
        return Counter(run["status"]["phase"] for run in listed if run.get("status", {}).get("times", {}).get("finished"))

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        made = pool.map(rig.run, names)
        for kill in range(KILLS):
            share = RUNS * kill // (KILLS + 1)
            wait_for(f"{share} are over before kill {kill}", lambda share=share: over().total() >= share, seconds=300)  # type: ignore[misc]
            time.sleep(rng.uniform(0, 1))
            rig.kill()
            rig.start(ready=False)
        list(made)
    wait_for("all are over", lambda: over().total() == RUNS, seconds=600)
    seconds = time.perf_counter() - began
    assert over() == {"Succeeded": RUNS}, over()
    attempts = Counter(run["status"]["attempt"] for run in rig.api.list("jobruns", rig.namespace))
    assert attempts == {1: RUNS}, attempts
    pods = Counter(pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in rig.api.list("pods", rig.namespace))
    assert pods == dict.fromkeys(names, 1), "not one pod for each"
    return seconds


def recovered(rig: Rig, fault: str, name: str, since: float) -> float:
    """Seconds until a run that ended while the API server was away is said to be over; it may not take longer than promised."""
    wait_for(f"{name} is over", lambda: rig.status(name).get("phase") == "Succeeded", seconds=120, poll=0.05)
    seconds = time.perf_counter() - since
    assert seconds <= RECOVERED[fault], f"{fault}: {seconds:.1f} s"
    assert rig.process.poll() is None
    return seconds


def restarted(rig: Rig) -> float:
    """F10; seconds to recovery."""
    pod = running_pod(rig, "restarted")
    pages = rig.proxy.rule(proxy.delay(PAGE_SECONDS), "GET", r"limit=", times=None)
    for resource in ("jobruns", "jobs", "pods"):
        rig.proxy.rule(proxy.gone(), "GET", rf"/{resource}\?.*watch=")
    rig.server.restart()
    back = time.perf_counter()
    # An API server that starts refuses all while it knows no rights yet; the operator may take it for no answer only.
    rig.proxy.log[:] = [found for found in rig.proxy.log if found.status != 403]
    pod.ended().over().write()
    seconds = recovered(rig, "F10", "restarted", back)
    assert len(pages.hits) >= 3, "it has not listed again"
    rig.proxy.remove(pages)
    return seconds


def out_of_memory(rig: Rig) -> tuple[float, int]:
    """F17; seconds from its start to the Job of a run that waits for it, and MiB at most."""
    rig.terminate()
    rig.run("after")
    with killed_for_memory(rig, TOO_LITTLE):
        began = time.perf_counter()
        rig.start(ready=False)
        wait_for("its Job", lambda: rig.api.find("jobs", rig.namespace, "after"), seconds=120, poll=0.05)
        seconds = time.perf_counter() - began
        wait_for("it is ready", rig.ready, seconds=60)
        return seconds, memory(rig.process.pid, "VmHWM")


def main() -> dict[str, float]:
    """Runs all."""
    print(f"seed {SEED}", flush=True)
    with running(CONTROLLERS) as server, operator(server) as rig:
        kwok.start(server)
        rig.function()
        seconds = killed(rig)
        print(
            f"F02: {RUNS} runs and {KILLS} kills: all Succeeded, one Job and one pod for each, {seconds:.0f} s", flush=True
        )
    with running(CONTROLLERS) as server, operator(server) as rig:
        rig.function()
        fill(rig, "finished", 0, OBJECTS)
        pod = running_pod(rig, "away")
        back = away(rig, "refused", pod, AWAY)
        away_seconds = recovered(rig, "F09", "away", back)
        print(f"F09: away for {AWAY} s with {OBJECTS} runs: recovered after {away_seconds:.1f} s", flush=True)
        restart_seconds = restarted(rig)
        peak = memory(rig.process.pid, "VmHWM")
        assert len(rig.processes) == 1
        print(f"F10: restarted, {PAGE_SECONDS} s for each page: recovered after {restart_seconds:.1f} s; {peak} MiB at most")
        start, most = out_of_memory(rig)
        print(f"F17: killed at {TOO_LITTLE} MiB: acts {start:.1f} s after its next start, {most} of {LIMIT} MiB at most")
    return {"killed": seconds, "away": away_seconds, "restarted": restart_seconds, "started": start, "peak": peak}


if __name__ == "__main__":
    main()
