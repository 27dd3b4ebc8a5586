"""Notifications on a real API server: what has happened is told whatever befalls the operator between its steps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.operator.kubelet import Pod, fail, succeed
from integration.operator.rig import Rig, operator, patiently
from support.apiserver import ApiServer, Object

HOOK = {"on": ["Succeeded", "Failed", "Cancelled"], "urlSecretRef": {"name": "hook", "key": "url"}}


def prepare(rig: Rig, *entries: Object, **spec: Any) -> None:
    rig.function()
    rig.deployment(notifications=list(entries or (HOOK,)), **spec)


def tellers(rig: Rig) -> list[Object]:
    """The Jobs that tell, the oldest first."""
    jobs = rig.api.list("jobs", rig.namespace, labelSelector="millrace.dev/component=chore")
    found = [job for job in jobs if "millrace.dev/notifies" in job["metadata"].get("annotations", {})]
    return sorted(found, key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]))


def sent(job: Object) -> list[tuple[str, str]]:
    """Subject and type of what a Job sends."""
    [variable, _] = job["spec"]["template"]["spec"]["containers"][0]["env"]
    bodies = [message["body"] for message in json.loads(variable["value"].replace("$$", "$"))["messages"]]
    about = json.loads(job["metadata"]["annotations"]["millrace.dev/notifies"])
    assert [body["id"] for body in bodies] == about["ids"]
    return [(body["subject"], body["type"].rpartition(".")[2]) for body in bodies]


def teller(rig: Rig) -> Object:
    [found] = patiently("a Job that tells", lambda: tellers(rig))
    return found


def answer(rig: Rig, job: Object, *refused: tuple[int, str]) -> None:
    """The Job tells all."""
    report = {"done": len(sent(job)), "refused": [list(each) for each in refused]}
    pod = Pod(rig, job["metadata"]["name"]).scheduled().running("notify").write()
    pod.ended("notify", report=report).over().write()


def notified(rig: Rig, name: str) -> Object:
    found: Object = rig.status(name).get("notifications", {})
    return found


def told(rig: Rig, name: str) -> list[tuple[str, str, str]]:
    """What became of a run's transitions, once none is pending."""

    def look() -> list[tuple[str, str, str]]:
        found = notified(rig, name)
        return [
            (each["transition"], each["address"], each["result"]) for each in found.get("told", []) if not found["pending"]
        ]

    return patiently(f"all of {name} is told", look)


def test_each_end_is_told_and_recorded_and_its_job_goes(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig, concurrency=3)
        for name in ("good", "bad", "off"):
            rig.run_by("d", name)
        Pod(rig, "off").scheduled().running().write()
        rig.phase("off", "Running")
        rig.api.merge("jobruns", rig.namespace, "off", {"spec": {"cancel": True}})
        rig.phase("off", "Cancelled")
        succeed(rig, "good")
        fail(rig, "bad")
        ends = {"good": "Succeeded", "bad": "Failed", "off": "Cancelled"}
        seen: list[tuple[str, str]] = []
        while len(seen) < len(ends):
            job = teller(rig)
            seen += sent(job)
            answer(rig, job)
            patiently("it goes", lambda uid=job["metadata"]["uid"]: uid not in [j["metadata"]["uid"] for j in tellers(rig)])
        assert sorted(seen) == sorted((name, end.lower()) for name, end in ends.items())
        for name, end in ends.items():
            assert told(rig, name) == [(end, "hook/url", "Sent")]


@pytest.mark.parametrize("how", ["killed before", "killed after", "answer lost"])
@pytest.mark.parametrize(
    "step",
    [
        ("PATCH", r"/jobruns/one/status", 0),
        ("POST", r"/jobs\?", 0),
        ("PATCH", r"/jobruns/one/status", 1),
        ("DELETE", r"/jobs/d-notify", 0),
    ],
    ids=["the end", "the Job", "the record", "the deletion"],
)
def test_a_fault_at_any_step_loses_nothing_and_keeps_the_id(
    api_server: ApiServer, how: str, step: tuple[str, str, int]
) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        rig.run_by("d", "one")
        Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        method, url, skip = step
        rule = rig.proxy.rule(rig.cut(how), method, url, skip=skip)
        succeed(rig, "one")
        job = teller(rig)
        uid = rig.api.get("jobruns", rig.namespace, "one")["metadata"]["uid"]
        assert json.loads(job["metadata"]["annotations"]["millrace.dev/notifies"])["ids"] == [f"{uid}.Succeeded"]
        answer(rig, job)
        assert told(rig, "one") == [("Succeeded", "hook/url", "Sent")]
        patiently("the Job is gone", lambda: not tellers(rig))
        assert rule.hits, "the fault was there"


def test_what_happened_while_the_operator_was_away_is_told_by_one_job(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig, concurrency=4)
        names = [f"run-{number}" for number in range(4)]
        for name in names:
            rig.run_by("d", name)
            Pod(rig, name).scheduled().running().write()
            rig.phase(name, "Running")
        rig.kill()
        for name in names:
            succeed(rig, name)
        rig.start()
        for name in names:
            rig.phase(name, "Succeeded")
        answer(rig, teller(rig))
        for name in names:
            assert told(rig, name) == [("Succeeded", "hook/url", "Sent")]


