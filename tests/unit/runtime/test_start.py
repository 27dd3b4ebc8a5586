"""The order of work at the start, and what a controller does that stands by."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fixtures.objects import SETTINGS, metadata
from millrace.kube.api import Api, NotLeader
from millrace.reconcile.plan import Learned
from millrace.runtime.controller import Controller
from millrace.runtime.store import Key

Object = dict[str, Any]


def run(name: str, phase: str | None = None) -> Object:
    status = {"phase": phase} if phase else {}
    return {"metadata": metadata(name, f"uid-{name}"), "spec": {"functionRef": {"name": "heart"}}, "status": status}


def job(of: str) -> Object:
    owner = {"kind": "JobRun", "name": of, "uid": f"uid-{of}", "controller": True}
    return {"metadata": metadata(of, f"job-{of}", ownerReferences=[owner]), "spec": {}, "status": {}}


class NoApi(Api):
    """Sends nothing: the lease has run out."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def _request(self, *_: object, **__: object) -> Object:
        self.asked.set()
        raise NotLeader


def controller(*runs: Object) -> Controller:
    found = Controller(NoApi(), SETTINGS)
    for each in runs:
        found.store.put("JobRun", each)
    return found


async def drained(found: Controller) -> list[Key]:
    return [await found.queue.get() for _ in range(len(found.queue))]


async def test_what_may_go_on_comes_before_what_is_blocked_and_that_before_what_is_over() -> None:
    found = controller(
        run("kept", "Succeeded"), run("blocked", "Blocked"), run("over", "Failed"), run("new"), run("works", "Running")
    )
    for name in ("kept", "works"):
        found.store.put("Job", job(name))
    found.waker.everything()
    assert [key.name for key in await drained(found)] == ["new", "works", "blocked", "kept"]


async def test_a_change_of_a_store_asks_for_blocked_runs_later() -> None:
    found = controller(run("blocked", "Blocked"), run("new"), run("over", "Failed"))
    found.working = True
    found.seen("DataStore", {"metadata": metadata("lake", "lake-uid"), "spec": {}})
    found.seen("JobRun", run("newest"))
    assert [key.name for key in await drained(found)] == ["lake", "new", "newest", "blocked"]


async def test_the_end_of_a_deployments_last_run_is_told() -> None:
    long = "d" * 100
    found = controller()
    found.working = True
    of = {"deploymentRef": {"name": long}}
    found.seen("JobRun", {**run("one", "Running"), "spec": of})
    found.store.put("Deployment", {"metadata": metadata(long, "d-uid"), "spec": {}})
    over = {**run("one", "Succeeded"), "spec": of}
    over["metadata"] = {**over["metadata"], "resourceVersion": "9"}
    found.seen("JobRun", over)
    assert Key("Deployment", "tenant", long) in found.queue._due


async def test_a_run_that_cannot_be_read_holds_up_no_other_of_its_deployment() -> None:
    """It was stored before its schema was narrowed, say."""
    of: Object = {"deploymentRef": {"name": "d"}}
    found = controller(
        {**run("a"), "spec": {**of, "retries": "many"}}, {**run("b"), "spec": of}, {**run("c", "Queued"), "spec": of}
    )
    found.store.put("Deployment", {"metadata": metadata("d", "d-uid"), "spec": {"functionRef": {"name": "f"}}})
    lines, group = found.store.lines, ("tenant", "d")
    assert list(lines.queue(group)) == ["a", "b", "c"]
    found.queue.add(Key("JobRun", "tenant", "a"))
    async with asyncio.timeout(5):
        await found._work()  # until something is to be written
    assert list(lines.queue(group)) == ["b", "c"]
    assert Key("JobRun", "tenant", "b") in found.queue._in_work


async def test_one_that_stands_by_takes_note_and_asks_for_nothing() -> None:
    found = controller()
    found.seen("JobRun", run("new"))
    assert found.store.get(Key("JobRun", "tenant", "new"))
    assert len(found.queue) == 0


async def test_a_term_whose_lease_ran_out_does_nothing_and_the_next_one_starts_over() -> None:
    api = NoApi()
    found = Controller(api, SETTINGS)
    found.store.put("JobRun", run("new"))
    for term in (1, 2):
        found._executor.learned["uid-new"] = Learned(absent_jobs=frozenset({"new"}))
        work = asyncio.create_task(found.run())
        async with asyncio.timeout(5):
            await api.asked.wait()
        assert (found.working, found._executor.learned) == (True, {}), term
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        assert not found.working
        api.asked.clear()
