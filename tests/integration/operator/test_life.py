"""The operator's process: it starts, tells how it is, works, and ends."""

from __future__ import annotations

import re
import secrets
import threading
import time

import httpx
import pytest

from integration.operator.kubelet import succeed
from integration.operator.rig import PATIENCE, operator, patiently
from support import proxy
from support.apiserver import ApiServer


@pytest.mark.timed
def test_a_run_goes_through_and_the_health_port_tells_the_truth(api_server: ApiServer) -> None:
    gate = threading.Event()
    with operator(api_server, start=False) as rig:
        held = rig.proxy.rule(proxy.wait_for(gate), "GET", r"/jobruns\?", times=None)
        rig.function()
        rig.run("one")
        rig.start(ready=False)
        patiently("the list of JobRuns", lambda: held.hits)
        loading = rig.get("/readyz")
        assert loading
        assert (loading.status_code, loading.text) == (503, "loading")
        alive = rig.get("/healthz")
        assert alive
        assert alive.status_code == 200
        assert not rig.jobs("one"), "it acts before it knows everything"
        gate.set()
        patiently("ready", rig.ready)
        rig.job("one")
        succeed(rig, "one")
        status = rig.phase("one", "Succeeded")
        assert status["jobName"] == "one"
        metrics = rig.get("/metrics")
        assert metrics
        assert 'millrace_runs_finished_total{phase="Succeeded",reason=""} 1.0' in metrics.text
        assert re.search(r'millrace_api_writes_total\{kind="Job",verb="create"\} 1\.0', metrics.text)
        began = time.monotonic()
        assert rig.terminate() == 0
        assert time.monotonic() - began < 5
        assert rig.get("/healthz") is None


@pytest.mark.timed
def test_sigterm_ends_it_while_it_loads(api_server: ApiServer) -> None:
    with operator(api_server, start=False) as rig:
        held = rig.proxy.rule(proxy.delay(60), "GET", r"/jobruns\?", times=None)
        rig.start(ready=False)
        patiently("the list of JobRuns", lambda: held.hits)
        began = time.monotonic()
        assert rig.terminate() == 0
        assert time.monotonic() - began < 5


@pytest.mark.timed
def test_sigterm_ends_it_while_a_request_hangs_and_a_scraper_keeps_its_connection(api_server: ApiServer) -> None:
    with operator(api_server) as rig, httpx.Client(base_url=rig.url, trust_env=False) as scraper:
        scraper.get("/metrics").raise_for_status()
        held = rig.proxy.rule(proxy.delay(60), "POST", r"/jobs\?", times=None)
        rig.function()
        rig.run("one")
        patiently("a POST that hangs", lambda: held.hits)
        began = time.monotonic()
        assert rig.terminate() == 0
        assert time.monotonic() - began < 5


def test_it_waits_for_an_api_server_that_is_away_at_its_start(api_server: ApiServer) -> None:
    with operator(api_server, start=False) as rig:
        rig.function()
        rig.run("one")
        rig.proxy.down()
        rig.start(ready=False)
        patiently("a try that failed", lambda: "trying again" in rig.log)
        answer = rig.get("/readyz")
        assert answer
        assert answer.status_code == 503
        rig.proxy.up()
        patiently("ready", rig.ready)
        rig.job("one")


def test_a_namespace_without_its_role_is_left_out(api_server: ApiServer) -> None:
    other = f"t-{secrets.token_hex(4)}"
    api_server.namespace(other)
    with operator(api_server, start=False) as rig:
        rig.set(namespaces=[rig.namespace, other])
        rig.function()
        rig.run("one")
        rig.start()
        rig.job("one")
        left_out = [event for event in rig.events if event["event"] == "namespace left out: no right to watch"]
        assert [event["namespace"] for event in left_out] == [other]
        assert left_out[0]["resources"] == [
            "configmaps",
            "pods",
            "jobs",
            "cronjobs",
            "datastores",
            "dataassets",
            "functions",
            "deployments",
            "jobruns",
        ]
        assert not [found for found in rig.proxy.log if found.namespace == other]


def test_it_says_why_when_no_namespace_has_a_role(api_server: ApiServer) -> None:
    with operator(api_server, start=False) as rig:
        rig.set(namespaces=["default"])
        rig.start(ready=False)
        assert rig.process.wait(PATIENCE) == 1
        assert "none of the namespaces to watch grants its Role" in rig.log
