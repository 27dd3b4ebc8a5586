"""The store is away for five minutes, in the middle of staging and of an upload (F29, F30)."""

from __future__ import annotations

import hashlib
import random

import pytest

from support import faulty_store
from support.cluster import Namespace, Object, function, job_run
from support.recovery import Recovery
from support.seed import SEED
from support.store import Bucket

AWAY = 300.0
LONGEST = 60.0  # from the store's return to the end of both runs: the longest pause between two tries is 10 s
COPY = """
import os, pathlib, shutil
def main(data=None):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    if data:
        shutil.copytree(data, out, dirs_exist_ok=True)
    else:
        (out / "random").write_bytes(os.urandom(40_000_000))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_runs_succeed_when_the_store_was_away_in_the_middle_of_staging_and_of_the_upload(
    namespace: Namespace, bucket: Bucket, recovery: Recovery
) -> None:
    """One run reads, the other one writes; both wait in their pods, and user code runs once."""
    faulty = faulty_store.install(namespace, bucket)
    files = {name: random.Random(f"{SEED}{name}").randbytes(40_000_000) for name in ("a", "b")}
    for name, data in files.items():
        bucket.put(f"many/{name}", data)
    namespace.apply(function("copy", COPY))
    names = ("reads", "writes")
    reading = faulty.rule("GET", r"many/b", "hold")
    sending = faulty.rule("PUT", r"writes/out\.zip\?.*partNumber", "hold", skip=1)
    namespace.apply(
        job_run(
            "reads",
            "copy",
            inputs=[{"name": "data", "dataStore": {"name": "store", "path": "many"}, "stage": "Download"}],
            outputs=[output("reads")],
        ),
        job_run("writes", "copy", outputs=[output("writes")]),
    )
    reading.met()
    sending.met()
    faulty.away(AWAY)
    assert [namespace.get("jobrun", name)["status"]["phase"] for name in names] == ["Staging", "Uploading"]
    with recovery(within=LONGEST):
        ends = [namespace.finished(name) for name in names]
    assert [(end["phase"], end["attempt"]) for end in ends] == [("Succeeded", 1)] * 2, ends
    assert bucket.unzip("reads/out.zip") == files
    assert [entry["bytes"] for entry in ends[0]["inputs"]] == [80_000_000]
    assert len(bucket.unzip("writes/out.zip")["random"]) == 40_000_000
    for name, end in zip(names, ends, strict=True):
        key = f"{name}/out.zip"
        assert [o["sha256"] for o in end["outputs"]] == [hashlib.sha256(bucket.get(key)).hexdigest()]
        assert (len(bucket.versions(key)), bucket.uploads(key)) == (1, [])


def output(run: str) -> Object:
    return {"name": "out", "dataStore": {"name": "store", "path": run}}
