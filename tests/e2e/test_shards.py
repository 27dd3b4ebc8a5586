"""A run in shards: each pod has its part of the folder, and one manifest lists what all have made."""

from __future__ import annotations

import io
import json
import posixpath
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from support.cluster import Namespace, function, job_run
from support.command import Command
from support.store import Bucket

Object = dict[str, Any]
SECONDS = 0.05  # that the user code of these tests takes for a file
COUNT = """
import json, os, pathlib, time

def main(data, seconds=0.0):
    names = sorted(str(path.relative_to(data)) for path in pathlib.Path(data).rglob("*") if path.is_file())
    for name in names:
        if (pathlib.Path(data) / name).read_text() == "poison":
            raise ValueError(f"{name} is poisoned")
        time.sleep(seconds)
    shard, count = os.environ.get("MILLRACE_SHARD_INDEX"), os.environ.get("MILLRACE_SHARD_COUNT")
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "seen.json").write_text(json.dumps([shard, count, names]))
"""
FOLDER = [{"name": "data", "dataStore": {"name": "store", "path": "in"}}]
OUT = [{"name": "seen", "dataStore": {"name": "store", "path": "out/{run}"}}]


def fill(store: Bucket, count: int) -> list[str]:
    """A folder of files of different sizes, some of them deeper; their paths below it."""
    names = [f"{'deep/' if number % 7 == 0 else ''}{number:04}.txt" for number in range(count)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.put(f"in/{name}", b"x" * (1 + len(name) * int(name[-8:-4]) % 977)), names))
    return names


def seen(store: Bucket, prefix: str, manifest: Object) -> dict[int, list[str]]:
    """What each shard has found in its folder, by the parts that the manifest lists."""
    found = {}
    for part in manifest["parts"]:
        with zipfile.ZipFile(io.BytesIO(store.get(posixpath.normpath(f"{prefix}/{part['key']}")))) as archive:
            shard, count, names = json.loads(archive.read("seen.json"))
        assert (shard, count) == (str(part["shard"]), str(manifest["shards"]))
        found[part["shard"]] = names
    return found


def seconds_of(namespace: Namespace, run: str) -> float:
    """How long user code was at work: what a busy machine takes to start pods is not what is compared."""
    times = namespace.status(run)["times"]
    return (datetime.fromisoformat(times["exited"]) - datetime.fromisoformat(times["started"])).total_seconds()


def test_a_thousand_files_in_eight_shards_four_at_a_time_none_missed_none_twice_faster_than_one_after_the_other(
    namespace: Namespace, store: Bucket
) -> None:
    names = fill(store, 1000)
    data: Object = {"inputs": FOLDER, "outputs": OUT, "parameters": {"seconds": SECONDS}}
    namespace.apply(function("count", COUNT), job_run("wide", "count", **data, parallel={"shards": 8, "parallelism": 4}))
    status = namespace.finished("wide", seconds=240)
    assert status["phase"] == "Succeeded", status
    manifest = json.loads(store.get("out/wide/seen.manifest.json"))
    assert (manifest["shards"], manifest["missing"], manifest["files"]) == (8, [], 8)
    found = seen(store, "out/wide", manifest)
    assert sorted(name for part in found.values() for name in part) == sorted(names)  # none missed, none twice
    assert {len(part) for part in found.values()} == {125}
    assert status["shards"] == {"count": 8, "failed": []}
    assert status["outputs"][0]["uri"] == f"s3://{store.name}/out/wide/seen.manifest.json"
    assert status["inputs"][0]["files"] == 1000
    job = namespace.get("job", "wide")
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (8, 4)
    namespace.apply(job_run("alone", "count", **data))
    assert namespace.finished("alone", seconds=240)["phase"] == "Succeeded"
    wide, alone = seconds_of(namespace, "wide"), seconds_of(namespace, "alone")
    print(f"8 shards, 4 at a time: {wide:g} s; one pod: {alone:g} s")
    assert wide < alone


def test_a_poisoned_file_is_the_end_of_its_shard_alone_where_one_may_fail(namespace: Namespace, store: Bucket) -> None:
    names = fill(store, 40)
    store.put("in/0013.txt", b"poison")
    one_may = {"shards": 8, "maxFailedShards": 1}
    namespace.apply(
        function("count", COUNT),
        job_run("tolerant", "count", inputs=FOLDER, outputs=OUT, parallel=one_may),
        job_run("strict", "count", inputs=FOLDER, outputs=OUT, parallel={"shards": 8}),
    )
    status = namespace.finished("tolerant", seconds=240)
    assert status["phase"] == "Succeeded", status
    manifest = json.loads(store.get("out/tolerant/seen.manifest.json"))
    (lost,) = status["shards"]["failed"]
    assert manifest["missing"] == [lost]
    found = seen(store, "out/tolerant", manifest)
    there = [name for part in found.values() for name in part]
    assert len(there) == len(set(there)) == 35
    assert set(there) < set(names) - {"0013.txt"}
    assert f"shard {lost}: UserError: ValueError: 0013.txt is poisoned" in status["warnings"][0]
    status = namespace.finished("strict", seconds=240)
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "UserError")
    assert status["failure"]["message"].startswith(f"shard {lost}: ValueError: 0013.txt is poisoned; 1 of 8 shards failed")
    assert "poisoned" in status["failure"]["logTail"]
    assert store.names("out/strict/") == [f"out/strict/seen-{shard}.zip" for shard in range(8) if shard != lost]


def test_failed_shards_alone_are_done_again_and_the_manifest_is_over_all_parts(
    namespace: Namespace, store: Bucket, millrace: Command
) -> None:
    names = fill(store, 12)
    store.put("in/0004.txt", b"poison")
    namespace.apply(function("count", COUNT), job_run("first", "count", inputs=FOLDER, outputs=OUT, parallel={"shards": 3}))
    status = namespace.finished("first", seconds=240)
    assert status["phase"] == "Failed", status
    (lost,) = status["shards"]["failed"]
    store.put("in/0004.txt", b"better")
    store.put("in/9999.txt", b"came later")
    _, err = millrace("rerun", "first", "--failed-shards")
    assert "JobRun first-r2 created" in err
    assert namespace.run("first-r2")["spec"]["parallel"] == {"shards": 3, "of": "first", "only": [lost]}
    assert namespace.get("job", "first-r2")["spec"]["completions"] == 1
    manifest = json.loads(store.get("out/first-r2/seen.manifest.json"))
    assert manifest["missing"] == []
    assert {part["key"].startswith("../first/") for part in manifest["parts"] if part["shard"] != lost} == {True}
    found = seen(store, "out/first-r2", manifest)
    assert sorted(name for part in found.values() for name in part) == sorted(names)
    assert "0004.txt" in found[lost]
    _, err = millrace("rerun", "first-r2", "--failed-shards", code=2)
    assert "none of its shards has failed" in err
