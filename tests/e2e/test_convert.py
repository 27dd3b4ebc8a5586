"""Payloads of watsonx and data assets of Azure ML, converted and run (rows A22, C17, D8, D12 to D14)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from support.cluster import Namespace, Object, function
from support.command import Command
from support.store import Bucket, data_store, root_keys, secret

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "heart"
HEART = yaml.safe_load((EXAMPLE / "function.yaml").read_text())
FILES = {path.name: path.read_bytes() for path in sorted((EXAMPLE / "data").glob("*.csv"))}
# The file of the tutorial, as it stands there.
DATASET = """
$schema: https://azuremlschemas.azureedge.net/latest/data.schema.json
name: heart-dataset-unlabeled
description: An unlabeled dataset for heart classification.
type: uri_folder
path: heart-classifier-mlflow/data
"""
PLACE = "heart-classifier-mlflow/data"
# The names that the tutorial leaves open.
WORKSPACE = "/subscriptions/0b5c/resourceGroups/lab/providers/Microsoft.MachineLearningServices/workspaces/heart"
DATASTORE_ID = f"{WORKSPACE}/datastores/workspaceblobstore"
INPUTS = {
    "the id of the asset": f"{WORKSPACE.lower()}/data/heart-dataset-unlabeled/versions/1",
    "its name": "azureml:/heart-dataset-unlabeled@latest",
    "a path in the data store, by its id": f"{DATASTORE_ID}/paths/{PLACE}",
    "a path in the data store, by its name": f"azureml://datastores/workspaceblobstore/paths/{PLACE}",
}
# The payload of the documentation of jobs, as it stands there.
INLINE = """
{
"deployment": {
"id": "<deployment id>"
},
"space_id": "<your space id>",
"name": "test_v4_inline",
"scoring": {
"input_data": [{
"fields": ["AGE", "SEX", "BP", "CHOLESTEROL", "NA", "K"],
"values": [[47, "M", "LOW", "HIGH", 0.739, 0.056], [47, "M", "LOW", "HIGH", 0.739, 0.056]]
}]
}
}
"""
SHOW = """
import json, os, pathlib
print(json.dumps(json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))))
if "BATCH_INPUT_DIR" in os.environ:
    files = sorted(path.name for path in pathlib.Path(os.environ["BATCH_INPUT_DIR"]).rglob("*") if path.is_file())
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "files").write_text(" ".join(files) + os.environ["SUFFIX"])
"""


@pytest.fixture
def workspace(namespace: Namespace, bucket: Bucket) -> Bucket:
    """What the tutorial takes for granted: the default data store with the data in it, and the deployment."""
    for name, data in FILES.items():
        bucket.put(f"{PLACE}/{name}", data)
    namespace.apply(secret("keys", **root_keys()), data_store("workspaceblobstore", bucket.name, secret_name="keys"), HEART)
    return bucket


def check_scores(bucket: Bucket, status: Object) -> None:
    assert status["phase"] == "Succeeded", status
    (output,) = status["outputs"]
    found = bucket.unzip(output["uri"].removeprefix(f"s3://{bucket.name}/"))
    assert set(found) == {*FILES, "summary.json"}
    rows = {name: data.count(b"\n") - 1 for name, data in FILES.items()}
    assert {name: entry["rows"] for name, entry in json.loads(found["summary.json"]).items()} == rows


def test_the_heart_data_set_is_converted_and_each_form_of_input_reads_it(
    millrace: Command, namespace: Namespace, workspace: Bucket
) -> None:
    (millrace.folder / "heart-dataset-unlabeled.yml").write_text(DATASET)
    manifests, notes = millrace("convert", "azureml", "heart-dataset-unlabeled.yml", "--deployment", "heart")
    assert f"copy the data to {PLACE} of the namespace's default DataStore" in notes
    millrace("run", "-f", "-", stdin=manifests)
    status = namespace.status("heart-heart-dataset-unlabeled")
    (found,) = status["inputs"]
    assert (found["asset"], found["version"], found["files"]) == ("heart-dataset-unlabeled", "1", len(FILES))
    check_scores(workspace, status)
    assert status["outputs"][0]["asset"] == "heart-score"

    (millrace.folder / "heart.py").write_text(HEART["spec"]["source"]["inline"])
    for reference in INPUTS.values():
        script = ("heart.py", "--handler", "score", "--name", "invoked", "--output", "score")
        _, err = millrace("run", *script, "--input-type", "uri_folder", "--input", reference)
        status = namespace.status(next(line.split()[1] for line in err.splitlines() if line.startswith("JobRun ")))
        assert status["inputs"][0]["files"] == len(FILES), reference
        check_scores(workspace, status)

    (millrace.folder / "one.py").write_text("def main(data):\n    print(open(data).readline(), end='')\n")
    one = ("one.py", "--handler", "main", "--input-type", "uri_file")
    out, _ = millrace("run", *one, "--input", f"{DATASTORE_ID}/paths/{PLACE}/cleveland.csv")
    assert out.encode() == FILES["cleveland.csv"].splitlines(keepends=True)[0]


def test_what_is_converted_is_what_kubectl_applies(millrace: Command, namespace: Namespace, workspace: Bucket) -> None:
    manifests, _ = millrace("convert", "azureml", "-", "--deployment", "heart", stdin=DATASET)
    namespace.kubectl("apply", "--validate=strict", "-f", "-", stdin=manifests)
    check_scores(workspace, namespace.finished("heart-heart-dataset-unlabeled"))
    assert "unchanged" in namespace.kubectl("apply", "--validate=strict", "-f", "-", stdin=manifests)


def test_the_inline_payload_runs_as_it_stands_in_the_documentation(millrace: Command, namespace: Namespace) -> None:
    namespace.apply(function("drug", SHOW, script="main.py"))
    manifests, _ = millrace("convert", "watsonx", "-", "--deployment", "drug", stdin=INLINE)
    out, _ = millrace("run", "-f", "-", stdin=manifests)
    payload = json.loads(out)
    assert payload["scoring"] == json.loads(INLINE)["scoring"]
    assert payload["name"] == "test-v4-inline"


def test_a_payload_with_references_runs_and_what_is_missing_is_refused(
    millrace: Command, namespace: Namespace, workspace: Bucket
) -> None:
    namespace.apply(function("show", SHOW, script="main.py"))
    namespace.kubectl("apply", "-f", "-", stdin=millrace("convert", "azureml", "-", stdin=DATASET)[0])
    payload = {
        "deployment": {"id": "d-1"},
        "space_id": "s-1",
        "name": "References",
        "scoring": {
            "input_data_references": [
                {
                    "id": "managed",
                    "type": "data_asset",
                    "connection": {},
                    "location": {"href": "/v2/assets/a-1?space_id=s-1"},
                },
                {
                    "id": "remote",
                    "type": "connection_asset",
                    "connection": {"id": "c-1"},
                    "location": {"bucket": workspace.name, "file_name": f"{PLACE}/cleveland.csv"},
                },
            ],
            "output_data_reference": {"type": "data_asset", "connection": {}, "location": {"name": "shown"}},
            "environment_variables": {"SUFFIX": " $(HOME) $5"},
        },
    }
    (millrace.folder / "payload.json").write_text(json.dumps(payload))
    ids = ["--deployment", "show", "--asset", "a-1=heart-dataset-unlabeled"]
    out, err = millrace("convert", "watsonx", "payload.json", *ids, code=2)
    assert out == ""
    assert "scoring.input_data_references[1].connection.id: the id c-1 means nothing here" in err
    manifests, _ = millrace("convert", "watsonx", "payload.json", *ids, "--store", "c-1=workspaceblobstore")
    out, _ = millrace("run", "-f", "-", stdin=manifests)
    _, remote = json.loads(out)["scoring"]["input_data_references"]
    assert remote["type"] == "connection_asset"
    assert remote["location"] == {"bucket": workspace.name, "path": f"{PLACE}/cleveland.csv"}
    made = namespace.get("dataassets", "shown-1")
    # Only the managed one was downloaded; the connected one is the script's.
    assert workspace.unzip(made["spec"]["path"]) == {"files": (" ".join(sorted(FILES)) + " $(HOME) $5").encode()}
