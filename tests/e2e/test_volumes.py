"""Stores that are claims (row A4): read, mounted, written to, and missing."""

from __future__ import annotations

import json
import zipfile
from typing import Any

from support.cluster import API_VERSION, Namespace, Object, condition, function, job_run
from support.command import Command
from support.store import Bucket, becomes

MAKE = """
import os, pathlib
def main(mark):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "deep").mkdir()
    (out / "deep/a.csv").write_text(mark)
"""
MAKE_BOTH = """
import os, pathlib
def main(mark):
    for name in ("tree", "res"):
        folder = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"], name, "deep")
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(mark)
"""
TELL = """
import errno, json, os, pathlib
def main(folder, file, copy):
    found = {path.name: str(path) for path in (pathlib.Path(folder) / "deep").iterdir()}
    texts = [(pathlib.Path(copy) / "deep/a.csv").read_text(), pathlib.Path(file).read_text()]
    try:
        (pathlib.Path(folder) / "new").write_text("x")
        refused = None
    except OSError as error:
        refused = errno.errorcode[error.errno]
    told = {"found": found, "texts": texts, "refused": refused, "file": file, "claims": os.path.exists("/millrace/stores")}
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "told.json").write_text(json.dumps(told))
"""
SHOW = """
import json, pathlib, zipfile
def main(data):
    with zipfile.ZipFile(data) as archive:
        print("told " + archive.read("told.json").decode())
"""


def claim(name: str) -> Object:
    """A claim on the cluster's own storage class."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def volume(name: str, **spec: Any) -> Object:
    """A DataStore on a claim."""
    return {"apiVersion": API_VERSION, "kind": "DataStore", "metadata": {"name": name}, "spec": {"volume": spec}}


def place(name: str, store: str, path: str, **more: Any) -> Object:
    """An input or output in a store."""
    return {"name": name, "dataStore": {"name": store, "path": path}, **more}


def test_a_claim_is_written_to_then_read_and_mounted_and_main_cannot_change_it(namespace: Namespace) -> None:
    namespace.apply(
        claim("heart"),
        volume("disk", claimName="heart", subPath="team/a"),
        volume("seen", claimName="heart", readOnly=True),
        function("make", MAKE),
        function("tell", TELL),
        function("show", SHOW),
        job_run("make-1", "make", parameters={"mark": "1,2"}, outputs=[place("tree", "disk", "in", archive="None")]),
    )
    made = namespace.finished("make-1")
    assert made["phase"] == "Succeeded", made
    assert [output["uri"] for output in made["outputs"]] == ["disk/paths/in/tree/"]
    inputs = [
        place("folder", "disk", "in/tree", stage="Mount"),
        place("file", "seen", "team/a/in/tree/deep/a.csv", type="uri_file", stage="Mount"),
        place("copy", "disk", "in/tree", stage="Download"),
    ]
    namespace.apply(job_run("tell-1", "tell", inputs=inputs, outputs=[place("res", "disk", "out")]))
    told = namespace.finished("tell-1")
    assert told["phase"] == "Succeeded", told
    assert [found["identityUsed"] for found in told["inputs"]] == ["Job"] * 3
    assert told["outputs"][0]["uri"] == "disk/paths/out/res.zip"
    pod = namespace.pods("tell-1")[0]
    assert [item["persistentVolumeClaim"] for item in pod["spec"]["volumes"] if "persistentVolumeClaim" in item] == [
        {"claimName": "heart"}
    ], "two volumes of one claim would keep the pod from starting"
    last = place("data", "disk", "out/res.zip", type="uri_file", stage="Mount")
    namespace.apply(job_run("show-1", "show", inputs=[last]))
    assert namespace.finished("show-1")["phase"] == "Succeeded"
    line = next(
        line for line in namespace.kubectl("logs", "job/show-1", "-c", "main").splitlines() if line.startswith("told ")
    )
    found = json.loads(line.removeprefix("told "))
    assert found == {
        "found": {"a.csv": "/millrace/in/folder/deep/a.csv"},
        "texts": ["1,2", "1,2"],
        "refused": "EROFS",
        "file": "/millrace/in/file/a.csv",
        "claims": False,
    }


def test_a_claim_that_is_missing_is_named_and_the_waiting_run_starts_when_it_is_there(namespace: Namespace) -> None:
    run = job_run("make-1", "make", parameters={"mark": "x"}, outputs=[place("tree", "disk", "in")])
    namespace.apply(volume("disk", claimName="later"), function("make", MAKE), run)
    assert becomes(namespace, "disk", "False", "ClaimNotFound")["message"] == (
        "PersistentVolumeClaim later does not exist in this namespace"
    )
    blocked = namespace.phase("make-1", "Blocked")
    assert blocked["reason"] == "DataStoreNotReady"
    assert "ClaimNotFound: PersistentVolumeClaim later" in str(condition(blocked, "Resolved"))
    assert namespace.pods("make-1") == []
    namespace.apply(claim("later"))
    assert namespace.finished("make-1")["phase"] == "Succeeded"
    becomes(namespace, "disk", "True", "Reachable")


def test_what_a_store_of_that_kind_cannot_do_fails_with_the_field_and_before_a_pod(
    namespace: Namespace, store: Bucket
) -> None:
    namespace.apply(
        claim("heart"),
        volume("disk", claimName="heart", readOnly=True),
        function("make", MAKE),
        job_run("writes", "make", outputs=[place("tree", "disk", "in")]),
        job_run("mounts", "make", inputs=[place("mark", "store", "in", stage="Mount")]),
    )
    becomes(namespace, "disk", "True", "Reachable", seconds=60)
    for run, reason, message in (
        ("writes", "DataStoreReadOnly", "spec.outputs[tree]: DataStore disk has volume.readOnly"),
        (
            "mounts",
            "MountUnsupported",
            "spec.inputs[mark].stage: Mount is for stores of kind volume, and DataStore store is s3",
        ),
    ):
        failure = namespace.finished(run)["failure"]
        assert failure["reason"] == reason
        assert message in failure["message"]
        assert namespace.pods(run) == []


def test_what_lies_in_a_claim_is_downloaded_through_a_runs_pod(millrace: Command, namespace: Namespace) -> None:
    outputs = [place("tree", "disk", "out", archive="None"), place("res", "disk", "out")]
    namespace.apply(
        claim("heart"),
        volume("disk", claimName="heart", subPath="team/a"),
        function("make", MAKE_BOTH),
        job_run("make-1", "make", parameters={"mark": "1,2"}, outputs=outputs),
    )
    assert namespace.finished("make-1")["phase"] == "Succeeded"
    _, err = millrace("download", "make-1", "--to", "back")
    assert "DataStore disk is a volume, which is in reach of the cluster's pods only: through a run's pod" in err
    assert err.count("checksum is right") == 2
    assert (millrace.folder / "back/tree/deep/a.csv").read_text() == "1,2"
    with zipfile.ZipFile(millrace.folder / "back/res.zip") as archive:
        assert archive.read("deep/a.csv") == b"1,2"
    assert [run["metadata"]["name"] for run in namespace.list("jobruns")] == ["make-1"], "the run that fetched is removed"
    assert [found["metadata"]["name"] for found in namespace.list("functions")] == ["make"]
