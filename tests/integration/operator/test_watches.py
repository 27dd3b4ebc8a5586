"""A watch that goes wrong: what it does not say is found out, and one that is lost for good ends the process."""

from __future__ import annotations

import threading
import time

import pytest

from integration.operator.kubelet import Pod, succeed
from integration.operator.rig import PATIENCE, operator, patiently
from support import proxy
from support.apiserver import ApiServer, Object
from support.recovery import Recovery


def owner_of(job: Object) -> str:
    """Name of the run that a Job is of."""
    [owner] = job["metadata"]["ownerReferences"]
    name: str = owner["name"]
    return name


@pytest.mark.slow
def test_a_silent_watch_is_replaced(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        [silent] = patiently("the watch", lambda: rig.proxy.watches("jobruns"))
        silent.silence()
        rig.run("one")
        with recovery(within=75):
            patiently("another watch", lambda: silent not in rig.proxy.watches("jobruns"))
            assert owner_of(rig.job("one", seconds=5)) == "one"


@pytest.mark.slow
def test_silent_watches_of_children_are_replaced(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        pod = Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        for resource in ("jobs", "pods"):
            for watch in rig.proxy.watches(resource):
                watch.silence()
        pod.ended().over().write()
        with recovery(within=75):
            assert rig.phase("one", "Succeeded", seconds=PATIENCE)["attempt"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("status", [403, 404])
def test_a_watch_that_is_refused_for_good_ends_the_process(api_server: ApiServer, status: int) -> None:
    with operator(api_server) as rig:
        rig.function()
        [watch] = patiently("the watch", lambda: rig.proxy.watches("jobruns"))
        rule = rig.proxy.rule(proxy.answer(status, "Refused"), "GET", r"/jobruns\?.*watch=true", times=None)
        watch.cut()
        assert rig.process.wait(PATIENCE) == 1
        ended = [event for event in rig.events if event["event"] == "a part of the operator ended"]
        assert [event["part"] for event in ended] == ["kopf"]
        rig.proxy.remove(rule)
        rig.start()
        rig.run("one")
        rig.job("one")


@pytest.mark.slow
def test_an_api_server_that_has_only_5xx_for_more_than_a_minute_does_not_end_the_process(
    api_server: ApiServer, recovery: Recovery
) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("works")
        pod = Pod(rig, "works").scheduled().running().write()
        rig.phase("works", "Running")
        unavailable = rig.proxy.rule(proxy.answer(503, "ServiceUnavailable"), times=None)
        for resource in ("configmaps", "pods", "jobs", "datastores", "dataassets", "functions", "deployments", "jobruns"):
            for watch in rig.proxy.watches(resource):
                watch.cut()
        began = time.monotonic()
        pod.ended().over().write()
        rig.run("new")
        patiently("more than a minute", lambda: time.monotonic() - began > 75)
        rig.proxy.remove(unavailable)
        with recovery():
            rig.phase("works", "Succeeded")
            rig.job("new")
        assert rig.process.poll() is None
        assert len([found for found in unavailable.hits if found.watches]) < 8 * 80, "no storm"


def test_a_watch_that_fails_while_another_starts_ends_the_process(api_server: ApiServer) -> None:
    with operator(api_server, start=False) as rig:
        rig.proxy.rule(proxy.answer(404, "NotFound"), "GET", r"/jobruns\?.*watch=true", times=None)
        rig.proxy.rule(proxy.delay(2), "GET", r"/jobs\?limit", skip=1)  # the operator's own list comes first
        rig.start(ready=False)
        assert rig.process.wait(PATIENCE) == 1


@pytest.mark.slow
def test_a_deletion_that_a_410_has_hidden_is_found_out(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        back = threading.Event()
        held = rig.proxy.rule(proxy.wait_for(back, proxy.gone()), "GET", r"/(jobs|pods)\?.*watch=true", times=2)
        for resource in ("jobs", "pods"):
            for watch in rig.proxy.watches(resource):
                watch.cut()
        patiently("both ask for a new watch", lambda: len(held.hits) == 2)
        rig.api.delete("jobs", rig.namespace, "one")

        def collected() -> bool:
            return not rig.api.list("jobs", rig.namespace) and not rig.api.list("pods", rig.namespace)

        patiently("Job and pod are gone", collected)
        back.set()
        with recovery(within=60):
            succeed_after = rig.job("one-2", seconds=75)
        assert owner_of(succeed_after) == "one"
        succeed(rig, "one-2")
        assert rig.phase("one", "Succeeded")["attempt"] == 2
        metrics = rig.get("/metrics")
        assert metrics
        assert 'millrace_sweep_repairs_total{change="gone",kind="Job"} 1.0' in metrics.text


@pytest.mark.slow
def test_a_run_that_a_watch_has_missed_is_found_out(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        patiently("the watch", lambda: rig.proxy.watches("jobruns"))
        never = threading.Event()
        rig.proxy.rule(proxy.wait_for(never), "GET", r"/jobruns\?.*watch=true", times=None)
        for watch in rig.proxy.watches("jobruns"):
            watch.cut()
        rig.run("one")
        assert owner_of(rig.job("one", seconds=PATIENCE)) == "one"


def test_a_watch_that_is_cut_is_taken_up_again(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        for number in range(5):
            patiently("the watches", lambda: rig.proxy.watches("jobruns") and rig.proxy.watches("pods"))
            for resource in ("jobruns", "pods", "jobs", "functions"):
                for watch in rig.proxy.watches(resource):
                    watch.cut()
            rig.run(f"run-{number}")
            succeed(rig, f"run-{number}")
            assert rig.phase(f"run-{number}", "Succeeded")["attempt"] == 1


@pytest.mark.timed
def test_a_410_is_followed_by_a_list(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        patiently("the watches", lambda: rig.proxy.watches("jobruns") and rig.proxy.watches("pods"))
        rig.proxy.rule(proxy.gone(), "GET", r"/jobruns\?.*watch=true")
        rig.proxy.rule(proxy.gone(), "GET", r"/pods\?.*watch=true")
        for resource in ("jobruns", "pods"):
            for watch in rig.proxy.watches(resource):
                watch.cut()
        rig.run("one")
        with recovery(within=5):
            rig.job("one")
        succeed(rig, "one")
        assert rig.phase("one", "Succeeded")["attempt"] == 1
