"""Jobs that Kueue admits, on a real Job controller. What Kueue would write, the tests write; tests/e2e has Kueue itself."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from integration.operator.kubelet import Pod, pods, succeed
from integration.operator.rig import Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer, Object

QUEUE = "kueue.x-k8s.io/queue-name"


def kueue(rig: Rig, job: str, *, admits: bool) -> None:
    """Kueue starts a Job, or takes its quota back."""
    rig.api.merge("jobs", rig.namespace, job, {"spec": {"suspend": not admits}})


def awaits(rig: Rig, name: str) -> Object:
    return patiently(
        f"{name} waits for Kueue",
        lambda: status if (status := rig.status(name)).get("reason") == "AwaitingAdmission" else None,
    )


def closed(rig: Rig, job: str) -> str | None:
    """Why the Job controller has closed a Job."""
    conditions = rig.api.get("jobs", rig.namespace, job)["status"].get("conditions", [])
    return next((found["reason"] for found in conditions if (found["type"], found["status"]) == ("Failed", "True")), None)


def test_a_run_waits_for_kueue_with_its_slot_and_starts_when_it_is_admitted(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.deployment(concurrency=1, queue={"kueueQueue": "team-a"})
        rig.run_by("d", "r1")
        rig.run_by("d", "r2", kueueQueue="team-b")
        status = awaits(rig, "r1")
        assert (status["phase"], status["jobName"]) == ("Queued", "r1")
        assert rig.job("r1")["metadata"]["labels"][QUEUE] == "team-a"
        assert "admitted" not in status["times"]
        assert patiently("r2 waits for a slot", lambda: rig.status("r2").get("queuePosition")) == 1
        assert rig.jobs("r2") == []
        assert pods(rig, "r1") == []
        rig.kill()
        kueue(rig, "r1", admits=True)
        rig.start()
        succeed(rig, "r1")
        rig.phase("r1", "Succeeded")
        awaits(rig, "r2")
        assert rig.job("r2")["metadata"]["labels"][QUEUE] == "team-b"
        kueue(rig, "r2", admits=True)
        succeed(rig, "r2")
        rig.phase("r2", "Succeeded")


def test_a_run_whose_jobs_kueue_takes_of_itself_waits_like_one_that_was_made_for_it(api_server: ApiServer) -> None:
    """Where a namespace has a LocalQueue `default` Kueue's webhook does this to each new Job."""

    async def take(exchange: proxy.Exchange) -> web.StreamResponse:
        job = exchange.record.object
        job["metadata"]["labels"].setdefault(QUEUE, "default")
        job["spec"]["suspend"] = True
        exchange.record.body = json.dumps(job).encode()
        return await exchange.forward()

    with operator(api_server) as rig:
        rig.proxy.rule(take, "POST", "/jobs([?]|$)", times=None)
        rig.function()
        rig.run("one", retries=1)
        assert awaits(rig, "one")["attempt"] == 1
        kueue(rig, "one", admits=True)
        Pod(rig, "one").scheduled().running().ended(code=1).over("Failed").write()
        second = rig.job("one-2")
        assert second["spec"]["activeDeadlineSeconds"] == rig.job("one")["spec"]["activeDeadlineSeconds"]
        assert awaits(rig, "one")["attempt"] == 2
        kueue(rig, "one-2", admits=True)
        succeed(rig, "one-2")
        rig.phase("one", "Succeeded")
        assert "Preempted" not in str(rig.api.list("events", rig.namespace))


@pytest.mark.parametrize("away", [False, True], ids=["while it works", "while it is away"])
def test_an_eviction_ends_the_attempt_and_its_job_never_starts_again(api_server: ApiServer, away: bool) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one", kueueQueue="team-a")
        awaits(rig, "one")
        kueue(rig, "one", admits=True)
        pod = Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        if away:
            rig.kill()
        kueue(rig, "one", admits=False)
        patiently("the pod is gone", lambda: pod.name not in pods(rig, "one"))
        if away:
            rig.start()
        second = rig.job("one-2")
        assert (second["spec"]["suspend"], second["metadata"]["labels"][QUEUE]) == (True, "team-a")
        assert second["spec"]["activeDeadlineSeconds"] > 3600
        patiently("the first Job is gone", lambda: rig.api.find("jobs", rig.namespace, "one") is None)
        status = awaits(rig, "one")
        assert (status["attempt"], status["jobName"]) == (2, "one-2")
        kueue(rig, "one-2", admits=True)
        succeed(rig, "one-2")
        rig.phase("one", "Succeeded")
        assert len(rig.made()) == 2


def test_a_job_that_was_ended_has_no_pod_again_whoever_starts_it(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one", kueueQueue="team-a")
        awaits(rig, "one")
        kueue(rig, "one", admits=True)
        pod = Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        rig.kill()  # it would delete the Job as soon as its pod is over
        rig.api.merge("jobruns", rig.namespace, "one", {"spec": {"cancel": True}})
        rig.proxy.rule(proxy.answer(409, "Conflict"), "DELETE", "/jobs/", times=None)
        rig.start()
        patiently("it is suspended", lambda: rig.api.get("jobs", rig.namespace, "one")["spec"]["suspend"])
        patiently("its pod is gone", lambda: pod.name not in pods(rig, "one"))
        kueue(rig, "one", admits=True)
        assert patiently("the Job is closed", lambda: closed(rig, "one")) == "DeadlineExceeded"
        assert pods(rig, "one") == []
        assert rig.phase("one", "Cancelled")["failure"]["reason"] == "Cancelled"


def test_a_run_that_is_cancelled_while_it_waits_leaves_kueues_queue(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one", kueueQueue="team-a")
        awaits(rig, "one")
        rig.api.merge("jobruns", rig.namespace, "one", {"spec": {"cancel": True}})
        assert "admitted" not in rig.phase("one", "Cancelled")["times"]
        patiently("its Job is gone", lambda: rig.api.find("jobs", rig.namespace, "one") is None)