def test_addresses_do_not_wait_for_each_other_and_what_one_refuses_is_told(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig, HOOK, {"on": ["Failed"], "format": "slack", "urlSecretRef": {"name": "chat", "key": "url"}})
        rig.run_by("d", "one")
        fail(rig, "one")
        jobs = patiently("two Jobs", lambda: found if len(found := tellers(rig)) == 2 else None)
        by_address = {json.loads(job["metadata"]["annotations"]["millrace.dev/notifies"])["address"]: job for job in jobs}
        Pod(rig, by_address["hook/url"]["metadata"]["name"]).scheduled().waiting(
            "notify", "CreateContainerConfigError", 'secret "hook" not found'
        ).write()
        pod = Pod(rig, by_address["chat/url"]["metadata"]["name"]).scheduled().running("notify").write()
        pod.ended("notify", report={"done": 1, "refused": [[0, "HTTP 404"]]}).over().write()

        def conditions() -> Object:
            found = rig.api.get("deployments", rig.namespace, "d")["status"]["conditions"]
            return {each["type"]: each for each in found}

        patiently("the record", lambda: notified(rig, "one").get("told"))
        assert notified(rig, "one")["told"] == [
            {"transition": "Failed", "address": "chat/url", "result": "Refused", "message": "HTTP 404"}
        ]
        assert [each["transition"] for each in notified(rig, "one")["pending"]] == ["Failed"]
        patiently("it is told", lambda: conditions().get("Notified", {}).get("status") == "False")
        assert 'secret "hook" not found' in conditions()["Notified"]["message"]
        assert conditions()["Ready"]["status"] == "True"
        reasons = {event["reason"] for event in rig.api.list("events", rig.namespace)}
        assert "NotificationNotSent" in reasons
        answer(rig, by_address["hook/url"])
        assert ("Failed", "hook/url", "Sent") in told(rig, "one")
        patiently("it has healed", lambda: conditions()["Notified"]["status"] == "True")


def test_retention_waits_until_a_run_is_told(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig, retention={"runs": {"amount": 0}})
        uid = rig.api.get("deployments", rig.namespace, "d")["metadata"]["uid"]
        owner = {"apiVersion": "millrace.dev/v1alpha1", "kind": "Deployment", "name": "d", "uid": uid, "controller": True}
        run = {"apiVersion": "millrace.dev/v1alpha1", "kind": "JobRun", "spec": {"deploymentRef": {"name": "d"}}}
        rig.api.create("jobruns", rig.placed({**run, "metadata": {"name": "one", "ownerReferences": [owner]}}))
        succeed(rig, "one")
        job = teller(rig)
        assert rig.status("one")["phase"] == "Succeeded"
        answer(rig, job)
        patiently("the run goes", lambda: rig.api.find("jobruns", rig.namespace, "one") is None)
        assert sent(job) == [("one", "succeeded")]


def test_a_run_that_is_late_and_a_queue_that_is_stuck_are_told(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.deployment(notifications=[{**HOOK, "on": ["Late", "QueueStuck"]}])  # of a Function that is not there
        run = {"apiVersion": "millrace.dev/v1alpha1", "kind": "JobRun", "spec": {"deploymentRef": {"name": "d"}}}
        due = {"millrace.dev/scheduled-at": "2020-01-01T00:00:00Z"}
        rig.api.create("jobruns", rig.placed({**run, "metadata": {"name": "one", "annotations": due}}))
        late = teller(rig)
        assert sent(late) == [("one", "late")]
        [event] = [found for found in rig.api.list("events", rig.namespace) if found["reason"] == "Late"]
        assert event["message"] == "is late: it was due at 2020-01-01T00:00:00Z, FunctionNotFound"
        answer(rig, late)
        assert told(rig, "one") == [("Late", "hook/url", "Sent")]
        patiently("its Job is gone", lambda: not tellers(rig))

        def clock() -> Object | None:
            found = rig.api.get("deployments", rig.namespace, "d")["status"]["conditions"]
            return next((each for each in found if each["type"] == "QueueStuck"), None)

        patiently("the clock is wound", clock)
        status = rig.api.get("deployments", rig.namespace, "d")["status"]
        conditions = [
            {**each, "lastTransitionTime": "2020-01-01T00:00:00Z"} if each["type"] == "QueueStuck" else each
            for each in status["conditions"]
        ]
        rig.api.merge("deployments/status", rig.namespace, "d", {"status": {"conditions": conditions}})
        assert sent(teller(rig)) == [("d", "queuestuck")]
        assert (clock() or {})["status"] == "True"
        answer(rig, teller(rig))
        patiently("it is told", lambda: not tellers(rig))
        rig.function()
        Pod(rig, "one").scheduled().running().write()
        patiently("it goes on", lambda: (clock() or {})["status"] == "False")
