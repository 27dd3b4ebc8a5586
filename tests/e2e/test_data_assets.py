"""Data assets: versions that runs make and read (rows A2, A14, B19, B20, D10, D11)."""

from __future__ import annotations

import pytest

from support.assets import asset, ready
from support.cluster import Namespace, Refused, condition, function, job_run
from support.store import Bucket
from support.waiting import wait_for

COPY = """
import os, pathlib, zipfile
def main(data=None, text="", **_):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    files = sorted(path for path in pathlib.Path(data).rglob("*") if path.is_file()) if data else []
    if data and pathlib.Path(data).is_file():
        text += "+".join(zipfile.ZipFile(data).read(name).decode() for name in zipfile.ZipFile(data).namelist())
    (out / "text").write_text(text + "+".join(path.read_text() for path in files))
"""
MADE = [{"name": "out", "asset": "scores"}]


def test_each_run_makes_the_next_version_and_a_later_run_reads_the_latest(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("copy", COPY))
    for number in (1, 2):
        namespace.apply(job_run(f"make-{number}", "copy", parameters={"text": f"text {number}"}, outputs=MADE))
        status = namespace.finished(f"make-{number}")
        (output,) = status["outputs"]
        assert (status["phase"], output["asset"], output["version"]) == ("Succeeded", "scores", str(number)), status
        made = namespace.get("dataassets", f"scores-{number}")
        producer = made["status"]["producedBy"]
        assert (producer["jobRun"], producer["uid"]) == (f"make-{number}", status["jobId"])
        assert producer["functionRevision"] == status["functionRevision"]
        assert made["status"]["sha256"] == output["sha256"]
        assert condition(made, "Ready")["status"] == "True"  # type: ignore[index]
        assert store.unzip(made["spec"]["path"]) == {"text": f"text {number}".encode()}

    inputs = [{"name": "data", "asset": "scores@latest"}]
    namespace.apply(job_run("read", "copy", inputs=inputs, parameters={"text": "read "}, outputs=MADE))
    status = namespace.finished("read")
    (found,) = status["inputs"]
    assert (found["asset"], found["version"], found["files"]) == ("scores", "2", 1), status
    assert store.unzip(namespace.get("dataassets", "scores-3")["spec"]["path"]) == {"text": b"read text 2"}
    namespace.delete("jobruns", "make-1")
    assert namespace.get("dataassets", "scores-1")["status"]["producedBy"]["jobRun"] == "make-1"


def test_a_run_that_fails_makes_no_version(namespace: Namespace, store: Bucket) -> None:
    code = "import os\ndef main():\n    open(os.environ['BATCH_OUTPUT_DIR'] + '/x', 'w').close()\n    raise SystemExit(3)\n"
    kept = {"name": "out", "asset": "scores", "when": "Always"}
    namespace.apply(function("fails", code), job_run("fails-1", "fails", outputs=[kept]))
    status = namespace.finished("fails-1")
    assert (status["phase"], [output["name"] for output in status["outputs"]]) == ("Failed", ["out"])
    assert not namespace.list("dataassets")


def test_a_run_waits_for_its_version_and_starts_when_it_is_there(namespace: Namespace, store: Bucket) -> None:
    store.put("heart/jan/a.csv", b"jan")
    store.put("heart/feb/a.csv", b"feb")
    inputs = [{"name": "data", "asset": "heart:2"}]
    namespace.apply(function("copy", COPY), job_run("waits", "copy", inputs=inputs, outputs=MADE))
    status = namespace.phase("waits", "Blocked")
    assert status["reason"] == "AssetNotFound"
    assert "heart:2" in (condition(status, "Resolved") or {})["message"]
    namespace.apply(asset("heart-jan", asset="heart", path="heart/jan"))
    assert ready(namespace, "heart-jan")["version"] == "1"
    namespace.apply(asset("heart-feb", asset="heart", path="heart/feb"))
    assert ready(namespace, "heart-feb")["version"] == "2"
    status = namespace.finished("waits")
    assert (status["phase"], status["inputs"][0]["version"]) == ("Succeeded", "2"), status
    assert store.unzip(namespace.get("dataassets", "scores-1")["spec"]["path"]) == {"text": b"feb"}


def test_a_version_is_taken_once_and_its_data_cannot_be_changed(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(asset("first", asset="heart", version="1", path="heart/a"))
    ready(namespace, "first")
    namespace.apply(asset("second", asset="heart", version="1", path="heart/b"))

    def taken() -> bool:
        found = condition(namespace.get("dataassets", "second").get("status") or {}, "Ready")
        return found is not None and (found["status"], found["reason"]) == ("False", "VersionTaken")

    wait_for("the second one is told so", taken, seconds=30)
    with pytest.raises(Refused, match=r"spec\.path.*path is immutable"):
        namespace.apply(asset("first", asset="heart", version="1", path="heart/b"))
    namespace.apply(asset("first", asset="heart", version="1", path="heart/a", description="the January export"))
    namespace.delete("dataassets", "first")
    assert ready(namespace, "second")["version"] == "1"
