"""What a Deployment keeps: by amount and age, runs, logs and artifacts apart, in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.cluster import API_VERSION, Namespace, Object, deployment, deployment_run, function
from support.store import Bucket
from support.waiting import wait_for

CODE = """
import os, pathlib
def main(text="1", fails=False):
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "x").write_text(text)
    if fails:
        raise ValueError("as asked")
"""


def ours(namespace: Namespace, run: Object) -> Object:
    """A run as the operator makes one: the Deployment's own."""
    name = run["spec"]["deploymentRef"]["name"]
    uid = namespace.get("mdep", name)["metadata"]["uid"]
    owner = {"apiVersion": API_VERSION, "kind": "Deployment", "name": name, "uid": uid, "controller": True}
    return {**run, "metadata": {**run["metadata"], "ownerReferences": [owner]}}


def deployed(namespace: Namespace, path: str = "out/{run}", archive: str = "Zip", **spec: Any) -> None:
    out = {"name": "o", "dataStore": {"name": "store", "path": path}, "archive": archive, "when": "Always"}
    namespace.apply(function("f", CODE), deployment("d", "f", template={"outputs": [out]}, **spec))


def finish(namespace: Namespace, *names: str, **parameters: Any) -> None:
    """Runs of ours, one after the other."""
    for name in names:
        namespace.apply(ours(namespace, deployment_run(name, "d", parameters=parameters)))
        namespace.finished(name)


def runs(namespace: Namespace) -> list[str]:
    return sorted(run["metadata"]["name"] for run in namespace.list("jobruns"))


def folders(store: Bucket, prefix: str) -> list[str]:
    return sorted({key.removeprefix(prefix).partition("/")[0] for key in store.names(prefix)})


def jobs(namespace: Namespace) -> Iterator[Object]:
    return (job for job in namespace.list("jobs") if "millrace.dev/retention" in job["metadata"].get("annotations", {}))


def test_exactly_the_right_runs_logs_and_artifacts_are_left(namespace: Namespace, store: Bucket) -> None:
    deployed(namespace)
    store.put("out/not-ours/o.zip", b"x")
    store.put("logs/not-ours/1/main.log", b"x")
    namespace.apply(deployment_run("applied", "d"))
    namespace.finished("applied")
    finish(namespace, "a", "b")
    finish(namespace, "bad-1", "bad-2", fails=True)
    finish(namespace, "c", "d")
    everything = ["a", "applied", "b", "bad-1", "bad-2", "c", "d"]
    assert runs(namespace) == everything
    assert folders(store, "out/") == sorted([*everything, "not-ours"])
    namespace.patch("mdep", "d", {"spec": {"retention": {"runs": {"amount": 2}, "failedRuns": {"amount": 1}}}})
    left = ["applied", "bad-2", "c", "d"]
    wait_for("only the latest runs are there", lambda: runs(namespace) == left, seconds=60)
    wait_for("their logs too", lambda: folders(store, "logs/") == sorted([*left, "not-ours"]), seconds=60)
    assert folders(store, "out/") == sorted([*everything, "not-ours"]), "artifacts have no age"
    assert "ownerReferences" not in namespace.run("applied")["metadata"]
    wait_for("nothing is left of it", lambda: not list(jobs(namespace)), seconds=60)
    assert runs(namespace) == left


def test_what_outlives_its_run_goes_by_its_own_age(namespace: Namespace, store: Bucket) -> None:
    deployed(namespace, archive="None")
    finish(namespace, "a")
    namespace.patch("mdep", "d", {"spec": {"retention": {"runs": {"amount": 0}, "artifacts": {"age": "1h"}}}})
    wait_for("the run is gone", lambda: runs(namespace) == [], seconds=60)
    wait_for("its logs are gone", lambda: folders(store, "logs/") == [], seconds=60)
    assert [
        job["spec"]["template"]["spec"]["containers"][0]["name"] for job in jobs(namespace) if job["spec"]["suspend"]
    ] == ["keep"]
    assert store.names("out/a/") == ["out/a/o/manifest.json", "out/a/o/x"]
    store.put("out/a/o/mine", b"x")
    namespace.patch("mdep", "d", {"spec": {"retention": {"runs": None, "artifacts": {"age": "1s"}}}})
    wait_for("its artifact is gone, and nothing else", lambda: store.names("out/a/") == ["out/a/o/mine"], seconds=60)


@pytest.mark.parametrize("text", ["1", "2"], ids=["equal", "other"])
def test_what_a_later_run_has_written_over_stays(namespace: Namespace, store: Bucket, text: str) -> None:
    deployed(namespace, path="latest")
    finish(namespace, "a")
    namespace.apply(deployment_run("applied", "d", parameters={"text": text}))
    namespace.finished("applied")
    namespace.patch("mdep", "d", {"spec": {"retention": {"artifacts": {"age": "1s"}}}})
    wait_for("it is over", lambda: namespace.run("a")["status"].get("deleted") == ["artifacts"], seconds=60)
    assert store.unzip("latest/o.zip") == {"x": text.encode()}


def test_artifacts_and_logs_go_before_their_runs_which_say_so(namespace: Namespace, store: Bucket) -> None:
    retention = {"runs": {"amount": 5}, "logs": {"age": "1s"}, "artifacts": {"age": "1s"}}
    deployed(namespace, retention=retention)
    finish(namespace, "a")
    wait_for("both are gone", lambda: set(namespace.status("a").get("deleted", [])) == {"logs", "artifacts"}, seconds=90)
    assert store.names("out/") == []
    assert store.names("logs/") == []
    assert namespace.status("a")["phase"] == "Succeeded"


def test_a_missing_secret_loses_nothing_and_is_told(namespace: Namespace, store: Bucket) -> None:
    deployed(namespace)
    finish(namespace, "a")
    secret = namespace.get("secrets", "store")
    namespace.kubectl("delete", "secret", "store")
    namespace.patch("mdep", "d", {"spec": {"retention": {"runs": {"amount": 0}}}})

    def told() -> list[str]:
        return [event["message"] for event in namespace.list("events") if event["reason"] == "DataNotDeleted"]

    [message, *_] = wait_for("it is told", told, seconds=60)
    assert "secret" in message.lower()
    assert folders(store, "logs/") == ["a"]
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "data": secret["data"]})
    wait_for("the logs are gone", lambda: store.names("logs/") == [], seconds=90)
    assert folders(store, "out/") == ["a"]
