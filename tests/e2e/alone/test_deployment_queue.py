"""A Deployment's queue while the operator is killed with SIGKILL (promise 4)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from support.cluster import TERMINAL, Namespace, deployment, deployment_run, function
from support.host_operator import host_operator
from support.waiting import wait_for

RUNS, KILLS, SLOTS = 20, 10, 2
CODE = """
import time
def main():
    time.sleep(3)
"""


class Sampler(threading.Thread):
    """Looks at the pods all the time: how many are not over."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(daemon=True)
        self._namespace, self.done = namespace, threading.Event()
        self.samples: list[int] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.done.is_set():
                pods = self._namespace.list("pods", "millrace.dev/component=run")
                self.samples.append(sum(pod["status"].get("phase") not in {"Succeeded", "Failed"} for pod in pods))
                self.done.wait(0.1)
        except BaseException as error:  # noqa: BLE001
            self.error = error


def test_twenty_runs_in_one_apply_start_in_their_order_two_at_a_time_while_the_operator_is_killed_ten_times(
    namespace: Namespace, tmp_path: Path
) -> None:
    names = [f"run-{number:02}" for number in range(RUNS)]
    light = {"requests": {"cpu": "1m", "memory": "16Mi"}}
    with host_operator(tmp_path) as operator:
        namespace.apply(function("f", CODE), deployment("d", "f", template={"resources": light}))
        sampler = Sampler(namespace)
        sampler.start()
        namespace.apply(*(deployment_run(name, "d") for name in names))

        def over() -> int:
            return sum(run.get("status", {}).get("phase") in TERMINAL for run in namespace.list("jr"))

        for kill in range(KILLS):
            share = (RUNS - SLOTS) * kill // KILLS
            wait_for(f"{share} runs over before kill {kill}", lambda share=share: over() >= share, seconds=120)
            time.sleep(0.2 * (kill % 4))
            operator.kill()
            operator.start()
        wait_for("all runs over", lambda: over() == RUNS, seconds=240)
        sampler.done.set()
        sampler.join()
    assert sampler.error is None
    assert len(sampler.samples) > RUNS
    assert max(sampler.samples) == SLOTS, "never more, and as many when there is work"
    runs = {run["metadata"]["name"]: run for run in namespace.list("jr")}
    assert {name: run["status"]["phase"] for name, run in runs.items()} == dict.fromkeys(names, "Succeeded")
    jobs = {job["metadata"]["name"]: job for job in namespace.list("jobs")}
    assert set(jobs) == set(names), "one Job for each"
    order = sorted(names, key=lambda name: (runs[name]["metadata"]["creationTimestamp"], name))
    times = [jobs[name]["metadata"]["creationTimestamp"] for name in order]
    assert times == sorted(times)
    admitted = [runs[name]["status"]["times"]["admitted"] for name in order]
    assert admitted == sorted(admitted)
