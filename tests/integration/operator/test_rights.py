"""The operator needs every right that the chart gives it, and no other (S02, S04). Rig.check looks at the second."""

from __future__ import annotations

import contextlib
import threading

import pytest

from integration.operator.kubelet import Pod, answer_probe, publish
from integration.operator.rig import operator, patiently, rendered
from support import proxy
from support.apiserver import ApiServer
from support.store import data_store

HOST = {"name": "host", "hostPath": {"path": "/"}}


# No more by schedule, and none of what it has made is kept.
OVER = {"executionRule": "manual", "schedule": None, "retention": {"runs": {"amount": 0}}}


@pytest.mark.slow
def test_every_right_that_the_chart_gives_is_used(api_server: ApiServer) -> None:
    with operator(api_server, start=False) as rig:
        authority = rig.folder / "authority.pem"
        authority.write_text((rig.server.pki / "ca.crt").read_text())
        rig.set(caBundleFile=str(authority), keepPodsSeconds=0)
        rig.start()
        # Children whose watches tell of nothing: an answer that is lost is read again, and so is what a sweep finds.
        gate = threading.Event()
        children = ("configmaps", "cronjobs", "jobs", "pods")
        patiently("the watches", lambda: all(rig.proxy.watches(resource) for resource in children))
        held = rig.proxy.rule(proxy.wait_for(gate), "GET", rf"/({'|'.join(children)})\?.*watch=true", times=None)
        for watch in [watch for resource in children for watch in rig.proxy.watches(resource)]:
            watch.cut()
        # With the lists that come before them, which would tell of what is made from now on.
        patiently("the watches that follow", lambda: len(held.hits) >= len(children))
        for resource in ("configmaps", "cronjobs", "jobs"):
            rig.proxy.rule(proxy.drop_response(), "POST", rf"/{resource}\?")
        # A status that has changed meanwhile is read again.
        for resource in ("dataassets", "datastores", "deployments", "functions", "jobruns"):
            rig.proxy.rule(proxy.answer(409, "Conflict"), "PATCH", rf"/{resource}/.*/status")
        rig.function(requirements=["x"])
        rig.api.create("datastores", rig.placed(data_store("store", "bucket")))
        rig.deployment()
        rig.deployment("p", executionRule="periodic", schedule={"cron": "0 0 1 1 *", "missedRuns": "Latest"})
        rig.run("one")
        Pod(rig, "one").scheduled().running("stage").write().ended("stage").running().write()
        rig.phase("one", "Running")  # by a sweep
        gate.set()
        rig.api.merge("jobruns", rig.namespace, "one", {"spec": {"cancel": True}})
        rig.phase("one", "Cancelled")
        answer_probe(rig, "store")
        rig.run("makes", outputs=[{"name": "out", "asset": "scores"}], logs="None")
        publish(rig, "makes", "out")
        rig.phase("makes", "Succeeded")
        revision = lambda: rig.api.get("functions", rig.namespace, "f")["status"]["revision"]  # noqa: E731
        before = revision()
        rig.api.merge("functions", rig.namespace, "f", {"spec": {"source": {"inline": "def main(): print()"}}})
        patiently("the new revision", lambda: revision() != before)
        # The CronJob is put right and deleted, and its schedule has missed a run of this year.
        schedule = lambda: rig.api.get("deployments", rig.namespace, "p").get("status", {}).get("schedule", {})  # noqa: E731
        patiently("it is settled", lambda: schedule().get("next"))
        rig.api.merge("cronjobs", rig.namespace, "p", {"spec": {"suspend": True}})
        patiently("it is put right", lambda: not rig.api.get("cronjobs", rig.namespace, "p")["spec"]["suspend"])
        rig.api.merge("deployments/status", rig.namespace, "p", {"status": {"schedule": {"since": "2020-06-01T00:00:00Z"}}})
        made = lambda: [run for run in rig.api.list("jobruns", rig.namespace) if run["metadata"]["name"].startswith("p-")]  # noqa: E731
        patiently("its run", made)
        # And that is over, and is not kept.
        rig.api.merge("jobruns", rig.namespace, made()[0]["metadata"]["name"], {"spec": {"cancel": True}})
        rig.api.merge("deployments", rig.namespace, "p", {"spec": OVER})
        patiently("the run goes", lambda: not made())
        # A Job that gets no pod: Pod Security refuses it.
        rig.run("two", volumes=[HOST])
        rig.phase("two", "Blocked")

        roles = (found for found in rendered(rig.namespace, rig.namespaces) if found["kind"] == "Role")
        rules = [rule for role in roles for rule in role["rules"]]
        given = {(verb, name) for rule in rules for verb in rule["verbs"] for name in rule["resources"]}

        def unused() -> set[tuple[str, str]]:
            return given - {(request.verb, request.resource) for request in rig.proxy.log}

        with contextlib.suppress(AssertionError):  # the one below says more
            patiently("the use of all", lambda: not unused())
        assert not unused()
