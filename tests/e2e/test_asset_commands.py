"""`millrace asset …` and `millrace lineage` as a user has them (rows A2, A14, B20, B22, D10)."""

from __future__ import annotations

import json

import pytest
import yaml

from support.assets import asset
from support.cluster import Namespace, function, job_run
from support.command import Command
from support.store import Bucket

COPY = """
import os, pathlib
def main(data, **_):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "a.txt").write_text("+".join(path.name for path in sorted(pathlib.Path(data).rglob("*"))))
"""
BOTH = """
import os, pathlib
def main(data):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "out/a.txt").write_text("here")
    (out / "zip/b.txt").write_text("there")
"""


def manifest(name: str, **spec: object) -> str:
    return yaml.safe_dump(asset(name, **spec))


def test_versions_are_made_listed_shown_and_fetched(millrace: Command, store: Bucket) -> None:
    store.put("heart/jan/a.csv", b"id\n")
    store.put("heart/jan/sub/b.csv", b"id,x\n")
    both = manifest("jan", asset="heart", path="heart/jan", dataStore="store", description="January")
    both += "---\n" + manifest("one", asset="file", type="uri_file", path="heart/jan/a.csv")
    assert millrace("asset", "create", "-f", "-", stdin=both)[0] == "heart@1\nfile@1\n"
    lines = [line.split() for line in millrace("asset", "list")[0].splitlines()]
    assert lines[0][:4] == ["ASSET", "VERSION", "TYPE", "READY"]
    assert [line[:4] for line in lines[1:]] == [["file", "1", "uri_file", "True"], ["heart", "1", "uri_folder", "True"]]
    listed = json.loads(millrace("asset", "list", "-o", "json")[0])
    assert {item["metadata"]["name"] for item in listed["items"]} == {"jan", "one"}
    out, _ = millrace("asset", "show", "heart")
    assert "heart@1" in out
    assert "January" in out
    assert yaml.safe_load(millrace("asset", "show", "heart@1", "-o", "yaml")[0])["spec"]["path"] == "heart/jan"
    _, err = millrace("asset", "download", "heart")
    assert "heart-1: 8 B, 2 files" in err
    assert (millrace.folder / "heart-1/sub/b.csv").read_bytes() == b"id,x\n"
    millrace("asset", "download", "file@1", "-o", "here")
    assert [path.name for path in (millrace.folder / "here").iterdir()] == ["a.csv"]
    _, err = millrace("asset", "download", "heart@1", code=2)
    assert "heart-1 is there already" in err


def test_a_manifest_that_is_refused_makes_nothing(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    bad = manifest("good", path="a") + "---\n" + manifest("bad", path="a/../b")
    _, err = millrace("asset", "create", "-f", "-", stdin=bad, code=2)
    assert "spec.path" in err
    assert namespace.list("dataassets") == []
    _, err = millrace("asset", "create", "-f", "-", stdin=manifest("lost", path="a", dataStore="nowhere"), code=1)
    assert "DataStoreNotFound" in err
    for arguments, expected in (
        (("show", "lots"), "did you mean lost?"),
        (("show", "lost"), "no version that is Ready"),
        (("show", "lost@7"), "no version 7"),
    ):
        assert expected in millrace("asset", *arguments, code=2)[1]


def test_lineage_outlives_the_runs(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    store.put("raw/a.csv", b"id\n")
    namespace.apply(yaml.safe_load(manifest("raw", path="raw")), function("copy", COPY))
    made = [{"name": "out", "asset": "clean"}]
    place = {"name": "more", "dataStore": {"name": "store", "path": "raw"}}
    inputs = [{"name": "data", "asset": "raw@latest"}, place]
    namespace.apply(job_run("first", "copy", inputs=inputs, outputs=made))
    status = namespace.finished("first")
    assert status["phase"] == "Succeeded", status
    raw = namespace.get("dataassets", "raw")["metadata"]["uid"]
    assert {entry["name"]: entry.get("assetUid") for entry in status["inputs"]} == {"data": raw, "more": None}
    inputs = [{"name": "data", "asset": "clean@1"}]
    namespace.apply(job_run("second", "copy", inputs=inputs, outputs=[{"name": "out", "asset": "scores"}]))
    assert namespace.finished("second")["phase"] == "Succeeded"
    before = json.loads(millrace("lineage", "clean", "-o", "json")[0])
    assert [run["deleted"] for run in before["runs"]] == [False, False]
    for name in ("first", "second"):
        namespace.delete("jobruns", name)
    revision = status["functionRevision"]
    assert millrace("lineage", "clean@1")[0] == (
        "clean@1\n"
        "├─ made by\n"
        f"│  └─ run first, Function copy, revision {revision} (deleted)\n"
        "│     ├─ data: raw@1\n"
        "│     └─ more: store/paths/raw\n"
        "└─ read by\n"
        f"   └─ run second, Function copy, revision {revision} (deleted)\n"
        "      └─ scores@1\n"
    )
    found = json.loads(millrace("lineage", "raw", "-o", "json")[0])
    assert {run["name"]: run["outputs"] for run in found["runs"]} == {"first": ["clean@1"], "second": ["scores@1"]}
    [first] = [run for run in found["runs"] if run["name"] == "first"]
    assert first["inputs"][0]["sha256"] == status["inputs"][0]["sha256"]
    assert [item["metadata"]["name"] for item in namespace.list("dataassets", "millrace.dev/asset=clean")] == ["clean-1"]


def test_what_a_run_has_made_is_compared_with_its_manifest(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    store.put("raw/a.csv", b"id\n")
    place = [{"name": "data", "dataStore": {"name": "store", "path": "raw"}}]
    outputs = [{"name": "out", "asset": "plain", "archive": "None"}, {"name": "zip", "asset": "packed"}]
    namespace.apply(function("copy", BOTH))
    namespace.apply(job_run("first", "copy", inputs=place, outputs=outputs))
    assert namespace.finished("first")["phase"] == "Succeeded"
    for name in ("plain", "packed"):
        _, err = millrace("asset", "download", name)
        assert "checksum is right" in err
    assert (millrace.folder / "plain-1/a.txt").read_text() == "here"
    assert (millrace.folder / "packed-1/zip.zip").is_file()
    path = namespace.get("dataassets", "plain-1")["spec"]["path"]
    store.put(f"{path}a.txt", b"other")
    _, err = millrace("asset", "download", "plain", "--to", "again", code=2)
    assert "a.txt differs or is missing" in err
    assert not (millrace.folder / "again").exists()


pytestmark = pytest.mark.e2e
