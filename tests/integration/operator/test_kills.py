"""The operator is killed at each write of a run, two of them work at once, one is asleep: all the same to the run."""

from __future__ import annotations

import signal

import pytest

from integration.operator.kubelet import Pod, succeed
from integration.operator.rig import PATIENCE, Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer, Object

MOST_WRITES = 40


def evict(rig: Rig, job: str) -> None:
    """The pod of a Job is evicted: no fault of the run, so that another attempt follows at once."""
    pod = Pod(rig, job).scheduled().running().write()
    pod.condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "evicted")
    pod.ended(code=244).over("Failed").write()


def life(rig: Rig, name: str) -> Object:
    """A run with two attempts, from its creation to its end; what is left of it, without names and times."""
    rig.run(name, retries=0)
    evict(rig, name)
    succeed(rig, f"{name}-2")
    status = rig.phase(name, "Succeeded", seconds=PATIENCE)
    return {
        "attempt": status["attempt"],
        "jobName": status["jobName"].removeprefix(name),
        "conditions": sorted((found["type"], found["status"], found["reason"]) for found in status["conditions"]),
        "times": sorted(status["times"]),
        "jobs": sorted(job["metadata"]["name"].removeprefix(name) for job in rig.jobs(name)),
    }


def function_ready(rig: Rig) -> None:
    rig.function()
    patiently("the Function is Ready", lambda: rig.api.get("functions", rig.namespace, "f").get("status"))


@pytest.mark.parametrize("how", ["killed before", "killed after", "lost", "answer lost"])
def test_a_fault_at_any_write_of_a_run(api_server: ApiServer, how: str) -> None:
    with operator(api_server) as rig:
        function_ready(rig)
        undisturbed = life(rig, "undisturbed")
        assert undisturbed["jobs"] == ["", "-2"]
        cuts = 0
        for index in range(MOST_WRITES):
            rule = rig.proxy.rule(rig.cut(how), proxy.WRITES, "/namespaces/", skip=index)
            found = life(rig, f"run-{index}")
            rig.proxy.remove(rule)
            if not rule.hits:
                break
            cuts += 1
            assert found == undisturbed, f"{how}: {rule.hits[0]}"
        assert 5 <= cuts < MOST_WRITES  # two Jobs and three statuses; the Event may come after the look at the end


def test_the_revision_is_named_although_the_first_status_write_was_lost(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        function_ready(rig)
        rig.proxy.rule(proxy.instead(rig.kill, after=False), "PATCH", r"/jobruns/one/status")
        rig.run("one")
        evict(rig, "one")
        rig.start()
        succeed(rig, "one-2")
        status = rig.phase("one", "Succeeded")
        assert status["functionRevision"] == rig.api.get("functions", rig.namespace, "f")["status"]["revision"]


def test_two_operators_at_once(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.start()
        rig.function()
        names = [f"run-{number}" for number in range(10)]
        for name in names:
            rig.run(name)
        for name in names:
            succeed(rig, name)
        for name in names:
            assert rig.phase(name, "Succeeded")["attempt"] == 1
        assert sum(rig.made().values()) == len(names)
        assert all(process.poll() is None for process in rig.processes)


def test_an_operator_that_was_asleep_does_no_harm(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        sleeper = rig.process
        sleeper.send_signal(signal.SIGSTOP)
        rig.start()
        rig.api.delete("jobs", rig.namespace, "one")
        succeed(rig, "one-2")
        rig.phase("one", "Succeeded")
        before = rig.api.get("jobruns", rig.namespace, "one")
        rig.run("two")
        rig.job("two")
        sleeper.send_signal(signal.SIGCONT)
        rig.run("three")  # seen by both
        for name in ("two", "three"):
            succeed(rig, name)
            assert rig.phase(name, "Succeeded")["attempt"] == 1
        rig.kill()
        rig.run("four")  # seen by the one that was asleep, after all that it had missed
        succeed(rig, "four")
        rig.phase("four", "Succeeded")
        assert rig.api.get("jobruns", rig.namespace, "one") == before
        assert len(rig.made()) == 5
