"""The servers and the memory below the operator: etcd stands still, the API server is restarted, memory runs out."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from integration.operator.kubelet import succeed
from integration.operator.oom import LIMIT, killed_for_memory
from integration.operator.rig import Rig, operator, patiently
from support.apiserver import CONTROLLERS, ApiServer, running
from support.recovery import Recovery

RUNS, MANY = 20, 2000
STILL, EVERY = 3, 10  # seconds


@contextlib.contextmanager
def etcd_stands_still(server: ApiServer) -> Iterator[list[str]]:
    """Again and again, as on a slow disk. What it did is in the list."""
    did: list[str] = []
    ended = threading.Event()

    def stop() -> None:
        while not ended.wait(EVERY - STILL):
            server.signal("etcd", signal.SIGSTOP)
            did.append("stopped")
            ended.wait(STILL)
            server.signal("etcd", signal.SIGCONT)

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(stop)
        try:
            yield did
        finally:
            ended.set()
            work.result()


def peak(rig: Rig) -> int:
    """The most that the operator has had in memory, in MiB."""
    status = Path(f"/proc/{rig.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) >> 10


def fill(rig: Rig) -> None:
    """Many runs that wait for a Function that is not there."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: rig.run_of("absent", f"many-{number}"), range(MANY)))


@pytest.mark.slow
def test_runs_go_through_while_etcd_stands_still_again_and_again(recovery: Recovery) -> None:
    with running(CONTROLLERS) as server, operator(server) as rig:
        rig.function()
        names = [f"run-{number}" for number in range(RUNS)]
        with etcd_stands_still(server) as did, ThreadPoolExecutor(4) as kubelets:
            for number, name in enumerate(names):
                patiently("its share of the time", lambda share=number * 3 // RUNS: len(did) >= share)  # type: ignore[misc]
                rig.run(name)
                kubelets.submit(succeed, rig, name)
            patiently("etcd stood still three times", lambda: len(did) >= 3)
        with recovery():
            for name in names:
                assert rig.phase(name, "Succeeded")["attempt"] == 1
        assert {len(rig.jobs(name)) for name in names} == {1}
        assert rig.process.poll() is None


@pytest.mark.slow
def test_an_operator_that_was_killed_for_lack_of_memory_starts_again_within_its_limit(recovery: Recovery) -> None:
    with running(CONTROLLERS) as server, operator(server, start=False) as rig:
        fill(rig)
        rig.function()
        rig.run("works")
        with killed_for_memory(rig, 24):  # not even its modules
            with recovery():
                rig.start()
                succeed(rig, "works")
                rig.phase("works", "Succeeded")
            patiently("each run says why it waits", lambda: rig.status(f"many-{MANY - 1}").get("reason"))
            print(f"{MANY} runs: {peak(rig)} MiB at most of {LIMIT}")
