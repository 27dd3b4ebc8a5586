"""Retention under faults: each thing that runs have left is deleted by one Job, no run goes before that is recorded."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from integration.operator.kubelet import Pod, pods
from integration.operator.rig import PATIENCE, Rig, operator
from millrace.domain.clock import render
from support import cluster, proxy
from support.apiserver import ApiServer, Object
from support.store import data_store
from support.waiting import wait_for

MOST_WRITES = 30
MANY = 320  # more than one Job takes
VARIABLE = 128 * 1024  # bytes that the kernel takes for one variable
ENDS = {"a": 180, "b": 30, "c": 10}  # runs, and how many minutes ago they ended


class Kept:
    """A Deployment with finished runs of its own, and the kubelet of the Jobs that delete what those have left."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.rig, self.name = rig, name
        rig.deployment(name)
        self.uid: str = rig.api.get("deployments", rig.namespace, name)["metadata"]["uid"]
        self.uids: dict[str, str] = {}
        self.done: Counter[str] = Counter()  # how often a Job for a part has gone through
        self.over: set[str] = set()

    def run(self, name: str, minutes: float, *, ours: bool = True) -> None:
        """A run that ended so long ago, with an archived log and an output."""
        full = f"{self.name}-{name}"
        run = self.rig.placed(cluster.deployment_run(full, self.name, suspend=True))
        if ours:
            owner = {"apiVersion": cluster.API_VERSION, "kind": "Deployment", "name": self.name, "uid": self.uid}
            run["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
        made = self.rig.api.create("jobruns", run)
        self.uids[made["metadata"]["uid"]] = name
        place = {"name": "store", "path": f"out/{full}/o.zip"}
        status = {
            "observedGeneration": 1,
            "phase": "Succeeded",
            "reason": None,
            "times": {"finished": render(datetime.now(UTC) - timedelta(minutes=minutes))},
            "logs": f"s3://bucket/logs/{full}/1/",
            "logsStore": "store",
            "outputs": [{"name": "o", "uri": f"s3://bucket/out/{full}/o.zip", "dataStore": place}],
        }
        if self.rig.process.poll() is None:
            self.rig.phase(full, "Pending")
        self.rig.api.merge("jobruns/status", self.rig.namespace, full, {"status": status})

    def keep(self, **retention: object) -> None:
        """Edits what is kept."""
        self.rig.api.merge("deployments", self.rig.namespace, self.name, {"spec": {"retention": retention}})

    def runs(self) -> dict[str, list[str]]:
        """The runs that are there, and what has been deleted of each."""
        found = self.rig.api.list("jobruns", self.rig.namespace)
        mine = [run for run in found if run["metadata"]["uid"] in self.uids and "deletionTimestamp" not in run["metadata"]]
        return {self.uids[run["metadata"]["uid"]]: run["status"].get("deleted", []) for run in mine}

    def jobs(self) -> list[Object]:
        """The Jobs that delete."""
        found = self.rig.api.list("jobs", self.rig.namespace)
        mine = [job for job in found if "millrace.dev/retention" in job["metadata"].get("annotations", {})]
        return [
            job
            for job in mine
            if job["metadata"]["ownerReferences"][0]["uid"] == self.uid and "deletionTimestamp" not in job["metadata"]
        ]

    def parts(self, job: Object) -> list[str]:
        """What a Job deletes: RUN/KIND."""
        texts = json.loads(job["metadata"]["annotations"]["millrace.dev/retention"])["parts"]
        return [f"{self.uids[uid]}/{kind}" for uid, kind in (text.split("/") for text in texts)]

    def work(self) -> None:
        """Lets the Jobs that are started go through."""
        for job in self.jobs():
            name, uid = job["metadata"]["name"], job["metadata"]["uid"]
            if uid not in self.over and pods(self.rig, name):
                self.over.add(uid)
                self.done.update(self.parts(job))
                pod = Pod(self.rig, name).scheduled().running("keep").write()
                pod.ended("keep", report={"deleted": 1, "kept": 0}).over().write()

    def settle(self, what: str, runs: dict[str, list[str]], waiting: list[str]) -> None:
        """Until these runs are there, with what is deleted of them, and of Jobs only those that wait for these parts."""

        def settled() -> bool:
            self.work()
            return self.runs() == runs and sorted(part for job in self.jobs() for part in self.parts(job)) == waiting

        try:
            wait_for(what, settled, seconds=PATIENCE, poll=0.1)
        except AssertionError as error:
            error.add_note(f"{self.runs()}, {[self.parts(job) for job in self.jobs()]}, done: {self.done}")
            raise


def prepare(rig: Rig) -> None:
    rig.function()
    rig.api.create("datastores", rig.placed(data_store("store", "bucket", default=False)))


def ended(rig: Rig, name: str) -> Kept:
    kept = Kept(rig, name)
    for run, minutes in ENDS.items():
        kept.run(run, minutes)
    kept.run("applied", 9999, ours=False)
    return kept


def let_go(kept: Kept) -> None:
    """Two of three runs go; what one of them leaves outlives it, and goes when it is old enough."""
    kept.keep(runs={"amount": 1}, artifacts={"age": "1h"})
    kept.settle("two runs are gone", {"applied": [], "c": []}, ["b/artifacts"])
    kept.keep(artifacts={"age": "1s"})
    kept.settle("their artifacts too", {"applied": [], "c": ["artifacts"]}, [])
    assert kept.done == Counter(["a/logs", "a/artifacts", "b/logs", "b/artifacts", "c/artifacts"])


@pytest.mark.parametrize("how", ["killed before", "killed after", "answer lost"])
def test_a_fault_at_any_write_loses_nothing_and_deletes_nothing_twice(api_server: ApiServer, how: str) -> None:
    with operator(api_server) as rig:
        prepare(rig)

        def kill() -> None:
            rig.kill()
            rig.start(ready=False)

        faults = {
            "killed before": proxy.instead(kill, after=False),
            "killed after": proxy.instead(kill, after=True),
            "answer lost": proxy.drop_response(),
        }
        hit = []
        for index in range(MOST_WRITES):
            kept = ended(rig, f"d{index}")
            rule = rig.proxy.rule(faults[how], proxy.WRITES, "/(jobs|jobruns)([/?]|$)", skip=index)
            let_go(kept)
            rig.proxy.remove(rule)
            if not rule.hits:
                break
            hit += [f"{request.verb} {request.resource}" for request in rule.hits]
        # Jobs for what goes at once, for what waits and for what the edit has let go, which are deleted at their ends, and
        # two runs; which write comes when differs a little from one Deployment to the next.
        assert len(hit) >= 8, hit


def test_the_jobs_of_many_runs_are_few_and_bounded(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        kept = Kept(rig, "d")
        rig.kill()
        for number in range(MANY):
            kept.run(f"r{number:03}", 0)
        kept.keep(runs={"amount": 0}, artifacts={"age": "1000s"})
        before = len(rig.proxy.log)
        rig.start()
        waiting = sorted(f"{run}/artifacts" for run in kept.uids.values())
        kept.settle("the runs are gone", {}, waiting)
        kept.keep(artifacts={"age": "1s"})
        kept.settle("their artifacts too", {}, [])
        assert kept.done == Counter(f"{run}/{kind}" for run in kept.uids.values() for kind in ("logs", "artifacts"))
        requests = list(rig.proxy.log)[before:]
        made = [found.object for found in requests if (found.verb, found.resource) == ("create", "jobs")]
        made = [job for job in made if "millrace.dev/retention" in job["metadata"]["annotations"]]
        assert len(made) == 4
        variables = [job["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"] for job in made]
        assert max(map(len, variables)) < VARIABLE
        writes = [found for found in requests if found.verb not in {"get", "list", "watch"} and found.resource != "leases"]
        assert len(writes) < 2 * MANY + 50
