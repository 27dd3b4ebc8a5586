"""Objects as bad as the API server lets through: each has its own answer, and no other is stopped by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.operator.kubelet import succeed
from integration.operator.rig import Rig, operator, patiently
from support import cluster
from support.apiserver import ApiServer, Object
from support.recovery import Recovery
from support.store import data_store

LONGEST = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])
MESSAGE = 4096  # the longest that a status says


def nested(depth: int) -> object:
    found: object = 0
    for _ in range(depth):
        found = {"a": [found]}
    return found


POISON: dict[str, tuple[dict[str, Any], str]] = {  # spec, and the reason that it fails with; empty: it runs
    "half-characters": ({"parameters": {"a": "\ud800", "\udfff": "\udfff"}}, ""),
    "controls": ({"parameters": {"nul": "a\x00b", "line": "\u2028", "back": "\u202e", "far": "\U0010ffff"}}, ""),
    "deep": ({"parameters": {"deep": nested(90)}}, ""),
    "deep-affinity": ({"affinity": {"nodeAffinity": nested(90)}}, "InvalidPodTemplate"),
    "number-for-a-list": ({"tolerations": [{"operator": 7}]}, "InvalidPodTemplate"),
    "large": ({"inputData": [{"values": ["x" * 100_000] * 10}]}, "PayloadTooLarge"),
}


@pytest.mark.parametrize("name", POISON)
def test_a_poisonous_run_has_its_own_reason_and_stops_no_other(api_server: ApiServer, name: str) -> None:
    spec, reason = POISON[name]
    with operator(api_server) as rig:
        rig.function()
        rig.run(name, **spec)
        check_others(rig)
        if reason:
            failure = rig.finished(name)["failure"]
            assert failure["reason"] == reason
            assert 0 < len(failure["message"]) < MESSAGE
        else:
            succeed(rig, name)
            rig.phase(name, "Succeeded")


DEEPEST = 9997  # the API server takes objects of 10,000 levels


def runs(rig: Rig) -> str:
    """The path of the namespace's JobRuns."""
    return f"/apis/millrace.dev/v1alpha1/namespaces/{rig.namespace}/jobruns"


def deepest(rig: Rig, name: str, opened: str, closed: str) -> None:
    """A run that is as deep as the API server takes: as text, since Python writes no such JSON."""
    run = json.dumps(rig.placed(cluster.job_run(name, "f", parameters={"x": "DEEP"})))
    text = run.replace('"DEEP"', opened * (DEEPEST - 1) + "0" + closed * (DEEPEST - 1))
    done = rig.server.kubectl("create", "--raw", runs(rig), "-f", "-", stdin=text)
    assert done.returncode == 0, done.stderr


def test_runs_as_deep_as_the_api_server_takes_stop_no_other(api_server: ApiServer) -> None:
    """Neither by the list at the start nor by the watch; and the API server can list them."""
    with operator(api_server, start=False) as rig:
        rig.function()
        deepest(rig, "listed", "[", "]")
        deepest(rig, "listed-too", '{"a":', "}")
        rig.start()
        deepest(rig, "watched", "[", "]")
        deepest(rig, "watched-too", '{"a":', "}")
        check_others(rig)
        for name in ("listed", "listed-too", "watched", "watched-too"):
            message = patiently(f"the end of {name}", lambda name=name: failure(rig, name))  # type: ignore[misc]
            assert message.startswith("PayloadTooLarge spec.parameters is nested "), message
            assert len(message) < MESSAGE
            done = rig.server.kubectl("delete", "--raw", f"{runs(rig)}/{name}")  # the tests' own client cannot read it
            assert done.returncode == 0, done.stderr


def failure(rig: Rig, name: str) -> str:
    """Reason and message of a run's end, by kubectl; empty before."""
    told = "jsonpath={.status.failure.reason} {.status.failure.message}"
    return rig.server.kubectl("-n", rig.namespace, "get", "jobruns", name, "-o", told).stdout.strip()


def test_objects_with_the_longest_names_and_annotations(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.function(LONGEST)
        rig.api.create("datastores", rig.placed(data_store(LONGEST, "bucket", default=False)))
        heavy: Object = rig.placed(cluster.job_run("heavy", "f"))
        heavy["metadata"]["annotations"] = {"note": "x" * 250_000}
        rig.api.create("jobruns", heavy)
        rig.run_of(LONGEST, LONGEST)
        with recovery():
            check_others(rig)
        for name in ("heavy", LONGEST):
            succeed(rig, patiently("its Job", lambda name=name: rig.status(name).get("jobName")))  # type: ignore[misc]
            assert rig.phase(name, "Succeeded")["attempt"] == 1
        patiently("the store is looked at", lambda: rig.api.get("datastores", rig.namespace, LONGEST).get("status"))


def check_others(rig: Rig) -> None:
    """A run that is made after the bad one goes through."""
    rig.run("good")
    succeed(rig, "good")
    rig.phase("good", "Succeeded")
