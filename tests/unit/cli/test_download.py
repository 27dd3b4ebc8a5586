"""Which outputs are fetched, from where, and that they are what the run published."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from millrace.api.datastore import DataStore
from millrace.api.jobrun import JobRun, OutputStatus
from millrace.cli import download as d
from millrace.cli.errors import Refused

from .runs import run

OUTPUTS = [{"name": "scores", "uri": "s3://bbb/p/scores.zip"}, {"name": "model", "uri": "s3://c/m/model/"}]


def data_store(name: str, bucket: str, *, default: bool = False, **more: str) -> DataStore:
    annotations = {"millrace.dev/is-default": "true"} if default else {}
    meta = {
        "name": name,
        "namespace": "ns",
        "uid": name,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "annotations": annotations,
    }
    return DataStore.model_validate({"metadata": meta, "spec": {"s3": {"bucket": bucket, **more}}})


def with_output(spec: dict[str, Any]) -> JobRun:
    found = run("Succeeded", outputs=OUTPUTS)
    raw = {**found.model_dump(by_alias=True), "spec": {"functionRef": {"name": "f"}, "outputs": [spec]}}
    return JobRun.model_validate(raw)


def test_all_outputs_or_those_that_are_named() -> None:
    found = run("Succeeded", outputs=OUTPUTS)
    assert [output.name for output in d.choose(found, [])] == ["scores", "model"]
    assert [output.name for output in d.choose(found, ["model"])] == ["model"]


@pytest.mark.parametrize(
    ("found", "names", "message"),
    [
        (run("Succeeded", outputs=OUTPUTS), ["score"], "the run has no output score; it has scores, model"),
        (run("Running", reason="Running"), [], "JobRun score-1 is not over: Running"),
        (run("Succeeded"), [], "it announces no outputs"),
    ],
)
def test_refusals(found: JobRun, names: list[str], message: str) -> None:
    with pytest.raises(Refused) as refused:
        d.choose(found, names)
    assert message in refused.value.message


def test_an_output_lies_where_its_uri_says() -> None:
    scores, model = (d.place_of(OutputStatus.model_validate(output)) for output in OUTPUTS)
    assert (scores.bucket, scores.key, scores.is_folder) == ("bbb", "p/scores.zip", False)
    assert (model.bucket, model.key, model.is_folder) == ("c", "m/model/", True)
    kinds = {"s3://b/k": "s3", "az://b/k": "azureBlob", "gs://b/k": "gcs", "disk/paths/k": "volume"}
    assert {uri: d.place_of(OutputStatus(name="x", uri=uri)).kind for uri in kinds} == kinds
    with pytest.raises(Refused, match="cannot fetch"):
        d.place_of(OutputStatus(name="x", uri="file:///b/k"))


@pytest.mark.parametrize(
    ("spec", "stores", "expected"),
    [
        ({"name": "scores", "dataStore": {"name": "two", "path": "p"}}, ["one:bbb", "two:bbb"], "two"),
        ({"name": "scores", "asset": "scores"}, ["one:bbb", "two:bbb:default"], "two"),
        ({"name": "scores", "asset": "scores"}, ["one:bbb", "two:other:default"], "one"),  # the default has changed since
        ({"name": "scores", "dataStore": {"name": "gone", "path": "p"}}, ["one:bbb"], "one"),
    ],
)
def test_the_store_that_reaches_an_output(spec: dict[str, Any], stores: list[str], expected: str) -> None:
    known = {
        name: data_store(name, bucket, default=bool(default))
        for name, bucket, *default in (text.split(":") for text in stores)
    }
    output = OutputStatus.model_validate(OUTPUTS[0])
    assert d.source_of(with_output(spec), output, known).store.metadata.name == expected


@pytest.mark.parametrize(
    ("uri", "more", "path", "kind"),
    [
        ("s3://bbb/p/scores.zip", {}, "p/scores.zip", "uri_file"),
        ("s3://bbb/p/scores.zip", {"prefix": "p"}, "scores.zip", "uri_file"),
        ("s3://bbb/p/model/", {"prefix": "p"}, "model", "uri_folder"),
        ("s3://bbb/p/model/manifest.json", {"prefix": "p"}, "model", "uri_folder"),
    ],
)
def test_an_output_is_fetched_by_its_path_below_the_prefix(uri: str, more: dict[str, str], path: str, kind: str) -> None:
    output = OutputStatus(name="scores", uri=uri, bytes=7)
    found = d.source_of(run("Succeeded"), output, {"one": data_store("one", "bbb", **more)})
    assert (found.path, found.type, found.bytes) == (path, kind, 7)


@pytest.mark.parametrize(("bucket", "more"), [("xxx", {}), ("bbb", {"prefix": "q"}), ("bbb", {"prefix": "p/s"})])
def test_an_output_that_no_store_leads_to_is_refused(bucket: str, more: dict[str, str]) -> None:
    output = OutputStatus.model_validate(OUTPUTS[0])
    with pytest.raises(Refused, match=r"no DataStore of the namespace leads to s3://bbb/p/scores\.zip"):
        d.source_of(run("Succeeded"), output, {"one": data_store("one", bucket, **more)})


def test_an_output_in_a_claim_is_fetched_by_the_store_of_that_name() -> None:
    claim = data_store("disk", "bbb").model_dump(by_alias=True, exclude_none=True)
    claim["spec"] = {"volume": {"claimName": "c"}}
    stores = {"disk": DataStore.model_validate(claim), "paths": data_store("paths", "disk-b", default=True)}
    found = d.source_of(run("Succeeded"), OutputStatus(name="res", uri="disk/paths/out/res.zip"), stores)
    assert (found.store.metadata.name, found.path, found.type) == ("disk", "out/res.zip", "uri_file")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_zip_is_compared_with_the_status(tmp_path: Path) -> None:
    (tmp_path / "scores.zip").write_bytes(b"zip")
    output = OutputStatus(name="scores", uri="s3://bbb/p/scores.zip", sha256=digest(b"zip"), files=4)
    assert d._check(output, d.place_of(output), tmp_path) == 4
    with pytest.raises(Refused, match="checksum differs"):
        d._check(output.model_copy(update={"sha256": digest(b"other")}), d.place_of(output), tmp_path)


def folder(tmp_path: Path, **changed: bytes) -> OutputStatus:
    entries = [
        {"path": "a", "size": 1, "sha256": digest(b"1"), "mode": "0755"},
        {"path": "sub/", "size": 0, "sha256": digest(b""), "mode": "0755"},
        {"path": "manifest.json", "key": "manifest.user.json", "size": 1, "sha256": digest(b"2"), "mode": "0644"},
    ]
    manifest = json.dumps({"version": 1, "files": entries}).encode()
    files = {"a": b"1", "manifest.user.json": b"2", "stale": b"old", "manifest.json": manifest} | changed
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return OutputStatus(name="model", uri="s3://c/m/model/", sha256=digest(manifest))


def test_a_folder_is_compared_with_its_manifest_and_older_files_are_left_out(tmp_path: Path) -> None:
    output = folder(tmp_path)
    assert d._check(output, d.place_of(output), tmp_path) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "manifest.json", "manifest.user.json"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755


def test_a_file_that_differs_from_the_manifest_is_refused(tmp_path: Path) -> None:
    output = folder(tmp_path, a=b"x")
    with pytest.raises(Refused, match="a differs or is missing"):
        d._check(output, d.place_of(output), tmp_path)
