"""Between every two steps of publish: the worker killed, collect killed, the pod deleted, an answer lost (promise 2).

Each step of publish is one request to the store, so what happens between two of them is made from outside, with an
installation that knows nothing of it: a proxy in the tests' namespace, which the DataStore names as its endpoint, holds the
request of the next step. While it is held the worker is at that point and nowhere else; then it is killed, and what was
held never reaches the store. The points have the names of data/failpoints.py, by which the tests of tests/integration/data
reach them without a cluster.

The worker is killed by a process of its own container. All of collect is killed as it would be in life, for lack of
memory. The pod is deleted with a grace of one second, so that its containers are killed too and another attempt follows;
and once with the grace that it has, within which the upload goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from support import faulty_store
from support.cluster import Namespace, Object, function, kubectl
from support.faulty_runs import KILL_CONTAINER, MARK, RECORDED, STEPS, Run, start
from support.faulty_store import FaultyStore
from support.recovery import Recovery
from support.store import new_bucket
from support.waiting import wait_for

ORPHANS = 30  # seconds after which nothing of a deleted run is left
INTENT, COMPLETE = STEPS["start"][1], STEPS["after-commit-record"][1]
SECOND = [  # a point of the second attempt, its next request, the point at which the first was deleted, whose output it is
    ("fence-written-1", "GET", INTENT, "before-commit-record", "3"),
    ("stale-aborted-1", "PUT", r"ATTEMPTS/2/commit\.json", "before-commit-record", "3"),
    ("after-commit-record", "POST", COMPLETE, "upload-created", "2"),
    ("fence-written-1", "POST", COMPLETE, "after-commit-record", "1"),
    ("rolled-forward-1", "GET", INTENT, "after-commit-record", "1"),
]
KILL_WORKER = """
import os
with open("/proc/1/task/1/children") as file:
    os.kill(int(file.read().split()[0]), 9)
"""


@pytest.fixture(scope="module")
def faulty(cluster: None) -> Iterator[FaultyStore]:
    """A namespace whose DataStore is behind the proxy; the runs of all tests are in it."""
    namespace = Namespace(f"e2e-{secrets.token_hex(4)}")
    kubectl("create", "namespace", namespace.name)
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    found = faulty_store.install(namespace, new_bucket())
    namespace.apply(function("mark", MARK))
    yield found
    kubectl("delete", "namespace", namespace.name, "--wait=false")


def held_at(faulty: FaultyStore, name: str, point: str, **spec: object) -> Run:
    """A run whose first attempt is held at that point, as far as the store can tell."""
    method, url, skip = STEPS[point]
    run = start(faulty, name, **spec)
    run.rule(method, url, "hold", skip=skip).met()
    bucket = faulty.bucket
    records = [key for key in bucket.names(f".millrace/runs/{run.uid}/") if key.endswith("attempts/1/commit.json")]
    assert bool(records) == (point in RECORDED)
    assert bool(bucket.versions(run.key)) == (point == "after-complete")
    assert bool(bucket.uploads(run.key)) == (point not in {"start", "intent-written", "after-complete"})
    return run


@pytest.mark.parametrize("point", STEPS)
def test_the_pod_is_deleted_at_each_point(faulty: FaultyStore, point: str) -> None:
    run = held_at(faulty, f"deleted-{point}", point)
    run.delete_pod(1)
    run.assert_published(attempt=2, mark="1" if point in RECORDED else "2")


@pytest.mark.parametrize("point", STEPS)
def test_the_run_is_deleted_at_each_point(faulty: FaultyStore, recovery: Recovery, point: str) -> None:
    run = held_at(faulty, f"gone-{point}", point)
    faulty.namespace.delete("jobrun", run.name)
    with recovery(within=ORPHANS):
        wait_for("its pod is told to stop", lambda: all(told(pod) for pod in faulty.namespace.pods(run.name)))
        faulty.release()
        wait_for("its pod is gone", lambda: not faulty.namespace.pods(run.name))
    assert faulty.namespace.list("jobs", f"millrace.dev/jobrun={run.name}") == []
    assert faulty.bucket.uploads(run.key) == [], run.requests()
    if faulty.bucket.versions(run.key):
        assert faulty.bucket.unzip(run.key)["mark.txt"] == b"1"  # whole


def told(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


@pytest.mark.parametrize("case", SECOND, ids=[f"{case[0]} after {case[3]}" for case in SECOND])
def test_the_pod_of_the_second_attempt_is_deleted_too(faulty: FaultyStore, case: tuple[str, str, str, str, str]) -> None:
    point, method, url, first, mark = case
    run = held_at(faulty, f"second-{point}-{first}", first, retries=1)  # test_deleted_pods_are_never_charged is about those
    rule = run.rule(method, url, "hold")
    run.delete_pod(1)
    rule.met()
    run.delete_pod(2)
    run.assert_published(attempt=3, mark=mark)


def test_deleted_pods_are_never_charged(faulty: FaultyStore) -> None:
    run = held_at(faulty, "twice", "before-commit-record")
    rule = run.rule("PUT", r"ATTEMPTS/2/commit\.json", "hold")
    run.delete_pod(1)
    rule.met()
    run.delete_pod(2)
    run.assert_published(attempt=3, mark="3")


def test_a_pod_that_is_deleted_with_its_grace_publishes_what_it_has(faulty: FaultyStore) -> None:
    run = held_at(faulty, "grace", "before-commit-record")
    faulty.namespace.delete("pod", run.pod(1))
    wait_for("the pod is told to stop", lambda: faulty.namespace.pods("grace")[0]["metadata"].get("deletionTimestamp"))
    faulty.release()
    run.assert_published(attempt=1, mark="1")


@pytest.mark.parametrize("point", STEPS)
def test_the_worker_is_killed_at_each_point(faulty: FaultyStore, point: str) -> None:
    run = held_at(faulty, f"worker-{point}", point)
    run.exec("collect", KILL_WORKER)
    run.assert_published(attempt=1, mark="1")


@pytest.mark.parametrize("point", STEPS)
def test_all_of_collect_is_killed_at_each_point(faulty: FaultyStore, point: str) -> None:
    """The run has no retries: it is over, no success, and what stands there is whole."""
    run = held_at(faulty, f"collect-{point}", point)
    run.exec("collect", KILL_CONTAINER)
    status = run.finished()
    assert (status["phase"], status["failure"]["container"], status["failure"]["exitCode"]) == ("Failed", "collect", 137), (
        status
    )
    assert "outputs" not in status
    assert len(faulty.bucket.versions(run.key)) == (1 if point == "after-complete" else 0)


@pytest.mark.parametrize("point", STEPS)
def test_all_of_collect_is_killed_at_each_point_and_a_retry_is_left(faulty: FaultyStore, point: str) -> None:
    """The next attempt settles what the killed one has begun."""
    run = held_at(faulty, f"again-{point}", point, retries=1)
    run.exec("collect", KILL_CONTAINER)
    run.assert_published(attempt=2, mark="1" if point in RECORDED else "2")


@pytest.mark.parametrize("action", ["drop", "refuse"])
def test_every_answer_or_every_request_is_lost_twice(faulty: FaultyStore, action: str) -> None:
    run = start(faulty, f"lost-{action}")
    rules = [run.rule(method, url, action, skip=skip, times=2) for method, url, skip in STEPS.values()]
    run.assert_published(attempt=1, mark="1")
    assert [rule.hits() for rule in rules] == [2] * len(rules), run.requests()
