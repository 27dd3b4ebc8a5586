"""The Lease, moment by moment, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from millrace.kube.api import Api, ApiError, NotLeader
from millrace.kube.resources import JOB
from millrace.runtime import lease as module
from millrace.runtime.lease import DURATION, MARGIN, Lease

Object = dict[str, Any]


class Server:
    """One Lease, with the API server's own optimistic concurrency. `late` advances the clock within each request."""

    def __init__(self) -> None:
        self.spec: Object | None = None
        self.version, self.now, self.late = 0, 1000.0, 0.0
        self.away = False
        self.puts = 0

    def _answer(self) -> Object:
        return {"metadata": {"resourceVersion": str(self.version)}, "spec": copy.deepcopy(self.spec)}

    def _arrive(self) -> None:
        self.now += self.late
        if self.away:
            raise ApiError(0, "OSError", "away")

    async def get(self, *_: object) -> Object | None:
        self._arrive()
        await asyncio.sleep(0)  # others come between
        return self._answer() if self.spec is not None else None

    async def create(self, _: object, manifest: Object) -> Object:
        self._arrive()
        if self.spec is not None:
            raise ApiError(409, "AlreadyExists", "there is one")
        return self.put(manifest["spec"])

    async def replace(self, _: object, manifest: Object) -> Object:
        self._arrive()
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "Conflict", "the object has been modified")
        return self.put(manifest["spec"])

    def put(self, spec: Object) -> Object:
        """A write, whoever's it is."""
        self.spec, self.version, self.puts = copy.deepcopy(spec), self.version + 1, self.puts + 1
        return self._answer()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(module, "clock", lambda: found.now)
    return found


def lease(server: Server, identity: str = "a") -> Lease:
    return Lease(server, "system/operator", identity)  # type: ignore[arg-type]


def of(holder: str, **spec: Any) -> Object:
    times = {"acquireTime": "2026-01-31T08:00:00.000000Z", "renewTime": "2026-01-31T08:00:00.000000Z"}
    return {"holderIdentity": holder, "leaseDurationSeconds": DURATION, "leaseTransitions": 3, **times, **spec}


async def test_the_first_one_makes_it() -> None:
    server = Server()
    assert await lease(server)._claim()
    assert server.spec
    assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("a", 1)


@pytest.mark.parametrize(
    ("spec", "free"),
    [
        pytest.param(of("b"), False, id="another's"),
        pytest.param(of("b", renewTime="2001-01-01T00:00:00.000000Z"), False, id="another's, whose clock is late"),
        pytest.param(of(""), True, id="given back"),
        pytest.param(of("a"), True, id="our own, of before a restart of the container"),
        pytest.param({}, True, id="nobody's"),
    ],
)
async def test_at_first_sight(server: Server, spec: Object, free: bool) -> None:
    server.put(spec)
    assert await lease(server)._claim() is free


async def test_it_is_taken_when_it_has_not_changed_for_its_duration_on_our_own_clock(server: Server) -> None:
    server.put(of("b", renewTime="2099-01-01T00:00:00.000000Z", leaseDurationSeconds=20))
    ours = lease(server)
    assert not await ours._claim()
    server.now += 19.9
    assert not await ours._claim()
    server.put({**(server.spec or {}), "renewTime": "2099-01-01T00:00:01.000000Z"})
    server.now += 0.2
    assert not await ours._claim(), "it has changed"
    server.now += 19.9
    assert not await ours._claim()
    server.now += 0.2
    assert await ours._claim()
    assert server.spec
    assert (server.spec["holderIdentity"], server.spec["leaseTransitions"]) == ("a", 4)


async def test_it_counts_from_before_the_request(server: Server) -> None:
    server.late = 1.5
    ours = lease(server)
    assert await ours._claim()  # two requests
    assert ours.left() == DURATION - MARGIN - 3


async def test_of_two_that_try_at_once_one_gets_it(server: Server) -> None:
    server.put(of("dead"))
    both = lease(server, "a"), lease(server, "b")
    assert not any([await each._claim() for each in both])
    server.now += DURATION
    won = await asyncio.gather(*(each._claim() for each in both))
    assert sorted(won) == [False, True]
    assert sorted(each.left() > 0 for each in both) == [False, True]


async def test_a_leader_that_slept_does_not_renew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW", 0.01)
    ours = lease(server)
    assert await ours._claim()
    keeping = asyncio.create_task(ours.keep())
    await asyncio.sleep(0)  # between two renewals
    puts = server.puts
    server.now += 120
    async with asyncio.timeout(5):
        await keeping
    assert server.puts == puts


