"""Container stage is killed for lack of memory in the middle of an input (F25)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import faulty_store
from support.cluster import Namespace, function
from support.faulty_runs import KILL_CONTAINER, MARK, Run, start
from support.faulty_store import FaultyStore
from support.store import Bucket

INPUT = [{"name": "data", "dataStore": {"name": "store", "path": "in"}, "stage": "Download"}]


@pytest.fixture
def faulty(namespace: Namespace, bucket: Bucket) -> Iterator[FaultyStore]:
    """A store with two objects, behind a proxy that holds the request for the second one."""
    found = faulty_store.install(namespace, bucket)
    for name in ("a", "b"):
        bucket.put(f"in/{name}", b"1,2\n" * 1000)
    namespace.apply(function("mark", MARK.replace("main()", "main(data)")))
    yield found
    found.release()


def killed(faulty: FaultyStore, name: str, **spec: object) -> Run:
    held = faulty.rule("GET", "in/b", "hold")
    run = start(faulty, name, inputs=INPUT, **spec)
    held.met()
    run.exec("stage", KILL_CONTAINER)
    return run


def test_the_run_has_failed_and_user_code_was_not_started(faulty: FaultyStore) -> None:
    status = killed(faulty, "short").finished()
    assert status["phase"] == "Failed", status
    failure = status["failure"]
    assert (failure["reason"], failure["container"], failure["exitCode"]) == ("OOMKilled", "stage", 137), failure
    assert "started" not in status["times"]
    assert faulty.bucket.names("short/") == []


def test_another_attempt_stages_anew_where_a_retry_is_left(faulty: FaultyStore) -> None:
    killed(faulty, "again", retries=1).assert_published(attempt=2, mark="2")
