"""Runs in shards: three Jobs in a row and attempts at some shards, whatever befalls the operator."""

from __future__ import annotations

from typing import Any

import pytest

from integration.operator.kubelet import Pod, answer_probe
from integration.operator.rig import PATIENCE, Rig, operator, patiently
from support import cluster, proxy
from support.apiserver import ApiServer, Object
from support.store import data_store

MOST_WRITES = 60
COLLECTED = {"outputs": [{"name": "scores", "uri": "s3://b/x", "bytes": 1, "files": 1}]}


def prepare(rig: Rig) -> None:
    """A Function, and a default DataStore that has been probed."""
    rig.function()
    rig.api.create("datastores", rig.placed(data_store("store", "bucket", secret_name="keys")))
    answer_probe(rig, "store")
    patiently("both are looked at", lambda: rig.api.get("functions", rig.namespace, "f").get("status"))


def begin(rig: Rig, name: str, **parallel: Any) -> None:
    rig.run(
        name,
        inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}}],
        outputs=[{"name": "scores", "dataStore": {"name": "store", "path": "out"}}],
        parallel={"shards": 3, **parallel},
    )


def plan(rig: Rig, job: str) -> None:
    """The input is sliced."""
    report = {"inputs": [{"name": "data", "bytes": 9, "files": 9}]}
    Pod(rig, job).scheduled().running("stage").write().ended("stage", report=report).over().write()


def work(rig: Rig, job: str, index: int) -> None:
    """A shard goes through its life."""
    pod = Pod(rig, job, index).scheduled().ended("stage").running("main").running("collect").write()
    pod.ended("main").ended("collect", report=COLLECTED).over().write()


def break_down(rig: Rig, job: str, index: int) -> None:
    """User code of a shard fails."""
    pod = Pod(rig, job, index).scheduled().ended("stage").running("main").running("collect").write()
    report = {"reason": "UserError", "message": "boom"}
    pod.ended("main", code=1, report=report).ended("collect", report={}).over("Failed").write()


def evict(rig: Rig, job: str, index: int) -> None:
    """A shard's pod is evicted."""
    pod = Pod(rig, job, index).scheduled().ended("stage").running("main").running("collect").write()
    pod.condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "evicted")
    pod.ended("main", code=244).ended("collect", report={}).over("Failed").write()


def merge(rig: Rig, job: str) -> None:
    """The manifest is written."""
    Pod(rig, job).scheduled().running("collect").write().ended("collect", report=COLLECTED).over().write()


def jobs_of(rig: Rig, name: str) -> set[str]:
    return {job["metadata"]["name"].removeprefix(name) for job in rig.jobs(name)}


def life(rig: Rig, name: str) -> Object:
    """Three shards, one of them in two attempts, from creation to end; what is left of it, without names and times."""
    begin(rig, name)
    plan(rig, f"{name}-plan")
    for index in (0, 2):
        work(rig, name, index)
    evict(rig, name, 1)
    work(rig, f"{name}-2", 0)
    merge(rig, f"{name}-merge")
    status = rig.phase(name, "Succeeded", seconds=PATIENCE)
    return {
        "attempt": status["attempt"],
        "jobName": status["jobName"].removeprefix(name),
        "conditions": sorted((found["type"], found["status"], found["reason"]) for found in status["conditions"]),
        "times": sorted(status["times"]),
        "shards": status["shards"],
        "files": [entry["files"] for entry in status["inputs"]],
        "outputs": status["outputs"],
        "jobs": sorted(jobs_of(rig, name)),
    }


