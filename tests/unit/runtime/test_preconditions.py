"""What may only be done to the very object that was decided on is said so to the API server (promise 1)."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import RUN_UID, metadata
from millrace.kube.api import Api, ApiError
from millrace.reconcile.plan import Action, Delete, EndJob, PatchStatus, Plan
from millrace.runtime.execute import Executor, Stale
from millrace.runtime.store import Store

Object = dict[str, Any]


class Recorder(Api):
    """Sends nothing; keeps what would be sent, and answers with an object, or with a conflict."""

    def __init__(self, *, conflict: bool = False) -> None:
        self.sent: list[tuple[str, str, Any]] = []
        self._conflict = conflict

    async def _request(self, method: str, path: str, body: object = None, **_: Any) -> Object:
        self.sent.append((method, path.rpartition("/namespaces/tenant/")[2], body))
        if self._conflict and method != "GET":
            raise ApiError(409, "Conflict", "the object has been modified")
        return {"metadata": metadata("score", RUN_UID, resourceVersion="8"), "spec": {}, "status": {}}


async def sent(action: Action) -> Any:
    """The body of the one request that the action makes."""
    api = Recorder()
    await Executor(api, Store()).execute(Plan((action,)))
    [(_, _, body)] = api.sent
    return body


STATUS = PatchStatus("JobRun", "tenant", "score", "7", {"phase": "Running"})


async def test_a_status_is_written_to_the_version_that_was_read() -> None:
    assert (await sent(STATUS))["metadata"] == {"resourceVersion": "7"}


async def test_a_job_is_ended_by_its_uid() -> None:
    assert (await sent(EndJob("tenant", "score", "job-uid", "Cancelled", "why")))["metadata"]["uid"] == "job-uid"


async def test_a_job_is_ended_for_good_whoever_starts_it_again() -> None:
    body = await sent(EndJob("tenant", "score", "job-uid", "Cancelled", "why"))
    assert body["spec"] == {"suspend": True, "activeDeadlineSeconds": 0}


async def test_a_job_is_deleted_by_its_uid() -> None:
    assert (await sent(Delete("Job", "tenant", "score", "job-uid")))["preconditions"] == {"uid": "job-uid"}


async def test_a_status_that_has_changed_meanwhile_is_decided_on_again() -> None:
    api, store = Recorder(conflict=True), Store()
    with pytest.raises(Stale):
        await Executor(api, store).execute(Plan((STATUS,)))
    assert [method for method, _, _ in api.sent] == ["PATCH", "GET"]
    assert len(store) == 1, "what it is now is known"
