"""The API server fails in all the ways that it can; the run goes on, and no Job is made twice.

That no Job is made twice, no Secret is asked for and nothing unexpected is written is checked at the end of each rig.
"""

from __future__ import annotations

import time

import pytest

from integration.operator.kubelet import Pod, fail, succeed
from integration.operator.rig import PATIENCE, Rig, operator, patiently
from support import proxy
from support.apiserver import ApiServer
from support.recovery import Recovery
from support.seed import SEED

JOBS = r"/jobs\?"
STATUS = r"/status\?"


def posts(rig: Rig, name: str) -> list[proxy.Request]:
    """The POSTs of a Job."""
    return [
        found
        for found in list(rig.proxy.log)
        if (found.verb, found.resource) == ("create", "jobs") and found.object["metadata"]["name"] == name
    ]


def test_the_answer_to_the_post_of_a_job_is_lost(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        lost = rig.proxy.rule(proxy.drop_response(), "POST", JOBS)
        rig.function()
        rig.run("one")
        succeed(rig, "one")
        assert rig.phase("one", "Succeeded")["attempt"] == 1
        assert [found.status for found in lost.hits] == [201]
        assert len(rig.jobs("one")) == 1


def test_the_post_of_a_job_is_lost(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.proxy.rule(proxy.drop_before(), "POST", JOBS)
        rig.function()
        rig.run("one")
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        assert [found.status for found in posts(rig, "one")] == [None, 201]


def test_the_post_of_a_job_lands_after_it_was_given_up(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        late = rig.proxy.rule(proxy.lands_later(5), "POST", JOBS)
        rig.function()
        rig.run("one")
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        patiently("the late POST", lambda: late.hits[0].status)
        assert late.hits[0].status == 409
        assert len(rig.jobs("one")) == 1


def test_every_answer_to_a_write_is_lost_once(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.proxy.rule(proxy.first_of_each(proxy.drop_response()), proxy.WRITES, times=None)
        rig.function()
        rig.run("one", retries=1)
        fail(rig, "one")
        succeed(rig, "one-2")
        assert rig.phase("one", "Succeeded")["attempt"] == 2


def test_retries_end(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one", retries=1)
        fail(rig, "one")
        fail(rig, "one-2")
        status = rig.phase("one", "Failed")
        assert (status["attempt"], status["failure"]["reason"]) == (2, "UserError")
        assert len(rig.jobs("one")) == 2


def test_every_first_status_write_is_a_conflict(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        conflict = proxy.answer(409, "Conflict", "the object has been modified")
        rule = rig.proxy.rule(proxy.first_of_each(conflict), "PATCH", STATUS, times=None)
        rig.function()
        before = rig.run("one", parameters={"a": 1})
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        after = rig.api.get("jobruns", rig.namespace, "one")
        assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], 1)
        refused = [found for found in rule.hits if found.answered == 409]
        assert {found.resource for found in refused} == {"functions/status", "jobruns/status"}


def test_a_job_of_somebody_else_has_the_name(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        container = {"name": "c", "image": "x"}
        template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
        foreign = {"metadata": {"name": "one"}, "spec": {"suspend": True, "template": template}}
        rig.api.create("jobs", rig.placed(foreign))

        def settled() -> object:
            return rig.job("one").get("status", {}).get("conditions")

        patiently("the Job controller has seen the foreign Job", settled)
        before = rig.job("one")
        rig.function()
        rig.run("one")
        rig.run("two")
        status = rig.finished("one")
        assert (status["phase"], status["failure"]["reason"]) == ("Failed", "NameTaken")
        assert status["failure"]["message"].startswith("Job one exists and is not of this run")
        succeed(rig, "two")
        rig.phase("two", "Succeeded")
        assert rig.job("one") == before


def test_a_job_of_an_earlier_run_of_that_name_is_waited_for(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        first = rig.job("one")["metadata"]["uid"]
        finalizer = {"metadata": {"finalizers": ["test/held"]}}
        rig.api.merge("jobs", rig.namespace, "one", finalizer)
        rig.api.delete("jobruns", rig.namespace, "one")
        patiently("the Job is being deleted", lambda: "deletionTimestamp" in rig.job("one")["metadata"])
        rig.run("one")
        patiently("POSTs that meet the old Job, one after the other", lambda: len(posts(rig, "one")) > 2)
        assert "jobName" not in rig.status("one"), "a Job that goes is not the run's"
        rig.api.merge("jobs", rig.namespace, "one", {"metadata": {"finalizers": None}})
        patiently("the new Job", lambda: rig.job("one")["metadata"]["uid"] != first)
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        assert list(rig.made().values()) == [1, 1]


def test_old_events_after_the_end_are_ignored(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        before = rig.api.get("jobruns", rig.namespace, "one")
        for resource in ("jobruns", "jobs", "pods"):
            for watch in rig.proxy.watches(resource):
                for line in list(watch.lines):
                    watch.replay(line)
        rig.run("two")  # comes after the old events
        succeed(rig, "two")
        rig.phase("two", "Succeeded")
        assert rig.api.get("jobruns", rig.namespace, "one") == before
        assert len(posts(rig, "one")) == 1


def test_old_events_of_a_deleted_run_do_not_bring_it_back(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        rig.job("one")
        rig.api.delete("jobruns", rig.namespace, "one")

        def collected() -> bool:
            return rig.api.find("jobs", rig.namespace, "one") is None

        patiently("the Job went with its run", collected)
        [watch] = rig.proxy.watches("jobruns")
        for line in list(watch.lines):
            if b"BOOKMARK" not in line and b"DELETED" not in line:
                watch.replay(line)
        rig.run("two")
        succeed(rig, "two")
        rig.phase("two", "Succeeded")
        assert len(posts(rig, "one")) == 1


def test_events_are_late(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        patiently("the watches", lambda: rig.proxy.watches("jobs") and rig.proxy.watches("pods"))
        late = [watch for resource in ("jobs", "pods") for watch in rig.proxy.watches(resource)]
        for watch in late:
            watch.silence()
        rig.run("one")
        pod = Pod(rig, "one").scheduled().running().write()
        rig.api.merge("jobruns", rig.namespace, "one", {"metadata": {"annotations": {"touched": "1"}}})
        rig.run("two")
        rig.job("two")
        pod.ended().over().write()
        for watch in late:
            watch.resume()
        with recovery():
            rig.phase("one", "Succeeded")
        succeed(rig, "two")
        rig.phase("two", "Succeeded")
        assert len(posts(rig, "one")) == len(posts(rig, "two")) == 1


@pytest.mark.timed
def test_retry_after_is_honoured(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        busy = proxy.answer(429, "TooManyRequests", Retry_After="4")
        rig.proxy.rule(busy, "POST", JOBS)
        rig.function()
        rig.run("one")
        succeed(rig, "one")
        rig.phase("one", "Succeeded")
        first, second = posts(rig, "one")  # the Function's status, written meanwhile, does not bring it forward
        assert (first.answered, second.answered) == (429, 201)
        assert 4 <= second.at - first.at < 6


def test_an_api_server_that_is_busy_gets_at_most_twice_the_requests(api_server: ApiServer) -> None:
    def asked(name: str) -> int:
        before = len(rig.proxy.log)
        rig.run(name)
        succeed(rig, name)
        rig.phase(name, "Succeeded")
        made = list(rig.proxy.log)[before:]
        return len([found for found in made if found.namespace and found.resource != "leases" and found.method != "GET"])

    with operator(api_server) as rig:
        rig.function()
        calm = asked("calm")
        busy = proxy.first_of_each(proxy.answer(429, "TooManyRequests", Retry_After="1"))
        rule = rig.proxy.rule(busy, url="/namespaces/", times=None)
        assert asked("busy") <= 2 * calm + 1  # an Event may come after the look at the end
        assert [found for found in rule.hits if found.answered == 429 and found.resource == "jobs"]


def test_a_twentieth_of_all_requests_fails(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        faults = (
            proxy.answer(500, "InternalError"),
            proxy.answer(503, "ServiceUnavailable"),
            proxy.drop_before(),
            proxy.drop_response(),
        )
        rule = rig.proxy.rule(proxy.sometimes(0.05, *faults, seed=SEED), times=None)
        rig.function()
        names = [f"run-{number}" for number in range(10)]
        for name in names:
            rig.run(name)
        for name in names:
            succeed(rig, name)
        for name in names:
            rig.phase(name, "Succeeded", seconds=PATIENCE)
        assert len(rig.api.list("jobs", rig.namespace)) == len(names)
        assert [found for found in rule.hits if found.answered != found.status], f"seed {SEED}: no request has failed"


@pytest.mark.timed
@pytest.mark.parametrize("away", ["refused", "unavailable"])
def test_it_goes_on_at_once_after_the_api_server_was_away(api_server: ApiServer, recovery: Recovery, away: str) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("works")
        rig.run("fails", retries=1)
        pod = Pod(rig, "works").scheduled().running().write()
        fail(rig, "fails")
        rig.phase("works", "Running")
        rig.phase("fails", "Pending")
        failed = time.monotonic()
        patiently("the second attempt is about to fall due", lambda: time.monotonic() - failed > 7)
        unavailable = None
        if away == "refused":
            rig.proxy.down()
        else:
            unavailable = rig.proxy.rule(proxy.answer(503, "ServiceUnavailable"), times=None)
            for resource in ("jobruns", "jobs", "pods"):
                for watch in rig.proxy.watches(resource):
                    watch.cut()
        began = time.monotonic()
        rig.run("new")
        pod.ended().over().write()

        patiently("it was away for a while", lambda: time.monotonic() - began > 10)
        assert rig.process.poll() is None
        if unavailable:
            rig.proxy.remove(unavailable)
        else:
            rig.proxy.up()
        back = time.monotonic()
        with recovery(within=5):  # F09; the benchmark `outage` measures it
            rig.phase("works", "Succeeded")
            rig.job("new")
            rig.job("fails-2")
        requests = [found for found in list(rig.proxy.log) if began < found.at < back]
        assert len(requests) < 200, "no storm"


def test_a_run_is_deleted_while_the_operator_is_away(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        rig.kill()
        rig.api.delete("jobruns", rig.namespace, "one")

        def nothing() -> bool:
            return not rig.api.list("jobs", rig.namespace) and not rig.api.list("pods", rig.namespace)

        with recovery():
            patiently("run, Job and pod are gone", nothing)
        assert rig.api.find("jobruns", rig.namespace, "one") is None
        rig.start()
        rig.run("two")
        rig.job("two")
        assert len(posts(rig, "one")) == 1


def test_a_job_that_somebody_deletes_makes_another_attempt(api_server: ApiServer, recovery: Recovery) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("one")
        Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        rig.api.delete("jobs", rig.namespace, "one")
        with recovery():
            rig.job("one-2")
        succeed(rig, "one-2")
        assert rig.phase("one", "Succeeded")["attempt"] == 2
        assert len(posts(rig, "one")) == 1


def test_one_bad_run_does_not_stop_the_others(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        deep: object = 0
        for _ in range(90):
            deep = [deep]
        rig.run("deep", parameters={"deep": deep})
        rig.run("large", inputData=[{"values": ["x" * 100_000] * 10}])
        longest = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])
        rig.run(longest)
        rig.run("quantity", scratch={"size": 1073741824})
        rig.run("affinity", affinity={"nodeAffinity": "nonsense"})
        rig.run("good")
        succeed(rig, "good")
        succeed(rig, "deep")
        succeed(rig, "quantity")
        rig.phase("good", "Succeeded")
        rig.phase("deep", "Succeeded")
        rig.phase("quantity", "Succeeded")
        assert rig.finished("large")["failure"]["reason"] == "PayloadTooLarge"
        assert rig.finished("affinity")["failure"]["reason"] == "InvalidPodTemplate"
        job = patiently("its Job", lambda: rig.status(longest).get("jobName"))
        succeed(rig, job)
        rig.phase(longest, "Succeeded")
