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

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support import faulty_store
from support.cluster import Namespace, Object, Refused, function, job_run, kubectl
from support.faulty_store import FaultyStore, Rule
from support.recovery import Recovery
from support.store import new_bucket
from support.waiting import wait_for

MARK = """
import os, pathlib
def main():
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "mark.txt").write_text(os.environ["MILLRACE_ATTEMPT"])
    (out / "rows.csv").write_text("1,2\\n" * 50_000)
"""
ORPHANS = 30  # seconds after which nothing of a deleted run is left
INTENT, RECORD = r"ATTEMPTS/1/uploads\.json", r"ATTEMPTS/1/commit\.json"
CREATE, PART, COMPLETE = r"KEY\?uploads", r"KEY\?.*partNumber", r"KEY\?uploadId"
STEPS: dict[str, tuple[str, str, int]] = {  # the next request at this point: method, path and query, how many went before
    "start": ("PUT", INTENT, 0),
    "intent-written": ("POST", CREATE, 0),
    "upload-created": ("PUT", INTENT, 1),
    "upload-recorded": ("PUT", PART, 0),
    "before-commit-record": ("PUT", RECORD, 0),
    "after-commit-record": ("POST", COMPLETE, 0),
    "after-complete": ("PUT", r"logs/RUN/1/collect\.log", 0),
}
RECORDED = {"after-commit-record", "after-complete"}
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
# Memory that is no process's own: the kernel takes the process with the highest score, and with process 1 all others.
KILL_COLLECT = """
import os
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("1000")
hoard = os.memfd_create("hoard")
while True:
    os.write(hoard, b"x" * 1_000_000)
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


@dataclass(frozen=True)
class Run:
    """A run whose output tells which attempt has written it."""

    faulty: FaultyStore
    name: str
    uid: str

    @property
    def key(self) -> str:
        """Where its output is published."""
        return f"{self.name}/out.zip"

    def rule(self, method: str, url: str, action: str, **more: int) -> Rule:
        """A rule for requests of this run."""
        url = (
            url.replace("ATTEMPTS", f"runs/{self.uid}/attempts")
            .replace("KEY", rf"{self.name}/out\.zip")
            .replace("RUN", self.name)
        )
        return self.faulty.rule(method, url, action, **more)

    def pod(self, attempt: int) -> str:
        """Name of an attempt's pod."""
        (pod,) = self.faulty.namespace.list("pods", f"millrace.dev/jobrun={self.name},millrace.dev/attempt={attempt}")
        name: str = pod["metadata"]["name"]
        return name

    def in_collect(self, program: str) -> None:
        """Runs a program in the first attempt's container collect; it may die with it."""
        with contextlib.suppress(Refused):
            self.faulty.namespace.kubectl("exec", self.pod(1), "-c", "collect", "--", "python3", "-c", program)

    def delete_pod(self, attempt: int) -> None:
        """Deletes an attempt's pod; one second later its containers are killed."""
        self.faulty.namespace.delete("pod", self.pod(attempt), "--grace-period=1")

    def finished(self) -> Object:
        """Its status at its end."""
        return self.faulty.namespace.finished(self.name, seconds=180)

    def check(self, *, attempt: int, mark: str) -> None:
        """The oracle: Succeeded, exactly one version, which is what the status says, and nothing left over."""
        status, bucket, log = self.finished(), self.faulty.bucket, self.requests()
        assert (status["phase"], status["attempt"]) == ("Succeeded", attempt), (status, log)
        assert [version.is_delete_marker for version in bucket.versions(self.key)] == [False], log
        (output,) = status["outputs"]
        assert hashlib.sha256(bucket.get(self.key)).hexdigest() == output["sha256"]
        assert bucket.unzip(self.key)["mark.txt"].decode() == mark
        assert bucket.uploads(self.key) == [], log

    def requests(self) -> list[str]:
        """What the store was asked for this run, without signatures."""
        return [line.partition("X-Amz-")[0] for line in self.faulty.log() if self.uid in line or f"/{self.name}/" in line]


def start(faulty: FaultyStore, name: str, **spec: object) -> Run:
    """Makes the run; its upload is seconds away."""
    output = {"name": "out", "dataStore": {"name": "store", "path": name}}
    faulty.namespace.apply(job_run(name, "mark", outputs=[output], **spec))
    return Run(faulty, name, faulty.namespace.run(name)["metadata"]["uid"])


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
    run.check(attempt=2, mark="1" if point in RECORDED else "2")


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
    run.check(attempt=3, mark=mark)


def test_deleted_pods_are_never_charged(faulty: FaultyStore) -> None:
    run = held_at(faulty, "twice", "before-commit-record")
    rule = run.rule("PUT", r"ATTEMPTS/2/commit\.json", "hold")
    run.delete_pod(1)
    rule.met()
    run.delete_pod(2)
    run.check(attempt=3, mark="3")


def test_a_pod_that_is_deleted_with_its_grace_publishes_what_it_has(faulty: FaultyStore) -> None:
    run = held_at(faulty, "grace", "before-commit-record")
    faulty.namespace.delete("pod", run.pod(1))
    wait_for("the pod is told to stop", lambda: faulty.namespace.pods("grace")[0]["metadata"].get("deletionTimestamp"))
    faulty.release()
    run.check(attempt=1, mark="1")


@pytest.mark.parametrize("point", STEPS)
def test_the_worker_is_killed_at_each_point(faulty: FaultyStore, point: str) -> None:
    run = held_at(faulty, f"worker-{point}", point)
    run.in_collect(KILL_WORKER)
    run.check(attempt=1, mark="1")


@pytest.mark.parametrize("point", STEPS)
def test_all_of_collect_is_killed_at_each_point(faulty: FaultyStore, point: str) -> None:
    """The run has no retries: it is over, no success, and what stands there is whole."""
    run = held_at(faulty, f"collect-{point}", point)
    run.in_collect(KILL_COLLECT)
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
    run.in_collect(KILL_COLLECT)
    run.check(attempt=2, mark="1" if point in RECORDED else "2")


@pytest.mark.parametrize("action", ["drop", "refuse"])
def test_every_answer_or_every_request_is_lost_twice(faulty: FaultyStore, action: str) -> None:
    run = start(faulty, f"lost-{action}")
    rules = [run.rule(method, url, action, skip=skip, times=2) for method, url, skip in STEPS.values()]
    run.check(attempt=1, mark="1")
    assert [rule.hits() for rule in rules] == [2] * len(rules), run.requests()
