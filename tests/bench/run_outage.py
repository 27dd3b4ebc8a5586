"""The API server is away for 60 s: seconds from its return to the first right write, for a run that ended meanwhile.

Refused: no connection is taken. Unavailable: each request is answered with 503. The Lease runs out in both.
"""

from __future__ import annotations

import statistics
import time

from integration.operator.kubelet import Pod
from integration.operator.rig import Rig, operator
from support import proxy
from support.apiserver import CONTROLLERS, running
from support.waiting import wait_for

ROUNDS = 3
AWAY, AIM = 60, 2  # seconds


def running_pod(rig: Rig, name: str) -> Pod:
    """That of a run whose user code runs."""
    rig.run(name)
    pod = Pod(rig, name).scheduled().running().write()
    rig.phase(name, "Running")
    return pod


def away(rig: Rig, how: str, pod: Pod, seconds: float) -> float:
    """The API server is away for so long, and the pod is over meanwhile; when it was back, on the clock of perf_counter."""
    rule = None
    if how == "refused":
        rig.proxy.down()
    else:
        rule = rig.proxy.rule(proxy.answer(503, "ServiceUnavailable"), times=None)
        for resource in ("configmaps", "pods", "jobs", "datastores", "functions", "jobruns"):
            for watch in rig.proxy.watches(resource):
                watch.cut()
    pod.ended().over().write()
    time.sleep(seconds)
    if rule:
        rig.proxy.remove(rule)
    else:
        rig.proxy.up()
    return time.perf_counter()


def outage(rig: Rig, how: str, name: str) -> float:
    """Seconds from the return of the API server until a run that ended while it was away is said to be over."""
    back = away(rig, how, running_pod(rig, name), AWAY)
    wait_for(f"{name} is over", lambda: rig.status(name).get("phase") == "Succeeded", seconds=60, poll=0.02)
    return time.perf_counter() - back


def main() -> dict[str, float]:
    """Runs both."""
    medians = {}
    with running(CONTROLLERS) as server, operator(server) as rig:
        rig.function()
        for how in ("refused", "unavailable"):
            seconds = [outage(rig, how, f"{how}-{number}") for number in range(ROUNDS)]
            medians[how] = statistics.median(seconds)
            print(
                f"API server away for {AWAY} s ({how}): first right write after {medians[how]:.2f} s (aim: {AIM})   "
                f"{' '.join(f'{found:.2f}' for found in seconds)}",
                flush=True,
            )
        assert rig.process.poll() is None
        assert len(rig.processes) == 1
    return medians


if __name__ == "__main__":
    main()
