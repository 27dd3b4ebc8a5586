"""The sweep, where things change between its requests: no real API server can be made to do that at the right moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

from fixtures.objects import RUN_UID, SETTINGS, metadata
from millrace.kube.resources import JOB
from millrace.runtime.controller import Controller
from millrace.runtime.store import Key
from millrace.runtime.sweep import sweep

Object = dict[str, Any]


class FakeApi:
    """Lists and reads `objects`; `between` is called after the list was taken and before anything is read."""

    def __init__(self, *objects: Object) -> None:
        self.objects = {found["metadata"]["name"]: found for found in objects}
        self.between: Callable[[], None] = lambda: None
        self.reads: list[str] = []

    async def pages(self, resource: object, namespace: str | None, **_: object) -> AsyncIterator[list[Object]]:
        page = [{"metadata": found["metadata"]} for found in self.objects.values()]
        self.between()
        yield page

    async def get(self, resource: object, namespace: str, name: str) -> Object | None:
        self.reads.append(name)
        return self.objects.get(name)


def job(name: str = "score", uid: str = "job-1", version: int = 5) -> Object:
    owners = [{"kind": "JobRun", "name": "score", "uid": RUN_UID, "controller": True}]
    return {
        "metadata": metadata(name, uid, resourceVersion=str(version), ownerReferences=owners),
        "spec": {},
        "status": {"active": version},
    }


def controller(api: FakeApi) -> Controller:
    found = Controller(api, SETTINGS)  # type: ignore[arg-type]
    found.working = True
    run = {"metadata": metadata("score", RUN_UID), "spec": {"functionRef": {"name": "heart"}}, "status": {}}
    found.store.put("JobRun", run)
    return found


def asked(found: Controller) -> list[Key]:
    return sorted(found.queue._waiting)


RUN, HERE = Key("JobRun", "tenant", "score"), Key("Job", "tenant", "score")


async def test_what_vanished_without_a_word_is_dropped_and_its_run_looked_at() -> None:
    found = controller(FakeApi())
    found.store.put("Job", job())
    await sweep(found, JOB, None)
    assert found.store.get(HERE) is None
    assert asked(found) == [RUN]


async def test_what_the_watch_has_missed_is_read() -> None:
    api = FakeApi(job())
    found = controller(api)
    await sweep(found, JOB, None)
    assert found.store.get(HERE)
    assert asked(found) == [RUN]


async def test_what_is_known_is_not_read_again() -> None:
    api = FakeApi(job())
    found = controller(api)
    found.store.put("Job", job())
    await sweep(found, JOB, None)
    assert (api.reads, asked(found)) == ([], [])


async def test_a_state_that_the_watch_is_late_with_is_read() -> None:
    api = FakeApi(job(version=12))
    found = controller(api)
    found.store.put("Job", job(version=9))
    await sweep(found, JOB, None)
    assert (found.store.get(HERE) or {})["status"] == {"active": 12}
    assert asked(found) == [RUN]


async def test_an_object_that_is_made_during_the_list_stays() -> None:
    """It is not in the list, and yet it is not gone."""
    api = FakeApi()
    found = controller(api)
    api.between = lambda: found.seen("Job", job())
    await sweep(found, JOB, None)
    assert found.store.get(HERE)


async def test_an_object_that_is_deleted_during_the_list_is_not_brought_back() -> None:
    api = FakeApi(job())
    found = controller(api)

    def deleted() -> None:
        api.objects.clear()

    api.between = deleted
    await sweep(found, JOB, None)
    assert found.store.get(HERE) is None


async def test_an_object_that_was_made_anew_during_the_list_is_the_new_one() -> None:
    api = FakeApi(job(uid="old", version=5))
    found = controller(api)
    found.store.put("Job", job(uid="old", version=5))
    api.objects["score"] = job(uid="new", version=9)
    await sweep(found, JOB, None)
    assert (found.store.get(HERE) or {})["metadata"]["uid"] == "new"
    assert found.store.by_uid("old") is None


async def test_other_namespaces_are_left_alone() -> None:
    found = controller(FakeApi())
    other = job(uid="other")
    other["metadata"]["namespace"] = "other"
    found.store.put("Job", other)
    await sweep(found, JOB, "tenant")
    assert found.store.by_uid("other")
