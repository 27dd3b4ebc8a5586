"""A Function whose code is a zip: in a store, as an asset, wrong, missing (row B5)."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from support.cluster import API_VERSION, Namespace, Object, function, job_run
from support.command import Command
from support.store import Bucket, zipped

CODE = {
    "main.py": b"import json, os\nfrom heart.model import score\nfrom rules import LIMIT\n\n\n"
    b'def predict(value):\n    print(json.dumps({"score": score(value), "limit": LIMIT, "writable": os.access(".", os.W_OK)}))\n',
    "rules.py": b"LIMIT = 7\n",
    "heart/__init__.py": b"",
    "heart/model.py": b"from rules import LIMIT\n\n\ndef score(value):\n    return value * LIMIT\n",
    "tools/report.py": b'import rules\n\nprint("a report of", rules.LIMIT)\n',
}
PACKED = zipped(CODE)
SHA256 = hashlib.sha256(PACKED).hexdigest()
LINE = {"score": 21, "limit": 7, "writable": False}


def of_zip(name: str, uri: str, sha256: str | None = None, **entry: Any) -> Object:
    """A Function of a zip; its handler is main:predict unless it has a script."""
    found = {"zip": {"uri": uri, **({"sha256": sha256} if sha256 else {})}}
    return function(name, "", source=found, **(entry or {"handler": "main:predict"}))


def logged(namespace: Namespace, run: str) -> str:
    """What main has written."""
    return namespace.kubectl("logs", f"job/{run}", "-c", "main")


def test_a_zip_in_a_store_is_unpacked_for_a_handler_and_for_a_script_and_the_status_tells_its_sum(
    namespace: Namespace, store: Bucket
) -> None:
    store.put("code/heart.zip", PACKED)
    namespace.apply(
        of_zip("heart", "store/paths/code/heart.zip", SHA256),
        of_zip("report", f"s3://{store.name}/code/heart.zip", script="tools/report.py"),
        job_run("heart-1", "heart", parameters={"value": 3}),
        job_run("report-1", "report"),
    )
    status = namespace.finished("heart-1")
    assert status["phase"] == "Succeeded", status
    assert json.loads(logged(namespace, "heart-1")) == LINE
    assert status["source"].pop("seconds") < 60
    assert status["source"] == {"bytes": len(PACKED), "files": len(CODE), "sha256": SHA256, "identityUsed": "Store"}
    (pod,) = namespace.pods("heart-1")
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["stage"]
    assert [each["name"] for each in pod["spec"]["containers"]] == ["main"]
    assert "STORE" not in json.dumps(pod["spec"]["containers"]), "keys of a store in main"
    report = namespace.finished("report-1")
    assert (report["phase"], report["source"]["sha256"]) == ("Succeeded", SHA256), report
    assert logged(namespace, "report-1") == "a report of 7\n"
    ready = namespace.get("functions.millrace.dev", "heart")["status"]
    assert ready["source"] == {"sha256": SHA256}
    assert "source" not in namespace.get("functions.millrace.dev", "report")["status"], "nobody has said what it must be"


def test_a_version_of_an_asset_with_one_folder_at_its_top_as_github_makes_them(namespace: Namespace, store: Bucket) -> None:
    packed = zipped({f"heart-main/{name}": data for name, data in CODE.items()})
    store.put("code/heart-main.zip", packed)
    asset = {
        "apiVersion": API_VERSION,
        "kind": "DataAsset",
        "metadata": {"name": "heart-code"},
        "spec": {"type": "uri_file", "dataStore": "store", "path": "code/heart-main.zip"},
    }
    namespace.apply(
        asset, of_zip("heart", "heart-code@latest"), job_run("heart-1", "heart", parameters={"value": 3}, logs="None")
    )
    status = namespace.finished("heart-1")
    assert status["phase"] == "Succeeded", status
    assert json.loads(logged(namespace, "heart-1")) == LINE
    assert (status["source"]["asset"], status["source"]["version"]) == ("heart-code", "1")
    assert status["source"]["sha256"] == hashlib.sha256(packed).hexdigest()


@pytest.mark.parametrize(
    ("packed", "sha256", "reason", "message"),
    [
        (PACKED, "0" * 64, "ChecksumMismatch", f"its SHA-256 is {SHA256}, not the {'0' * 64}"),
        (zipped({**CODE, "../x.py": b""}), None, "SourceRejected", "'../x.py' would leave the folder"),
        (b"no zip", None, "SourceRejected", "is not a zip that can be read"),
        (None, SHA256, "StageFailed", "NotFound: source code.zip: "),
    ],
    ids=["another sum", "a member that leaves", "no zip", "missing"],
)
def test_what_is_wrong_with_a_zip_fails_the_run_at_once_and_is_named(
    namespace: Namespace, store: Bucket, packed: bytes | None, sha256: str | None, reason: str, message: str
) -> None:
    if packed is not None:
        store.put("code.zip", packed)
    retries = 0 if reason == "StageFailed" else 2
    namespace.apply(
        of_zip("heart", "store/paths/code.zip", sha256),
        job_run("heart-1", "heart", parameters={"value": 3}, retries=retries),
    )
    status = namespace.finished("heart-1")
    assert (status["phase"], status["failure"]["reason"], status["attempt"]) == ("Failed", reason, 1), status
    assert message in status["failure"]["message"]
    assert status["failure"]["container"] == "stage"


def test_a_folder_of_this_machine_is_run_and_uploaded_once(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    folder = millrace.folder / "heart"
    for name, data in {**CODE, ".git/config": b"secret", "heart/__pycache__/model.pyc": b"old"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    out, err = millrace("run", "./heart", "--handler", "main:predict", "--param", "value=3")
    assert json.loads(out) == LINE
    assert "heart.zip is heart-source@" in err
    [asset] = namespace.list("dataassets")
    assert set(store.unzip(asset["spec"]["path"])) == set(CODE)
    source = namespace.get("functions.millrace.dev", "heart")["spec"]["source"]["zip"]
    assert source == {
        "uri": f"heart-source:{asset['spec']['version']}",
        "sha256": hashlib.sha256(store.get(asset["spec"]["path"])).hexdigest(),
    }
    out, err = millrace("run", "heart", "--script", "tools/report.py")
    assert out == "a report of 7\n"
    assert "nothing is uploaded" in err
    out, _ = millrace("run", "heart", "--script", "tools/report.py", "-o", "yaml")
    assert f"uri: {source['uri']}" in out
    assert len(namespace.list("dataassets")) == 1
