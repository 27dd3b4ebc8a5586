"""Deployments that queue and that tick: 10,000 runs that wait, 2,000 that go through a queue, 300 schedules of one minute.

Waiting: memory of the operator, and seconds from the end of the run that has the slot to the Job of the next, without a
kubelet. Going through: runs of a queue with 100 slots against bare Jobs of the same shape, on a node of kwok. Ticking: the
real CronJob controller for twenty minutes with three kills of the operator; each minute of each schedule has one run.
"""

from __future__ import annotations

import itertools
import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from bench.run_many import CLIENTS, Contender, bare, complete, ratio, shape, succeeded
from bench.run_start import memory
from integration.operator.kubelet import Pod
from integration.operator.rig import Rig, operator
from support import cluster, kwok
from support.apiserver import CONTROLLERS, running
from support.seed import SEED
from support.waiting import wait_for

WAITING, MEMORY_AIM, SLOTS, START_AIM = 10_000, 150, 10, 1  # runs; MiB; how often a slot is looked at; seconds
RUNS, CONCURRENCY, RATE_AIM = 2_000, 100, 0.85
SCHEDULES, MINUTES, KILLS = 300, 20, 3


def waiting() -> dict[str, float]:
    """10,000 runs wait for one slot."""
    with running(CONTROLLERS) as server, operator(server) as rig:
        rig.without_proxy()
        rig.terminate()
        rig.start()
        rig.function()
        rig.deployment(concurrency=1)
        names = [f"run-{number:05}" for number in range(WAITING)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda name: rig.run_by("d", name), names))
        last = names[-1]
        wait_for(f"{last} says its place", lambda: rig.status(last).get("phase") == "Queued", seconds=1200, poll=1)
        seconds = []
        for name, following in itertools.pairwise(names[: SLOTS + 1]):
            rig.job(name)
            pod = Pod(rig, name).scheduled().running().write()
            rig.phase(name, "Running")
            pod.ended().over().write()
            ended = time.perf_counter()
            wait_for(f"Job {following}", lambda name=following: rig.api.find("jobs", rig.namespace, name), poll=0.02)  # type: ignore[misc]
            seconds.append(time.perf_counter() - ended)
        most = memory(rig.process.pid, "VmHWM")
    next_starts = statistics.median(seconds)
    print(f"{WAITING} runs wait: {most} MiB at most (aim: {MEMORY_AIM}); the next one starts {next_starts:.2f} s after the")
    print(f"  end of the one before (aim: {START_AIM})   {' '.join(f'{found:.2f}' for found in seconds)}", flush=True)
    return {"waiting_memory": most, "next_starts": next_starts}


def going() -> dict[str, float]:
    """2,000 runs through a queue."""
    with running(CONTROLLERS) as server, operator(server, start=False) as rig:
        kwok.start(server)
        rig.without_proxy()
        rig.start()
        rig.function()
        rig.deployment(concurrency=CONCURRENCY)
        spec = shape(rig)
        jobs = Contender("bare Jobs", server, rig.namespace, "jobs", lambda name: bare(name, spec), complete, count=RUNS)
        runs = Contender(
            "runs",
            server,
            rig.namespace,
            "jobruns",
            lambda name: cluster.deployment_run(name, "d"),
            succeeded,
            rig.process.pid,
            RUNS,
        )
        for contender in (jobs, runs):
            contender.measure(contender.resource)
            print(f"  {contender}", flush=True)
    found = ratio(runs.rates, jobs.rates)
    print(
        f"{RUNS} runs through {CONCURRENCY} slots: {found:.2f} times the rate of bare Jobs (aim: at least {RATE_AIM})",
        flush=True,
    )
    return {"rate": found, "cpu": runs.milliseconds[-1]}


def ticking() -> dict[str, float]:
    """300 schedules; fails where a tick has no run, or two."""
    rng = random.Random(SEED)
    with running((*CONTROLLERS, "cronjob-controller")) as server, operator(server, start=False) as rig:
        kwok.start(server)
        rig.start()
        rig.function()
        names = [f"d-{number:03}" for number in range(SCHEDULES)]
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda name: periodic(rig, name), names))
        wait_for("all have their CronJob", lambda: len(rig.api.list("cronjobs", rig.namespace)) == SCHEDULES, seconds=300)
        first = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        ticks = [first + timedelta(minutes=number) for number in range(MINUTES)]
        kills = sorted(rng.uniform(0, MINUTES * 60) for _ in range(KILLS))
        for kill in kills:
            until(first + timedelta(seconds=kill))
            rig.kill()
            rig.start(ready=False)
        until(ticks[-1] + timedelta(minutes=1))
        expected = {f"{name}-{tick:%Y%m%d%H%M}" for name in names for tick in ticks}

        def missing() -> set[str]:
            runs = rig.api.list("jobruns", rig.namespace, resourceVersion="0")
            return expected - {run["metadata"]["name"] for run in runs if succeeded(run)}

        wait_for("each tick has its run, and it is over", lambda: not missing(), seconds=300, poll=2)
        pods = Counter(
            pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] for pod in rig.api.list("pods", rig.namespace)
        )
        assert {pods[name] for name in expected} == {1}, "a tick that ran twice"
        twice = Counter(run["spec"]["deploymentRef"]["name"] for run in rig.api.list("jobruns", rig.namespace))
        assert max(twice.values()) <= MINUTES + 2, "more runs than minutes"
    print(
        f"{SCHEDULES} schedules for {MINUTES} minutes with {KILLS} kills: {len(expected)} ticks, one run for each",
        flush=True,
    )
    return {"ticks": len(expected)}


def periodic(rig: Rig, name: str) -> None:
    """A Deployment with a run each minute."""
    rig.deployment(name, executionRule="periodic", schedule={"cron": "* * * * *"})


def until(when: datetime) -> None:
    """Waits for a time of day."""
    time.sleep(max((when - datetime.now(UTC)).total_seconds(), 0))


def main() -> dict[str, float]:
    """Runs all."""
    print(f"seed {SEED}", flush=True)
    return {**waiting(), **going(), **ticking()}


if __name__ == "__main__":
    main()
