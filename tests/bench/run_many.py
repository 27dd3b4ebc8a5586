"""A thousand runs at once against a thousand bare Jobs of the same shape, on a node of kwok whose pods are over at once.

Runs that end per second, from the first create to the last end, as a ratio to those of bare Jobs and to Workflows of Argo; and
the CPU of operator and controller for each. API server, etcd, Job controller, scheduler, kwok and this client share the machine with the operator.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bench import argo
from bench.run_start import cpu, memory
from integration.operator.rig import Rig, operator
from support import cluster, kwok
from support.apiserver import CONTROLLERS, ApiServer, Object, running
from support.waiting import wait_for

ROUNDS, RUNS, CLIENTS = 1, 1_000, 8
RATE_AIM, CPU_AIM = 0.85, 8  # of bare Jobs; milliseconds for each run
POLL = 0.5  # seconds between two lists of all
PATIENCE = 300


@dataclass
class Contender:
    """Who runs the pods: what is made, when it is over, and which process pays (None: the control plane)."""

    name: str
    server: ApiServer
    namespace: str
    resource: str
    manifest: Callable[[str], Object]
    over: Callable[[Object], bool]
    pid: int | None = None
    count: int = RUNS
    rates: list[float] = field(default_factory=list)  # per second
    milliseconds: list[float] = field(default_factory=list)  # of CPU, for each

    def measure(self, label: str) -> None:
        """Makes them all at once, and waits for their end."""
        before = cpu(self.pid) if self.pid else 0
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda number: self._make(label, number), range(self.count)))
        wait_for(f"{self.count} {label} are over", lambda: self._all_over(label), seconds=PATIENCE, poll=POLL)
        self.rates.append(self.count / (time.perf_counter() - began))
        if self.pid:
            self.milliseconds.append((cpu(self.pid) - before) * 1000 / self.count)

    def _make(self, label: str, number: int) -> None:
        obj = self.manifest(f"{label}-{number:04}")
        obj["metadata"] |= {"namespace": self.namespace, "labels": {"round": label}}
        self.server.admin.create(self.resource, obj)

    def _all_over(self, label: str) -> bool:
        self.server.check()
        # From the API server's cache: etcd has other things to do.
        listed = self.server.admin.list(self.resource, self.namespace, labelSelector=f"round={label}", resourceVersion="0")
        return sum(map(self.over, listed)) == self.count

    def __str__(self) -> str:
        found = f"{self.name} {self.rates[-1]:.1f}/s"
        if self.pid:
            found += f", {self.milliseconds[-1]:.1f} ms of CPU for each, at most {memory(self.pid, 'VmHWM')} MiB"
        return found


def shape(rig: Rig) -> Object:
    """The spec of a run's Job, as its author would write it."""
    rig.run("shape")
    rig.finished("shape")
    spec: Object = rig.api.get("jobs", rig.namespace, "shape")["spec"]
    del spec["selector"], spec["template"]["metadata"]
    return spec


def succeeded(run: Object) -> bool:
    """Whether a run, or a Workflow, has ended well."""
    return run.get("status", {}).get("phase") == "Succeeded"


def complete(job: Object) -> bool:
    """Whether a Job has."""
    found = job.get("status", {}).get("conditions", [])
    return any(condition["type"] == "Complete" and condition["status"] == "True" for condition in found)


def bare(name: str, spec: Object) -> Object:
    """A Job of that shape, nobody's."""
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(our / their for our, their in zip(ours, theirs, strict=True))


def main() -> dict[str, float]:
    """Alternates, and prints all figures."""
    with running(CONTROLLERS) as server, operator(server, start=False) as rig:
        kwok.start(server)
        rig.without_proxy()
        rig.start()
        rig.function()
        spec = shape(rig)
        controller = argo.start(server)
        jobs = Contender("bare Jobs", server, rig.namespace, "jobs", lambda name: bare(name, spec), complete)
        runs = Contender(
            "runs", server, rig.namespace, "jobruns", lambda name: cluster.job_run(name, "f"), succeeded, rig.process.pid
        )
        workflows = Contender(
            "Workflows",
            server,
            argo.NAMESPACE,
            "workflows",
            lambda name: argo.workflow(name, spec["template"]["spec"]),
            succeeded,
            controller.pid,
        )
        contenders = [jobs, runs, workflows]
        for number in range(ROUNDS):
            for contender in contenders[number:] + contenders[:number]:
                contender.measure(f"{contender.resource}-{number}")
            load = os.getloadavg()[0]
            print(f"  round {number}: {'; '.join(map(str, contenders))}; load of the machine {load:.1f}", flush=True)
    to_jobs, to_argo = ratio(runs.rates, jobs.rates), ratio(runs.rates, workflows.rates)
    spent, argos = statistics.median(runs.milliseconds), statistics.median(workflows.milliseconds)
    print(f"{RUNS} runs: {to_jobs:.2f} times the rate of bare Jobs of the same shape (aim: at least {RATE_AIM})")
    print(
        f"{to_argo:.2f} times the rate of Argo Workflows, which has {ratio(workflows.rates, jobs.rates):.2f} times that of Jobs"
    )
    print(
        f"operator: {spent:.1f} ms of CPU for each run (aim: at most {CPU_AIM}), {spent / argos:.2f} times Argo's controller"
    )
    return {"rate": to_jobs, "cpu": spent, "argo": to_argo}


if __name__ == "__main__":
    main()
