"""Two operators, of which one works: whatever befalls it, the other takes over, and never do both write (F05, F15, F16)."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.operator.kubelet import Pod, succeed
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer
from support.recovery import Recovery
from support.seed import SEED

TAKE_OVER = 15  # seconds after a death
HAND_OVER = 3  # seconds after SIGTERM
MANY = 100


@contextlib.contextmanager
def two(server: ApiServer) -> Iterator[tuple[Rig, Rig]]:
    """The operator that leads, and one that stands by, each with a proxy of its own."""
    with operator(server, replica="a") as a:
        patiently("a leads", lambda: a.leader() == "a-0")
        with operator(server, replica="b", namespace=a.namespace, settings=a.settings) as b:
            yield a, b
            made = a.made() + b.made()
            assert set(made.values()) <= {1}, f"Jobs made more than once: {made}"


def writes(rig: Rig, since: float = 0) -> list[proxy.Request]:
    """What the operator of the rig wrote, but for the Lease and its questions about its rights."""
    return [
        found
        for found in list(rig.proxy.log)
        if found.at >= since
        and found.verb not in {"get", "list", "watch"}
        and found.resource not in {"leases", "selfsubjectaccessreviews"}
    ]


def metric(rig: Rig) -> str:
    found = rig.get("/metrics")
    assert found
    return next(line for line in found.text.splitlines() if line.startswith("millrace_leader "))


def seen(rig: Rig, resource: str, text: bytes) -> bool:
    """Whether a watch has told of it."""
    return any(text in line for watch in rig.proxy.watches(resource) for line in watch.lines)


def acts(rig: Rig, name: str) -> float:
    """Seconds until a new run has its Job."""
    began = time.monotonic()
    rig.run(name)
    rig.job(name)
    return time.monotonic() - began


def test_one_works_and_the_other_is_ready_and_only_looks_on(api_server: ApiServer) -> None:
    with two(api_server) as (a, b):
        a.function()
        acts(a, "one")
        succeed(a, "one")
        a.phase("one", "Succeeded")
        patiently("b has seen it", lambda: seen(b, "jobruns", b'"Succeeded"'))
        assert (metric(a), metric(b)) == ("millrace_leader 1.0", "millrace_leader 0.0")
        assert b.ready()
        assert writes(b) == []
        assert not [found for found in b.proxy.log if found.resource == "leases" and found.verb != "get"]


@pytest.mark.timed
def test_another_takes_over_within_15_seconds_of_a_kill(api_server: ApiServer, recovery: Recovery) -> None:
    with two(api_server) as (a, b):
        a.function()
        a.run("works")
        pod = Pod(a, "works").scheduled().running().write()
        a.phase("works", "Running")
        a.kill()
        with recovery(within=TAKE_OVER):
            pod.ended().over().write()
            a.run("new")
            a.job("new")
            a.phase("works", "Succeeded")
        assert a.leader() == "b-0"
        assert metric(b) == "millrace_leader 1.0"


@pytest.mark.timed
def test_another_takes_over_at_once_when_the_leader_is_told_to_end(api_server: ApiServer, recovery: Recovery) -> None:
    with two(api_server) as (a, b):
        a.function()
        a.run("works")
        pod = Pod(a, "works").scheduled().running().write()
        a.phase("works", "Running")
        pod.ended().over().write()
        a.run("new")
        a.process.send_signal(signal.SIGTERM)
        with recovery(within=HAND_OVER):
            a.job("new")
            a.phase("works", "Succeeded")
            patiently("b leads", lambda: b.leader() == "b-0")
        assert a.process.wait(20) == 0


@pytest.mark.timed
def test_one_whose_container_was_killed_goes_on_at_once(api_server: ApiServer) -> None:
    """Its Lease is its own still: nobody has to wait for its end."""
    with operator(api_server) as rig:
        rig.function()
        rig.kill()
        rig.start()
        took = acts(rig, "one")
        assert took < HAND_OVER


def test_a_leader_that_was_asleep_writes_nothing_after_another_took_over(api_server: ApiServer, recovery: Recovery) -> None:
    with two(api_server) as (a, b):
        a.function()
        names = [f"run-{number}" for number in range(20)]
        for name in names[:10]:
            a.run(name)
        patiently("it is in the middle of work", lambda: len(a.made()) > 3)
        a.process.send_signal(signal.SIGSTOP)
        for name in names[10:]:
            a.run(name)
        with recovery(within=TAKE_OVER):
            patiently("b leads", lambda: a.leader() == "b-0")
        pods = [Pod(a, name).scheduled().running().write() for name in names]
        for pod in pods[:15]:
            pod.ended().over().write()
        for name in names[:15]:
            a.phase(name, "Succeeded")
        resumed = time.monotonic()
        a.process.send_signal(signal.SIGCONT)
        patiently("it has noticed", lambda: "no leader any more" in a.log)
        for pod in pods[15:]:
            pod.ended().over().write()
        for name in names[15:]:
            a.phase(name, "Succeeded")
        acts(a, "new")
        patiently("a is up to date", lambda: seen(a, "jobs", b'"new"'))
        assert [str(found) for found in writes(a, resumed)] == []
        assert {found["metadata"]["name"] for found in a.api.list("jobs", a.namespace)} == {*names, "new"}
        b.kill()
        acts(a, "later")  # a leads again


def test_a_leader_that_alone_does_not_reach_the_api_server_is_replaced(api_server: ApiServer, recovery: Recovery) -> None:
    with two(api_server) as (a, _):
        a.function()
        acts(a, "one")
        a.proxy.down()
        with recovery(within=TAKE_OVER):
            acts(a, "two")
        back = time.monotonic()
        a.proxy.up()
        patiently("a looks on", lambda: [found for found in a.proxy.log if found.at > back and found.resource == "leases"])
        acts(a, "three")
        patiently("a is up to date", lambda: a.proxy.watches("jobs"))
        assert [str(found) for found in writes(a, back)] == []
        assert a.process.poll() is None


@pytest.mark.timed
def test_both_are_cut_off_for_longer_than_the_lease_and_one_goes_on_at_once(
    api_server: ApiServer, recovery: Recovery
) -> None:
    with two(api_server) as (a, b):
        a.function()
        a.run("works")
        pod = Pod(a, "works").scheduled().running().write()
        a.phase("works", "Running")
        for rig in (a, b):
            rig.proxy.down()
        down = time.monotonic()
        pod.ended().over().write()
        a.run("new")
        patiently("longer than the lease", lambda: time.monotonic() - down > 12)
        for rig in (a, b):
            rig.proxy.up()
        with recovery(within=5):  # F09; the benchmark `outage` measures it
            assert a.phase("works", "Succeeded")["attempt"] == 1
            a.job("new")


def test_nothing_is_doubled_or_lost_while_leaders_change(api_server: ApiServer) -> None:
    chance = random.Random(SEED)
    with two(api_server) as (a, b), ThreadPoolExecutor(8) as kubelets:
        a.function()
        names = [f"run-{number:03}" for number in range(MANY)]
        for name in names:
            a.run(name)
        ends = [kubelets.submit(succeed, a, name) for name in names]
        changes: Counter[str] = Counter()
        for share in (10, 25, 40, 55, 70, 85):
            patiently(f"{share} Jobs", lambda share=share: len(a.made() + b.made()) >= share)  # type: ignore[misc]
            leads = {"a-0": a, "b-0": b}[patiently("there is a leader", a.leader)]
            how = ("SIGKILL", "SIGTERM", "SIGSTOP")[len(changes) if len(changes) < 3 else chance.randrange(3)]
            changes[how] += 1
            leads.process.send_signal(signal.Signals[how])
            if how == "SIGSTOP":
                other = {a: "b-0", b: "a-0"}[leads]
                patiently("the other one leads", lambda other=other: a.leader() == other)  # type: ignore[misc]
                leads.process.send_signal(signal.SIGCONT)
            else:
                leads.process.wait(20)
                leads.start()
        for end in ends:
            end.result()
        for name in names:
            assert a.phase(name, "Succeeded")["attempt"] == 1
        print(f"leader changes: {dict(changes)}")
        assert len(a.api.list("jobs", a.namespace)) == MANY
