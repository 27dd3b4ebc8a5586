"""Runs are deleted in each of their phases, and with their namespace: nothing of them is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from integration.operator.kubelet import Pod, fail, succeed
from integration.operator.oracle import ORPHANS
from integration.operator.rig import Rig, operator, patiently
from support.apiserver import ApiServer
from support.recovery import Recovery

RUNS = 100
GONE = 60  # seconds for a namespace


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


def placed(obj: dict[str, object]) -> dict[str, object]:
    return {**obj, "metadata": {**obj["metadata"], "namespace": "doomed"}}  # type: ignore[dict-item]
