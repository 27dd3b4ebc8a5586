"""A node that stops answering, is taken away, or loses its power under a run (promises 2 and 3; F26, F27).

The node is a real one, with a kubelet and containers of its own (support/second_node.py). When it is silent its containers
run on, so two attempts of a run are at work at once: what user code was started is told by marks that it writes to the
store, and what was published by the store's own versions.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from support import faulty_store, second_node
from support.cluster import TERMINAL, Namespace, Object, function, job_run, kubectl
from support.faulty_runs import MARK, STEPS, Run, start
from support.recovery import Recovery
from support.second_node import NAME, ON_IT, SecondNode
from support.store import Bucket, new_bucket, signed, zipped
from support.waiting import wait_for

WAITS = """
import os, pathlib, time, urllib.error, urllib.request
def main(marks, go):
    attempt = os.environ["MILLRACE_ATTEMPT"]
    urllib.request.urlopen(urllib.request.Request(marks[attempt], data=attempt.encode(), method="PUT")).close()
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "mark.txt").write_text(attempt)
    while True:
        try:
            return urllib.request.urlopen(go[attempt]).close()
        except urllib.error.HTTPError:
            time.sleep(0.2)
"""
ATTEMPTS = ("1", "2", "3")
SOON = {"uploading": "15s"}  # a grace of 30 s; a pod that is there a minute later is lost


@pytest.fixture(scope="module")
def nodes(cluster: None) -> Iterator[SecondNode]:
    """The second node, for the tests of this file."""
    if reason := second_node.missing():
        pytest.skip(reason)
    with second_node.second_node() as found:
        yield found


@pytest.fixture
def node(nodes: SecondNode) -> Iterator[SecondNode]:
    """The second node, which is well again when a test is over."""
    try:
        yield nodes
    finally:
        nodes.recover()


@dataclass(frozen=True)
class Waiting:
    """A run on the second node whose attempts wait for a word each."""

    namespace: Namespace
    store: Bucket
    name: str

    @property
    def key(self) -> str:
        """Where its output is published."""
        return f"{self.name}/out.zip"

    def go(self, attempt: int) -> None:
        """User code of that attempt ends."""
        self.store.put(f"go/{self.name}-{attempt}", b"")

    def starts(self) -> list[int]:
        """How often user code was started, by attempt."""
        return [len(self.store.versions(f"starts/{self.name}-{attempt}")) for attempt in ATTEMPTS]

    def pod(self, attempt: int) -> Object | None:
        """An attempt's pod."""
        found = self.namespace.list("pods", f"millrace.dev/jobrun={self.name},millrace.dev/attempt={attempt}")
        return found[0] if found else None

    def at_work(self, attempt: int, *, seconds: float = 60) -> Object:
        """The pod of an attempt once its user code runs."""
        wait_for(f"{self.name}: user code of attempt {attempt}", lambda: self.starts()[attempt - 1], seconds=seconds)
        pod = self.pod(attempt)
        assert pod is not None
        return pod

    def status(self) -> Object:
        """Of the JobRun."""
        return self.namespace.status(self.name)

    def check_lost(self) -> None:
        """An Event says that the first attempt failed with its node; the status soon tells of the second one."""
        events = [event for event in self.namespace.list("events") if event["involvedObject"]["name"] == self.name]
        told = [event["message"] for event in events if event["reason"] == "Retrying"]
        assert told, events
        assert all("NodeLost" in message for message in told), told

    def check(self, status: Object, *, attempt: int, mark: str, starts: list[int]) -> None:
        """The oracle: a success, published once, which is what the status says; each attempt once; nothing left over."""
        assert (status["phase"], status["attempt"]) == ("Succeeded", attempt), status
        assert [version.is_delete_marker for version in self.store.versions(self.key)] == [False]
        (output,) = status["outputs"]
        assert hashlib.sha256(self.store.get(self.key)).hexdigest() == output["sha256"]
        assert self.store.unzip(self.key)["mark.txt"].decode() == mark
        assert self.store.uploads(self.key) == []
        assert self.starts() == starts


@pytest.fixture
def waiting(namespace: Namespace, store: Bucket, node: SecondNode) -> Callable[..., Waiting]:
    """Makes a run on the second node and waits until its user code runs there."""
    namespace.apply(function("waits", WAITS))

    def make(name: str, **spec: object) -> Waiting:
        parameters = {
            "marks": {each: signed(store, f"starts/{name}-{each}", "PUT") for each in ATTEMPTS},
            "go": {each: signed(store, f"go/{name}-{each}") for each in ATTEMPTS},
        }
        output = {"name": "out", "dataStore": {"name": "store", "path": name}}
        fields = {**ON_IT, "timeouts": SOON, "logs": "None", **spec}
        namespace.apply(job_run(name, "waits", parameters=parameters, outputs=[output], **fields))
        run = Waiting(namespace, store, name)
        assert run.at_work(1)["spec"]["nodeName"] == NAME
        return run

    return make


def log_of(node: SecondNode, pod: Object, *texts: str) -> None:
    """Waits for one of the texts in collect's log, which no kubelet hands out."""
    wait_for(f"{texts} in collect's log", lambda: any(text in node.log(pod, "collect") for text in texts), seconds=60)


def test_a_run_outlives_a_silence_of_its_node_that_is_shorter_than_its_toleration(
    node: SecondNode, waiting: Callable[..., Waiting], recovery: Recovery
) -> None:
    run = waiting("silence", tolerations=ON_IT["tolerations"][:1])  # the others are Kubernetes' own: 300 s
    pod = run.at_work(1)
    node.freeze()
    node.not_ready()
    run.go(1)
    log_of(node, pod, "output out")
    assert run.status()["phase"] not in TERMINAL, "nobody can know yet how it ended"
    node.thaw()
    with recovery():
        status = run.namespace.finished(run.name)
    run.check(status, attempt=1, mark="1", starts=[1, 0, 0])


