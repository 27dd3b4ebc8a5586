"""Deployments and their queues, on a real API server and Job controller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from integration.operator.kubelet import Pod, fail, succeed
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer, Object


def statuses(rig: Rig) -> dict[str, Object]:
    return {run["metadata"]["name"]: run.get("status", {}) for run in rig.api.list("jobruns", rig.namespace)}


def phases(rig: Rig) -> dict[str, str]:
    return {name: status.get("phase", "") for name, status in statuses(rig).items()}


def with_job(rig: Rig) -> list[str]:
    """Runs that have a Job, in the order in which they got it."""
    return [name for (_, name) in rig.made()]


def settled(rig: Rig, **wanted: str) -> None:
    """Waits until the runs have these phases."""
    patiently(f"{wanted}", lambda: {name: phases(rig).get(name) for name in wanted} == wanted)


def looked_at(rig: Rig, *deployments: str) -> None:
    """Waits until the operator has seen these Deployments: of runs that come before, two may start at the same moment."""
    for name in deployments:
        patiently(f"{name} is seen", lambda name=name: "status" in rig.api.get("deployments", rig.namespace, name))  # type: ignore[misc]


def test_two_run_the_others_wait_in_order_and_are_told_their_position(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment()
        looked_at(rig, "d")
        for number in range(1, 6):
            rig.run_by("d", f"r{number}")
        settled(rig, r1="Pending", r2="Pending", r3="Queued", r4="Queued", r5="Queued")
        positions = lambda: [statuses(rig)[f"r{number}"].get("queuePosition") for number in range(1, 6)]  # noqa: E731
        patiently("positions", lambda: positions() == [None, None, 1, 2, 3])

        def counted() -> list[int]:
            status = rig.api.get("deployments", rig.namespace, "d")["status"]
            return [status["running"], status["queued"]]

        patiently("counts", lambda: counted() == [2, 3])
        for number in range(1, 6):
            succeed(rig, f"r{number}")
        settled(rig, **{f"r{number}": "Succeeded" for number in range(1, 6)})
        assert with_job(rig) == [f"r{number}" for number in range(1, 6)]
        patiently("nothing waits", lambda: counted() == [0, 0])
        assert all("queuePosition" not in status for status in statuses(rig).values())


@pytest.mark.parametrize("missing", ["Deployment", "Function"])
def test_runs_that_were_there_before_what_all_of_them_need_start_in_their_order(api_server: ApiServer, missing: str) -> None:
    names = [f"r{number}" for number in range(1, 9)]
    with operator(api_server) as rig:
        make: dict[str, Callable[[], None]] = {"Deployment": rig.deployment, "Function": rig.function}
        make["Function" if missing == "Deployment" else "Deployment"]()
        for name in names:
            rig.run_by("d", name)
        settled(rig, **dict.fromkeys(names, "Blocked"))
        make[missing]()
        settled(rig, r1="Pending", r2="Pending", **dict.fromkeys(names[2:], "Queued"))
        assert with_job(rig) == ["r1", "r2"]


def test_of_two_free_slots_the_older_run_has_the_first_though_it_is_still_being_told_what_it_waited_for(
    api_server: ApiServer,
) -> None:
    with operator(api_server) as rig:
        rig.function()
        gate = threading.Event()
        told = rig.proxy.rule(proxy.wait_for(gate), "PATCH", r"/jobruns/r1/status")
        rig.run_by("d", "r1")
        patiently("r1 is told that its Deployment is missing", lambda: told.hits)
        rig.deployment()
        looked_at(rig, "d")
        rig.run_by("d", "r2")
        time.sleep(1)
        assert not rig.jobs("r2")
        gate.set()
        settled(rig, r1="Pending", r2="Pending")
        assert with_job(rig) == ["r1", "r2"]


def test_the_column_says_which_function_a_run_of_a_deployment_runs(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1)
        for name in ("r1", "r2"):
            rig.run_by("d", name)
        rig.run("own")
        settled(rig, r1="Pending", r2="Queued", own="Pending")
        head, *lines = rig.server.kubectl("get", "jr", "-n", rig.namespace).stdout.splitlines()
        assert head.split()[:4] == ["NAME", "FUNCTION", "DEPLOYMENT", "PHASE"]
        assert [line.split()[:3] for line in lines] == [["own", "f", "Pending"], ["r1", "f", "d"], ["r2", "f", "d"]]


def test_an_edit_does_not_change_a_run_that_is_queued(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1, template={"environmentVariables": {"A": "old", "B": "old"}, "retries": 1})
        rig.run_by("d", "r1")
        rig.run_by("d", "r2", environmentVariables={"B": "own"})
        settled(rig, r1="Pending", r2="Queued")
        before = rig.status("r2")
        new = {"spec": {"template": {"environmentVariables": {"A": "new", "C": "new"}}}}
        rig.api.merge("deployments", rig.namespace, "d", new)
        rig.api.merge("functions", rig.namespace, "f", {"spec": {"source": {"inline": "def main(): print('new')"}}})
        edited = lambda: rig.api.get("deployments", rig.namespace, "d")["status"]["revision"] != before["deploymentRevision"]  # noqa: E731
        patiently("the new revision", edited)
        rig.run_by("d", "r3")
        settled(rig, r3="Queued")
        rig.kill()
        rig.start()
        fail(rig, "r1")
        Pod(rig, "r2")
        succeed(rig, "r2")
        jobs = {name: rig.job(name) for name in ("r1", "r2")}
        env = lambda job: {v["name"]: v.get("value") for v in job["spec"]["template"]["spec"]["containers"][0]["env"]}  # noqa: E731
        assert {name: env(jobs["r2"]).get(name) for name in "ABC"} == {"A": "old", "B": "own", "C": None}
        after = rig.phase("r2", "Succeeded")
        for field in ("functionRevision", "deploymentRevision", "deploymentId"):
            assert after[field] == before[field]
        uid = rig.api.get("deployments", rig.namespace, "d")["metadata"]["uid"]
        labels = jobs["r2"]["metadata"]["labels"]
        assert (labels["millrace.dev/deployment"], labels["millrace.dev/deployment-id"]) == ("d", uid)
        assert after["deploymentId"] == uid
        # r1 has the retries that the template said. While it pauses r3 has its slot, and it goes through the queue again.
        Pod(rig, "r3")
        settled(rig, r1="Queued")
        succeed(rig, "r3")
        status = rig.phase("r3", "Succeeded")
        succeed(rig, "r1-2")
        rig.phase("r1", "Succeeded")
        assert {name: env(rig.job("r3")).get(name) for name in "ABC"} == {"A": "new", "B": "old", "C": "new"}
        assert status["functionRevision"] != before["functionRevision"]


def test_a_description_makes_no_new_revision(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment()
        status = lambda: rig.api.get("deployments", rig.namespace, "d").get("status", {})  # noqa: E731
        patiently("the revision", lambda: status().get("revision"))
        revision = status()["revision"]
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"description": "new", "concurrency": 3}})
        patiently("it is seen", lambda: status()["observedGeneration"] == 2)
        assert status()["revision"] == revision
        rig.api.merge("deployments", rig.namespace, "d", {"spec": {"template": {"parameters": {"x": 1}}}})
        patiently("a new one", lambda: status()["revision"] != revision)


def test_a_deployment_that_is_missing_blocks_and_one_that_goes_ends_what_users_applied(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.run_by("d", "r0")
        status = rig.phase("r0", "Blocked")
        assert status["reason"] == "DeploymentNotFound"
        assert "Deployment d" in str(status["conditions"])
        rig.deployment(concurrency=1)
        patiently("the Function is missed", lambda: rig.status("r0").get("reason") == "FunctionNotFound")
        ready = lambda: str(rig.api.get("deployments", rig.namespace, "d").get("status"))  # noqa: E731
        patiently("Ready says so", lambda: "FunctionNotFound" in ready())
        rig.function()
        succeed(rig, "r0")
        rig.phase("r0", "Succeeded")
        patiently("Ready", lambda: "Valid" in ready())
        rig.run_by("d", "r1")
        rig.run_by("d", "r2")
        settled(rig, r1="Pending", r2="Queued")
        Pod(rig, "r1").scheduled().running().write()
        rig.api.delete("deployments", rig.namespace, "d")
        status = rig.phase("r2", "Failed")
        assert status["failure"]["reason"] == "DeploymentNotFound"
        assert "Deployment d was deleted" in status["failure"]["message"]
        assert rig.phase("r1", "Failed")["failure"]["reason"] == "DeploymentNotFound"
        assert rig.phase("r0", "Succeeded")
        assert "ownerReferences" not in rig.api.get("jobruns", rig.namespace, "r0")["metadata"]


def test_a_queued_run_is_cancelled_suspended_and_brought_forward(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1)
        for number in range(1, 6):
            rig.run_by("d", f"r{number}")
        settled(rig, r1="Pending", r2="Queued", r3="Queued", r4="Queued", r5="Queued")
        edit = lambda name, **spec: rig.api.merge("jobruns", rig.namespace, name, {"spec": spec})  # noqa: E731
        edit("r2", suspend=True)
        edit("r3", cancel=True)
        edit("r5", priority=10)
        settled(rig, r2="Pending", r3="Cancelled")
        assert rig.status("r2")["reason"] == "Suspended"
        patiently("r5 is next", lambda: rig.status("r5").get("queuePosition") == 1)
        for name in ("r1", "r5", "r4"):
            succeed(rig, name)
            rig.phase(name, "Succeeded")
        assert with_job(rig) == ["r1", "r5", "r4"]
        edit("r2", suspend=False)
        succeed(rig, "r2")
        rig.phase("r2", "Succeeded")


def test_a_full_queue_refuses_skips_or_lets_the_oldest_go(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment("queue", concurrency=1, queue={"maxLength": 1})
        rig.deployment("skip", concurrency=1, queue={"whenFull": "SkipNew"})
        rig.deployment("latest", concurrency=1, queue={"whenFull": "CancelOldest"})
        looked_at(rig, "queue", "skip", "latest")
        for name in ("queue", "skip", "latest"):
            for number in range(1, 5):
                rig.run_by(name, f"{name}{number}")
        settled(rig, queue1="Pending", queue2="Queued", queue3="Failed", queue4="Failed")
        settled(rig, skip1="Pending", skip2="Cancelled", skip3="Cancelled", skip4="Cancelled")
        settled(rig, latest1="Pending", latest2="Cancelled", latest3="Cancelled", latest4="Queued")
        for name in ("queue3", "skip2", "latest2"):
            assert rig.status(name)["failure"]["reason"] == "QueueFull"


def test_one_queue_does_not_delay_another_and_a_blocked_head_not_its_own(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        for name in ("slow", "quick"):
            rig.deployment(name, concurrency=1)
        rig.run_by("slow", "slow1", inputs=[{"name": "x", "dataStore": {"name": "absent", "path": "in"}}])
        rig.phase("slow1", "Blocked")
        rig.run_by("slow", "slow2")
        rig.run_by("slow", "slow3")
        rig.run_by("quick", "quick1")
        settled(rig, slow1="Blocked", slow2="Pending", slow3="Queued", quick1="Pending")
        assert sorted(with_job(rig)) == ["quick1", "slow2"]


def test_a_run_does_not_wait_longer_than_it_says(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1, template={"timeouts": {"queued": "3s", "running": "1h"}})
        rig.run_by("d", "r1")
        rig.job("r1")
        rig.run_by("d", "r2")
        status = rig.phase("r2", "Failed")
        assert status["failure"]["reason"] == "QueueTimeout"
        assert "timeouts.queued" in status["failure"]["message"]


def test_a_post_without_an_answer_keeps_its_slot(api_server: ApiServer) -> None:
    """The Job is there, and the operator does not know: nobody else may start meanwhile, of a higher priority neither."""
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1)
        patiently("the revision", lambda: rig.api.get("deployments", rig.namespace, "d").get("status"))
        gate = threading.Event()
        rig.proxy.rule(proxy.wait_for(gate), "GET", r"/jobs", times=None)
        lost = rig.proxy.rule(proxy.drop_response(), "POST", r"/jobs\?")
        for watch in rig.proxy.watches("jobs"):
            watch.cut()
        rig.run_by("d", "r1")
        patiently("the POST", lambda: lost.hits)
        rig.run_by("d", "r2", priority=5)
        time.sleep(2)
        assert not rig.jobs("r2")
        gate.set()
        settled(rig, r1="Pending", r2="Queued")
