"""The main job: a folder of CSV files in, a zip out."""

from __future__ import annotations

import hashlib
import json

from support.cluster import Namespace, function, job_run, kubectl
from support.store import Bucket

SCORE = """
import csv, os, pathlib

def main(data, threshold):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    assert data == os.environ["BATCH_INPUT_DIR"], data
    for path in sorted(pathlib.Path(data).rglob("*.csv")):
        rows = list(csv.DictReader(path.open()))
        print(path.name, len(rows), flush=True)
        (out / path.name).write_text("".join(f"{row['id']},{float(row['x']) > threshold}\\n" for row in rows))
"""
CSV = {"a.csv": b"id,x\n1,0.2\n2,0.9\n", "b c.csv": b"id,x\n3,0.5\n"}


def test_a_folder_is_staged_scored_and_published_as_a_zip_and_the_status_tells_all_of_it(
    namespace: Namespace, store: Bucket
) -> None:
    for name, data in CSV.items():
        store.put(f"heart/3/{name}", data)
    store.put("heart/30/other.csv", b"not ours")
    namespace.apply(
        function("score", SCORE),
        job_run(
            "score-1",
            "score",
            parameters={"threshold": 0.4},
            inputs=[{"name": "data", "dataStore": {"name": "store", "path": "heart/3"}}],
            outputs=[{"name": "scores", "dataStore": {"name": "store", "path": "scores"}}],
        ),
    )
    status = namespace.finished("score-1")
    assert status["phase"] == "Succeeded", status
    assert store.unzip("scores/scores.zip") == {"a.csv": b"1,False\n2,True\n", "b c.csv": b"3,True\n"}
    assert len(store.versions("scores/scores.zip")) == 1
    assert not store.uploads("scores/scores.zip")
    (staged,) = status["inputs"]
    assert (staged["name"], staged["files"], staged["bytes"]) == ("data", 2, sum(map(len, CSV.values())))
    assert staged["identityUsed"] == "Store"
    assert staged["sha256"]
    (output,) = status["outputs"]
    assert output["uri"] == f"s3://{store.name}/scores/scores.zip"
    assert output["sha256"] == hashlib.sha256(store.get("scores/scores.zip")).hexdigest()
    assert output["files"] == 2
    assert output["contentDigest"]
    times = status["times"]
    order = ["admitted", "staged", "started", "exited", "uploaded", "finished"]
    assert [times[name] for name in order] == sorted(times[name] for name in order)


def test_logs_of_all_containers_are_archived(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("talk", 'def main():\n    print("a line of main")\n'),
        job_run("talk-1", "talk", outputs=[{"name": "out", "asset": "nothing"}]),
    )
    status = namespace.finished("talk-1")
    assert status["phase"] == "Succeeded", status
    logs = {key.rsplit("/", 1)[1]: store.get(key) for key in store.names("logs/talk-1/")}
    assert b"a line of main" in logs["main.log"]
    assert set(logs) >= {"main.log", "stage.log", "collect.log"}
    assert status["logs"].startswith(f"s3://{store.name}/logs/talk-1/")


def test_wait_for_finished_ends_for_a_run_that_succeeds_and_for_one_that_fails(namespace: Namespace) -> None:
    namespace.apply(
        function("ends", "import sys\ndef main(code):\n    sys.exit(code)\n"),
        job_run("good", "ends", parameters={"code": 0}),
        job_run("bad", "ends", parameters={"code": 3}),
    )
    namespace.kubectl("wait", "--for=condition=Finished", "jr/good", "jr/bad", "--timeout=60s")
    assert namespace.status("good")["phase"] == "Succeeded"
    failed = namespace.status("bad")
    assert (failed["phase"], failed["failure"]["reason"], failed["failure"]["exitCode"]) == ("Failed", "UserError", 3)
    assert "Succeeded" in namespace.kubectl("get", "jr", "good")


def test_a_run_without_data_has_one_container_and_neither_directory(namespace: Namespace) -> None:
    code = """
import json, os
def main():
    payload = json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))
    assert "BATCH_INPUT_DIR" not in os.environ and "BATCH_OUTPUT_DIR" not in os.environ
    assert payload["scoring"] == {}, payload
    print(json.dumps(payload))
"""
    namespace.apply(function("plain", code), job_run("plain-1", "plain"))
    assert namespace.finished("plain-1")["phase"] == "Succeeded"
    (pod,) = namespace.pods("plain-1")
    assert [container["name"] for container in pod["spec"]["containers"]] == ["main"]
    assert "initContainers" not in pod["spec"]
    payload = json.loads(namespace.kubectl("logs", pod["metadata"]["name"]))
    assert payload["space_id"] == namespace.name
    assert payload["name"] == "plain-1"


def test_nothing_differs_between_what_was_applied_and_what_is_there_after_the_run(
    namespace: Namespace, store: Bucket, tmp_path_factory: object
) -> None:
    objects = [function("same", "def main():\n    pass\n"), job_run("same-1", "same")]
    namespace.apply(*objects)
    namespace.finished("same-1")
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    assert kubectl("-n", namespace.name, "diff", "-f", "-", stdin=text) == ""
