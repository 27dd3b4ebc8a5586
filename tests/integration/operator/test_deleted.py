"""Runs are deleted in each of their phases: nothing of them is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integration.operator.kubelet import Pod, fail, succeed
from integration.operator.oracle import ORPHANS
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer
from support.recovery import Recovery

JOBS = r"/jobs\?"


def blocked(rig: Rig) -> None:
    rig.run_of("absent", "one")
    rig.phase("one", "Blocked")


def pending(rig: Rig) -> None:
    rig.run("one")
    rig.job("one")


def staging(rig: Rig) -> None:
    rig.run("one")
    Pod(rig, "one").scheduled().running("stage").write()
    rig.phase("one", "Staging")


def runs(rig: Rig) -> None:
    rig.run("one")
    Pod(rig, "one").scheduled().ended("stage").running().write()
    rig.phase("one", "Running")


def retrying(rig: Rig) -> None:
    rig.run("one", retries=1)
    fail(rig, "one")
    rig.phase("one", "Pending")
    patiently("the first attempt is over", lambda: rig.status("one").get("reason") == "UserError")


def over(rig: Rig) -> None:
    rig.run("one")
    succeed(rig, "one")
    rig.phase("one", "Succeeded")


@pytest.mark.parametrize("reach", [blocked, pending, staging, runs, retrying, over], ids=lambda reach: reach.__name__)
def test_nothing_is_left_of_a_run_that_is_deleted(
    api_server: ApiServer, recovery: Recovery, reach: Callable[[Rig], None]
) -> None:
    with operator(api_server) as rig:
        rig.function(requirements=["x"])
        reach(rig)
        made = rig.made()
        rig.api.delete("jobruns", rig.namespace, "one")

        def nothing() -> bool:
            return not any(rig.api.list(resource, rig.namespace) for resource in ("jobruns", "jobs", "pods"))

        with recovery(within=ORPHANS):
            patiently("run, Jobs and pods are gone", nothing)
        rig.run("two")  # its Job comes after all that the operator would do for the other one
        rig.job("two")
        assert {name for _, name in rig.made() - made} == {"two"}


def test_nothing_is_left_of_a_request_for_a_job_that_lands_when_its_run_is_gone(
    api_server: ApiServer, recovery: Recovery
) -> None:
    with operator(api_server) as rig:
        late = rig.proxy.rule(proxy.lands_later(5), "POST", JOBS)
        rig.proxy.rule(proxy.drop_before(), "POST", JOBS, times=None)
        rig.function()
        rig.run("one")
        patiently("the request is given up", lambda: late.hits)
        rig.api.delete("jobruns", rig.namespace, "one")
        patiently("it lands", lambda: late.hits[0].status == 201)
        with recovery(within=ORPHANS):
            patiently("the Job is gone", lambda: not rig.api.list("jobs", rig.namespace))
        assert list(rig.made().values()) == [1]