async def test_a_renewal_that_comes_back_too_late_does_not_count(server: Server) -> None:
    ours = lease(server)
    assert await ours._claim()
    server.late = DURATION
    assert not await ours._claim(renewal=True)
    assert ours.left() <= 0


async def test_a_leader_learns_from_a_conflict_that_another_leads(server: Server) -> None:
    ours = lease(server)
    assert await ours._claim()
    server.put(of("b"))
    assert not await ours._claim(renewal=True)
    assert ours.left() <= 0


async def test_a_write_whose_answer_was_lost_counts_when_it_is_tried_again(server: Server) -> None:
    """The client sends a PUT anew when the connection ended without an answer."""
    ours, replace = lease(server), server.replace

    async def twice(resource: object, manifest: Object) -> Object:
        await replace(resource, manifest)
        return await replace(resource, manifest)

    assert await ours._claim()
    server.replace = twice  # type: ignore[method-assign]
    assert await ours._claim(renewal=True)


async def test_a_leader_whose_answer_was_lost_goes_on(server: Server) -> None:
    ours = lease(server)
    assert await ours._claim()
    server.put(server.spec or {})  # the renewal that it has no answer to
    assert not await ours._claim(renewal=True)
    assert ours.left() > 0
    assert await ours._claim(renewal=True)
    assert server.spec
    assert server.spec["leaseTransitions"] == 1


async def test_it_is_given_back(server: Server) -> None:
    ours, other = lease(server), lease(server, "b")
    assert await ours._claim()
    assert not await other._claim()
    await ours.release()
    assert ours.left() <= 0
    assert await other._claim()


async def test_one_that_is_anothers_is_not_given_back(server: Server) -> None:
    server.put(of("b"))
    ours = lease(server)
    assert not await ours._claim()
    await ours.release()
    assert server.spec == of("b")


async def test_it_is_given_back_although_a_renewal_was_under_way(server: Server) -> None:
    ours = lease(server)
    assert await ours._claim()
    server.put(server.spec or {})
    await ours.release()
    assert server.spec
    assert server.spec["holderIdentity"] == ""


async def test_it_knows_whether_the_api_server_is_away(server: Server) -> None:
    ours = lease(server)
    server.away = True
    assert not await ours._claim()
    assert ours.away
    server.away = False
    assert await ours._claim()
    assert not ours.away
    server.put(of("b"))
    assert not await ours._claim(renewal=True)
    assert not ours.away, "a conflict is an answer"


async def test_giving_it_back_does_not_fail(server: Server) -> None:
    ours = lease(server)
    assert await ours._claim()
    server.away = True
    await ours.release()
    assert ours.left() <= 0


class Connection:
    """In the place of the client: keeps the time that each request was given."""

    def __init__(self) -> None:
        self.given: list[tuple[str, float]] = []
        self.rest_client = self.configuration = self
        self.host = ""

    async def update_params_for_auth(self, *_: object) -> None:
        pass

    async def request(self, method: str, *_: object, _request_timeout: float, **__: object) -> None:
        self.given.append((method, _request_timeout))
        raise OSError("sent")


@pytest.mark.parametrize(("left", "given"), [(60, 30), (5, 5), (0.1, 0.1)])
async def test_a_write_ends_with_the_lease(left: float, given: float) -> None:
    connection = Connection()
    with pytest.raises(ApiError, match="sent"):
        await Api(connection, lambda: left).merge(JOB, "tenant", "a", {})  # type: ignore[arg-type]
    assert connection.given == [("PATCH", given)]


@pytest.mark.parametrize("left", [0, -100])
async def test_no_write_is_sent_after_the_lease(left: float) -> None:
    connection = Connection()
    api = Api(connection, lambda: left)  # type: ignore[arg-type]
    manifest = {"metadata": {"namespace": "tenant", "name": "a"}}
    for write in (
        api.create(JOB, manifest),
        api.apply(JOB, manifest),
        api.replace(JOB, manifest),
        api.merge(JOB, "tenant", "a", {}),
        api.delete(JOB, "tenant", "a", "uid"),
    ):
        with pytest.raises(NotLeader):
            await write
    assert connection.given == []
    with pytest.raises(ApiError, match="sent"):
        await api.get(JOB, "tenant", "a")