@pytest.mark.timeout(600)  # the node's silence, the grace and a minute: some 160 s before the second attempt
def test_a_node_that_is_silent_for_too_long_costs_an_attempt_and_both_of_them_publish_once(
    node: SecondNode, waiting: Callable[..., Waiting], recovery: Recovery
) -> None:
    """The run has no retries: a lost node is free. On the silent node user code runs on, and ends when it is told to."""
    early, late, never = runs = [waiting(name) for name in ("early", "late", "never")]
    lost = {run.name: run.at_work(1) for run in runs}
    node.freeze()
    with recovery():
        second = {run.name: run.at_work(2, seconds=240) for run in runs}
    for run in runs:
        assert second[run.name]["spec"]["nodeName"] != NAME
        assert node.processes(lost[run.name]["metadata"]["uid"]), "the first attempt still runs"
        run.check_lost()

    early.go(1)  # the lost attempt publishes, and then the second finds it
    log_of(node, lost["early"], "output out")
    assert early.status()["phase"] not in TERMINAL
    for run in (late, never):
        assert not run.store.versions(run.key)
        run.go(2)
    late_status, never_status = (run.namespace.finished(run.name) for run in (late, never))
    early.go(2)
    early_status = early.namespace.finished("early")
    late.go(1)  # the lost attempt comes after the second, and is turned away
    log_of(node, lost["late"], "Superseded")
    early.check(early_status, attempt=2, mark="1", starts=[1, 1, 0])
    assert any("attempt 1 had already published it" in text for text in early_status["warnings"])
    late.check(late_status, attempt=2, mark="2", starts=[1, 1, 0])

    node.thaw()
    node.ready()
    for run in runs:
        wait_for(f"the lost pod of {run.name} is gone", lambda run=run: run.pod(1) is None, seconds=90)
    for run, status, mark in ((early, early_status, "1"), (late, late_status, "2"), (never, never_status, "2")):
        assert run.status() == status, "a terminal status stays"
        run.check(status, attempt=2, mark=mark, starts=[1, 1, 0])


def test_a_node_that_is_back_while_the_pod_is_told_to_stop_makes_no_success_of_it(
    node: SecondNode, waiting: Callable[..., Waiting]
) -> None:
    run = waiting("back")
    node.freeze()
    wait_for("the pod is told to stop", lambda: (run.pod(1) or {})["metadata"].get("deletionTimestamp"), seconds=120)
    node.thaw()
    run.at_work(2)
    run.check_lost()
    assert not run.store.versions(run.key)
    run.go(2)
    run.check(run.namespace.finished(run.name), attempt=2, mark="2", starts=[1, 1, 0])


def test_a_node_that_is_taken_away_while_its_containers_run_on_publishes_once(
    node: SecondNode, waiting: Callable[..., Waiting], recovery: Recovery
) -> None:
    """Its pods are removed from the API at once, and no grace is waited for: both attempts end at the same moment."""
    run = waiting("away", retries=1)
    lost = run.at_work(1)
    node.freeze()
    kubectl("delete", "node", NAME)
    with recovery():
        run.at_work(2, seconds=150)
    run.check_lost()
    assert node.processes(lost["metadata"]["uid"]), "the first attempt still runs"
    run.go(1)
    run.go(2)
    status = run.namespace.finished(run.name)
    log_of(node, lost, "output out", "Superseded")  # whichever of the two was first
    run.check(status, attempt=2, mark=run.store.unzip(run.key)["mark.txt"].decode(), starts=[1, 1, 0])


POINTS = {"upload-recorded": False, "before-commit-record": False, "after-commit-record": True, "after-complete": True}


@pytest.mark.parametrize("back", [False, True], ids=["and-it-stays-away", "and-it-is-back-at-once"])
def test_a_node_loses_its_power_during_the_commit_and_the_object_is_the_old_or_the_new_one(
    node: SecondNode, back: bool, recovery: Recovery
) -> None:
    """All its processes are killed at once, while collect is between two steps of publish."""
    namespace = Namespace(f"e2e-{secrets.token_hex(4)}")
    kubectl("create", "namespace", namespace.name)
    kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce=restricted")
    try:
        faulty = faulty_store.install(namespace, new_bucket())
        namespace.apply(function("mark", MARK))
        old = zipped({"mark.txt": b"0"})
        runs, held = {}, []
        for point in POINTS:
            faulty.bucket.put(f"{point}/out.zip", old)
            runs[point] = run = start(faulty, point, **ON_IT)
            method, url, skip = STEPS[point]
            held.append(run.rule(method, url, "hold", skip=skip))
        for rule in held:
            rule.met()
        node.reset()
        faulty.release()
        with recovery():
            for point, run in runs.items():
                assert faulty.bucket.unzip(run.key)["mark.txt"] == (b"1" if point == "after-complete" else b"0")
            if back:
                node.start()
            else:
                kubectl("delete", "node", NAME)
            for point, run in runs.items():
                seen = {b"0"}

                def over(run: Run = run, seen: set[bytes] = seen) -> bool:
                    seen.add(faulty.bucket.unzip(run.key)["mark.txt"])  # whole at any time: unzip checks the sums
                    return namespace.status(run.name).get("phase") in TERMINAL

                wait_for(f"the end of {run.name}", over, seconds=180)
                mark = "1" if POINTS[point] else "2"
                assert seen <= {b"0", mark.encode()}
                run.assert_published(attempt=2, mark=mark, before=1)
    finally:
        kubectl("delete", "namespace", namespace.name, "--wait=false")
