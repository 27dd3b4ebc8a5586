"""Runs whose Jobs Kueue admits, with Kueue's own controller and webhooks."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from support import kueue
from support.assets import asset, ready
from support.cluster import Namespace, Object, condition, deployment, deployment_run, function, job_run, kubectl
from support.store import Bucket
from support.waiting import wait_for

CODE = """
import os, pathlib, time
def main(seconds=0):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / f"attempt-{os.environ['MILLRACE_ATTEMPT']}").write_text("x")
    print("started", flush=True)
    time.sleep(seconds)
"""
QUEUE_NAME = "kueue.x-k8s.io/queue-name"


@pytest.fixture(scope="module", autouse=True)
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with kueue.installed(tmp_path_factory.mktemp("kueue")):
        yield


@pytest.fixture
def queue(namespace: Namespace) -> Iterator[str]:
    """A LocalQueue by which one pod may run at a time."""
    name = f"one-{secrets.token_hex(3)}"
    namespace.apply(*kueue.queue(name, namespace.name, pods=1))
    yield name
    kubectl("delete", "jobruns.millrace.dev", "--all", "-n", namespace.name)


def waits(namespace: Namespace, name: str) -> Object:
    """Status of a run that waits for Kueue."""

    def look() -> Object | None:
        status = namespace.status(name)
        return status if (status.get("phase"), status.get("reason")) == ("Queued", "AwaitingAdmission") else None

    return wait_for(f"{name} waits for Kueue", look)


def workloads(namespace: Namespace) -> list[str]:
    """The Jobs for which Kueue has workloads that are not finished."""
    found = [obj for obj in kueue.items("workloads") if obj["metadata"]["namespace"] == namespace.name]
    return sorted(obj["metadata"]["ownerReferences"][0]["name"] for obj in found if not condition(obj, "Finished"))


def test_runs_start_when_kueue_admits_them(namespace: Namespace, queue: str, store: Bucket) -> None:
    out = [{"name": "o", "dataStore": {"name": "store", "path": "{run}"}}]
    spec = {"kueueQueue": queue, "outputs": out}
    namespace.apply(function("f", CODE), job_run("a", "f", parameters={"seconds": 600}, **spec))
    namespace.main_running("a")
    job = namespace.get("job", "a")
    assert (job["metadata"]["labels"][QUEUE_NAME], job["spec"]["suspend"]) == (queue, False)
    namespace.apply(deployment("d", "f", queue={"kueueQueue": queue}, template={"outputs": out}), deployment_run("b", "d"))
    status = waits(namespace, "b")
    admitted = condition(status, "Admitted") or {}
    assert (admitted["status"], admitted["reason"]) == ("False", "AwaitingAdmission")
    assert queue in admitted["message"]
    assert namespace.get("job", "b")["spec"]["suspend"] is True
    assert namespace.pods("b") == []
    namespace.patch("jr", "a", {"spec": {"cancel": True}})
    assert namespace.finished("a")["phase"] == "Cancelled"
    done = namespace.finished("b")
    assert done["phase"] == "Succeeded", done
    assert (condition(done, "Admitted") or {})["status"] == "True"
    assert done["times"]["admitted"] > done["times"]["queued"]
    assert store.names("b/") == ["b/o.zip"]
    assert len(namespace.pods("a")) <= 1, "Kueue has started it again"


def test_a_run_that_is_cancelled_is_not_started_again_and_gives_its_quota_back(
    namespace: Namespace, queue: str, store: Bucket
) -> None:
    out = [{"name": "o", "dataStore": {"name": "store", "path": "{run}"}, "when": "Always"}]
    spec = {"kueueQueue": queue, "outputs": out, "parameters": {"seconds": 600}}
    namespace.apply(function("f", CODE), job_run("runs", "f", **spec))
    namespace.main_running("runs")
    namespace.apply(job_run("waits", "f", **spec))
    waits(namespace, "waits")
    namespace.patch("jr", "waits", {"spec": {"cancel": True}})
    assert namespace.finished("waits")["phase"] == "Cancelled"
    wait_for("Kueue has forgotten it", lambda: workloads(namespace) == ["runs"])
    assert namespace.find("job", "waits") is None
    namespace.patch("jr", "runs", {"spec": {"cancel": True}})
    status = namespace.finished("runs")
    assert status["phase"] == "Cancelled"
    assert store.unzip("runs/o.zip").keys() == {"attempt-1"}
    wait_for("its quota is free", lambda: workloads(namespace) == [])
    namespace.apply(job_run("next", "f", **{**spec, "parameters": {}}))
    assert namespace.finished("next")["phase"] == "Succeeded"
    assert namespace.status("runs") == status


def test_a_run_that_kueue_evicts_goes_on_with_another_attempt(namespace: Namespace, queue: str, store: Bucket) -> None:
    high = f"high-{secrets.token_hex(3)}"
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": high}, "value": 1000}
    out = [{"name": "o", "dataStore": {"name": "store", "path": "{run}"}, "when": "Always"}]
    namespace.apply(priority, function("f", CODE))
    try:
        namespace.apply(job_run("low", "f", kueueQueue=queue, outputs=out, parameters={"seconds": 15}))
        namespace.main_running("low")
        spec = {"kueueQueue": queue, "parameters": {"seconds": 5}, "priorityClassName": high}
        namespace.apply(job_run("high", "f", outputs=out, **spec))
        alone: set[tuple[str, ...]] = set()

        def over() -> bool:
            pods = [pod for run in ("low", "high") for pod in namespace.pods(run)]
            alone.add(tuple(pod["metadata"]["name"] for pod in pods if pod["status"]["phase"] == "Running"))
            return all(namespace.status(name).get("phase") == "Succeeded" for name in ("low", "high"))

        wait_for("both are over", over, seconds=180)
    finally:
        kubectl("delete", "priorityclass", high)
    assert max(map(len, alone)) == 1, alone
    low = namespace.status("low")
    assert (low["attempt"], low["jobName"]) == (2, "low-2")
    assert store.unzip("low/o.zip").keys() == {"attempt-2"}
    assert namespace.status("high")["attempt"] == 1
    [event] = [found for found in namespace.list("events") if found["reason"] == "Retrying"]
    assert f"Preempted: Kueue has suspended the Job (LocalQueue {queue})" in event["message"]
    assert namespace.find("job", "low") is None, "Kueue would start it again"


def test_a_run_waits_for_kueue_as_long_as_it_says(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("f", CODE), job_run("late", "f", kueueQueue="absent", timeouts={"queued": "3s"}))
    status = namespace.finished("late")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "QueueTimeout")
    assert "for Kueue (LocalQueue absent)" in status["failure"]["message"]
    wait_for("Kueue has forgotten it", lambda: workloads(namespace) == [])
    assert namespace.pods("late") == []


def test_data_stays_with_its_dataasset_though_kueue_resumes_the_job_that_deletes_it(
    namespace: Namespace, queue: str, store: Bucket
) -> None:
    """Kueue of a later version labels each Job itself, where the namespace has a LocalQueue `default`."""
    store.put("a/1.csv", b"id\n")
    namespace.apply(asset("a", path="a", dataStore="store", reclaim="Delete"))
    ready(namespace, "a")

    def job() -> Object:
        [found] = [job for job in namespace.list("jobs") if job["metadata"]["name"].startswith("a-reclaim-")]
        return found

    name = job()["metadata"]["name"]
    namespace.kubectl("label", "job", name, f"{QUEUE_NAME}={queue}")
    # With the start time the Job controller has made the pods that it wants.
    wait_for("Kueue resumes it", lambda: not job()["spec"]["suspend"] and job()["status"].get("startTime"))
    assert [pod["metadata"]["name"] for pod in namespace.list("pods") if pod["metadata"]["name"].startswith(name)] == []
    assert store.names() == ["a/1.csv"]
    namespace.delete("dataassets", "a")
    wait_for("the data is deleted, as soon as there is quota", lambda: store.names() == [], seconds=90)
    wait_for("Kueue has forgotten it", lambda: workloads(namespace) == [])