@pytest.mark.parametrize("how", ["killed before", "killed after", "lost", "answer lost"])
def test_a_fault_at_any_write_of_a_run_in_shards(api_server: ApiServer, how: str) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        undisturbed = life(rig, "undisturbed")
        assert undisturbed["jobs"] == ["", "-2", "-merge", "-plan"]
        assert undisturbed["shards"] == {"count": 3, "failed": []}
        assert undisturbed["files"] == [9]

        def kill() -> None:
            rig.kill()
            rig.start(ready=False)

        faults = {
            "killed before": proxy.instead(kill, after=False),
            "killed after": proxy.instead(kill, after=True),
            "lost": proxy.drop_before(),
            "answer lost": proxy.drop_response(),
        }
        cuts = 0
        for index in range(MOST_WRITES):
            rule = rig.proxy.rule(faults[how], proxy.WRITES, "/namespaces/", skip=index)
            found = life(rig, f"run-{index}")
            rig.proxy.remove(rule)
            if not rule.hits:
                break
            cuts += 1
            assert found == undisturbed, f"{how}: {rule.hits[0]}"
        assert 11 <= cuts < MOST_WRITES  # four Jobs, two of them started, five statuses; Events may come after the look


def test_a_shard_that_fails_is_the_runs_end_only_where_none_may_and_the_others_go_on(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        for name, tolerated in (("strict", 0), ("tolerant", 1)):
            begin(rig, name, maxFailedShards=tolerated)
            plan(rig, f"{name}-plan")
            break_down(rig, name, 1)
            patiently("the Job has counted it", lambda name=name: rig.job(name)["status"].get("failedIndexes"))
            assert rig.status(name)["phase"] not in {"Failed", "Succeeded"}
            work(rig, name, 0)
            work(rig, name, 2)
        status = rig.phase("strict", "Failed")
        assert status["failure"]["message"] == "shard 1: boom; 1 of 3 shards failed (1), 0 may (parallel.maxFailedShards)"
        assert status["shards"] == {"count": 3, "failed": [1]}
        merge(rig, "tolerant-merge")
        status = rig.phase("tolerant", "Succeeded")
        assert status["shards"] == {"count": 3, "failed": [1]}
        assert rig.job("strict-merge")["spec"]["suspend"]


def test_a_run_without_parallel_costs_one_job_and_no_more_writes_than_before(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        rig.run("plain")
        Pod(rig, "plain").scheduled().running().write().ended().over().write()
        rig.phase("plain", "Succeeded")
        writes = [
            f"{found.verb} {found.resource}"
            for found in rig.proxy.log
            if found.resource in {"jobs", "jobruns/status"} and found.verb in {"create", "patch"}
            if "plain" in {found.name, found.object["metadata"].get("name")}
        ]
        assert writes.count("create jobs") == 1
        assert len(writes) <= 3


def test_a_cancelled_run_ends_its_shards_and_no_merge_follows(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        begin(rig, "one")
        plan(rig, "one-plan")
        work(rig, "one", 0)
        for index in (1, 2):
            Pod(rig, "one", index).scheduled().ended("stage").running("main").running("collect").write()
        rig.api.merge("jobruns", rig.namespace, "one", {"spec": {"cancel": True}})
        patiently("the Job is suspended", lambda: rig.job("one")["spec"]["suspend"])
        assert rig.phase("one", "Cancelled")["failure"]["reason"] == "Cancelled"
        assert rig.job("one-merge")["spec"]["suspend"]


def test_a_deployment_of_one_run_at_a_time_gives_no_slot_away_between_the_steps(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        template = {
            "outputs": [{"name": "scores", "dataStore": {"name": "store", "path": "out"}}],
            "inputs": [{"name": "data", "dataStore": {"name": "store", "path": "in"}}],
            "parallel": {"shards": 1},
        }
        rig.deployment(concurrency=1, template=template)
        rig.run_by("d", "first")
        rig.run_by("d", "second")
        plan(rig, "first-plan")
        work(rig, "first", 0)
        pod = Pod(rig, "first-merge").scheduled().running("collect").write()
        assert not rig.jobs("second")
        pod.ended("collect", report=COLLECTED).over().write()
        rig.phase("first", "Succeeded")
        rig.job("second")
        assert cluster.TERMINAL.isdisjoint({rig.status("second").get("phase")})
