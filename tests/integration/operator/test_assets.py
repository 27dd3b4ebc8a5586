"""A run's versions of data assets: made once, whatever fails on the way."""

from __future__ import annotations

import pytest

from integration.operator.kubelet import answer_probe, publish
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer
from support.store import data_store

OUTPUTS = [{"name": "out", "asset": "scores"}]
WRITES = ("create", "patch")


def prepare(rig: Rig) -> None:
    rig.function()
    rig.api.create("datastores", rig.placed(data_store("store", "bucket")))
    answer_probe(rig, "store")
    patiently("the store is ready", lambda: "Reachable" in str(rig.api.get("datastores", rig.namespace, "store")))


def made(rig: Rig) -> dict[str, str]:
    """Version by the run that made it."""
    found = rig.api.list("dataassets", rig.namespace)
    return {each["status"]["producedBy"]["jobRun"]: each["status"]["version"] for each in found}


def test_every_answer_to_a_write_is_lost_once(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        rig.proxy.rule(proxy.first_of_each(proxy.drop_response()), proxy.WRITES, times=None)
        for name in ("one", "two"):
            rig.run(name, outputs=OUTPUTS, logs="None")
            publish(rig, name, "out")
            [output] = rig.phase(name, "Succeeded")["outputs"]
            assert output["asset"] == "scores"
            assert made(rig)[name] == output["version"]
        assert made(rig) == {"one": "1", "two": "2"}


@pytest.mark.parametrize("write", ["POST", "PATCH"])
def test_the_operator_dies_at_the_write_of_a_version(api_server: ApiServer, write: str) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        dies = rig.proxy.rule(proxy.drop_response(), write, r"/dataassets")
        rig.run("one", outputs=OUTPUTS, logs="None")
        publish(rig, "one", "out")
        patiently("the write", lambda: dies.hits)
        rig.kill()
        rig.start()
        assert rig.phase("one", "Succeeded")["outputs"][0]["version"] == "1"
        assert made(rig) == {"one": "1"}


def test_twenty_runs_at_once_get_a_version_each(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        names = [f"run-{number}" for number in range(20)]
        for name in names:
            rig.run(name, outputs=OUTPUTS, logs="None")
        for name in names:
            publish(rig, name, "out")
        for name in names:
            rig.phase(name, "Succeeded")
        assert sorted(map(int, made(rig).values())) == [*range(1, 21)]
        assert made(rig).keys() == set(names)


def test_a_version_that_is_refused_is_made_when_it_may_be(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        rig.proxy.rule(proxy.answer(403, "Forbidden", "exceeded quota: assets"), "POST", r"/dataassets")
        rig.run("one", outputs=OUTPUTS, logs="None")
        publish(rig, "one", "out")
        assert rig.phase("one", "Uploading")["reason"] == "QuotaExceeded"
        assert rig.phase("one", "Succeeded")["outputs"][0]["version"] == "1"
        assert made(rig) == {"one": "1"}
