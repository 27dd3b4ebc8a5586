"""What is converted to what is in tests/golden/convert and docs/convert.md; here is what is refused, and that nothing is lost."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.api.base import Model
from millrace.api.dataasset import DataAssetSpec
from millrace.api.jobrun import JobRunSpec
from millrace.cli.documents import read_documents, write_documents
from millrace.domain.convert.azureml import convert_azureml
from millrace.domain.convert.fields import ConversionRefused, Converted, Options
from millrace.domain.convert.watsonx import convert_watsonx
from millrace.protocol import PAYLOAD_LIMIT

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "convert"
EVERYTHING = json.loads((GOLDEN / "every-reference.json").read_text())
OPTIONS = Options(
    deployment="heart",
    stores={"c1": "clinic", "c1/results": "results", "v1": "volume", EVERYTHING["space_id"]: "space"},
    assets={"a1": "patients@latest", "a2": "heart:3"},
)
HEART: dict[str, Any] = {
    "$schema": "https://azuremlschemas.azureedge.net/latest/data.schema.json",
    "name": "heart-dataset-unlabeled",
    "description": "An unlabeled dataset for heart classification.",
    "type": "uri_folder",
    "path": "heart-classifier-mlflow/data",
}
MODELS: dict[str, type[Model]] = {"JobRun": JobRunSpec, "DataAsset": DataAssetSpec}
CANARY = "c4n4ry"


def payload(**top: Any) -> dict[str, Any]:
    return {"deployment": {"id": "d"}, **top}


def scoring(**fields: Any) -> dict[str, Any]:
    return payload(scoring=fields)


def reads(**reference: Any) -> dict[str, Any]:
    return scoring(input_data_references=[reference])


def writes(kind: str, location: dict[str, Any], **more: Any) -> dict[str, Any]:
    return scoring(output_data_reference={"type": kind, "location": location, **more})


def connected(location: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "connection_asset", "connection": {"id": "c1"}, "location": location, **more}


IN = "scoring.input_data_references[0]"
OUT = "scoring.output_data_reference"
WATSONX: list[tuple[Any, str]] = [
    ([], "an object is expected"),
    (payload(deployment=7), "deployment: an object is expected"),
    (payload(deployment={"id": "d", "name": "x"}), "deployment.name: is not known here; known are id"),
    (payload(deployment={"id": "d", "remote": {"type": "Hadoop"}}), "deployment.remote: Hadoop is not supported"),
    (payload(asset={"type": "data_flow"}), "asset: flows are not supported"),
    (payload(hybrid_flow=1), "hybrid_flow: flows are not supported"),
    (payload(typo=1), "typo: is not known here; known are deployment, description,"),
    (payload(typo=None), "typo: is not known here"),
    (payload(project_id="p"), "project_id: only jobs of a space are converted"),
    (payload(schedule="0 0 * * *"), "schedule: belongs to a Deployment"),
    (payload(tags=["a"]), "tags: has no counterpart"),
    (payload(name=7), "name: a text is expected"),
    (payload(name="Ünï_…"[2:3]), "name: no name can be made of it"),
    (payload(description="x" * 1025), "as description: String should have at most 1024"),
    (payload(hardware_spec={"id": "h"}), "hardware_spec.id: an id of watsonx means nothing here"),
    (payload(hardware_spec={"num_nodes": 1}), "hardware_spec.name: is missing"),
    (payload(hardware_spec={"name": "S", "num_nodes": 2}), "hardware_spec.num_nodes: a run has one pod"),
    (payload(scoring=[1]), "scoring: an object is expected"),
    (scoring(query="x"), "scoring.query: is not known here"),
    (scoring(input_data={"values": [[1]]}), "scoring.input_data: a list is expected"),
    (scoring(input_data=[{"fields": ["a"]}]), "scoring.input_data[0].values: a list is expected"),
    (scoring(input_data=[{"id": "x.csv", "values": [[1]]}]), "scoring.input_data[0].id: inline data has no name"),
    (
        scoring(input_data=[{"values": [[1]]}, {"fields": ["a", "b"], "values": [[1, 2], [1]]}]),
        "scoring.input_data[1].values[1]: 1 values, but 2 fields",
    ),
    (scoring(input_data=[{"fields": ["a"], "values": [1]}]), "scoring.input_data[0].values[0]: a list is expected"),
    (scoring(input_data=[{"fields": [1], "values": [[1]]}]), "scoring.input_data[0].fields[0]: a text is expected"),
    (scoring(input_data=[{"values": ["x" * PAYLOAD_LIMIT]}]), f"bytes inline; a run takes {PAYLOAD_LIMIT}"),
    (scoring(environment_variables=["A"]), "scoring.environment_variables: an object is expected"),
    (scoring(environment_variables={"1X": "a"}), "scoring.environment_variables.1X: not a name of an environment variable"),
    (scoring(environment_variables={"A\n": "a"}), "not a name of an environment variable"),
    (scoring(environment_variables={"JOBS_PAYLOAD_FILE": "a"}), "JOBS_PAYLOAD_FILE: reserved for millrace"),
    (scoring(environment_variables={"MILLRACE_X": "a"}), "MILLRACE_X: reserved for millrace"),
    (scoring(environment_variables={"A": 1}), "scoring.environment_variables.A: the value of a variable is a text"),
    (scoring(environment_variables={"A": "\0"}), "as environmentVariables.A:"),
    (reads(), f"{IN}.type: one of data_asset, connection_asset, container, fs, url is expected"),
    (reads(type="hdfs"), f"{IN}.type: Hadoop is not supported"),
    (reads(type="data_flow"), f"{IN}.type: flows are not supported"),
    (reads(type=["fs"]), f"{IN}.type: one of data_asset"),
    (reads(type="url", connection={"url": f"https://u:{CANARY}@h/x"}), "a credential in an address"),
    (
        reads(type="url", connection={"url": "s3://bucket/x"}),
        f"{IN}.connection.url: the https address of a file is expected",
    ),
    (reads(type="url", connection={"url": "http://h/x"}), f"{IN}.connection.url: the https address of a file is expected"),
    (reads(type="url", connection={"url": "https://h/x", "headers": {"A": CANARY}}), f"{IN}.connection.headers: a file is"),
    (
        reads(type="url", connection={"url": "https://h/x", "verb": "POST"}),
        f"{IN}.connection.verb: a file is fetched with GET",
    ),
    (reads(type="url", connection={"url": "https://h/x"}, location={"path": "a"}), f"{IN}.location: goes without"),
    (reads(type="url", connection={"id": "c1"}), f"{IN}.connection.id: is not known here; known are url, verb"),
    (reads(type="url", location={"href": "heart@latest"}), f"{IN}.location.href: the https address of a file is expected"),
    (reads(type="url"), f"{IN}.location: an object is expected"),
    (reads(type="data_asset"), f"{IN}.location: an object is expected"),
    (reads(type="data_asset", location={}), f"{IN}.location.href: is missing"),
    (
        reads(type="data_asset", location={"href": "/v2/assets/other"}),
        f"{IN}.location.href: the id other means nothing here",
    ),
    (reads(type="data_asset", location={"href": f"https://h/x?sig={CANARY}"}), "/v2/assets/ASSET_ID?space_id=SPACE_ID"),
    (
        {**reads(type="data_asset", location={"href": "/v2/assets/a1?space_id=b"}), "space_id": "a"},
        f"{IN}.location.href: it is of another space",
    ),
    (reads(type="data_asset", location={"href": "/v2/assets/a1", "id": 1}), f"{IN}.location.id: is not known here"),
    (
        reads(type="data_asset", connection={"id": "c1"}, location={"href": "/v2/assets/a1"}),
        f"{IN}.connection: goes with bucket, file_name and path of a connection_asset only",
    ),
    (reads(**connected({"path": "x"}, schema={"fields": [1]})), f"{IN}.schema: has no counterpart"),
    (reads(**connected({"path": "x"}, what=1)), f"{IN}.what: is not known here"),
    (reads(**connected({"path": "x"}, connection={})), f"{IN}.connection.id: is missing"),
    (reads(**connected({"path": "x"}, connection={"id": "c9"})), f"{IN}.connection.id: the id c9 means nothing here"),
    (
        reads(**connected({"path": "x"}, connection={"id": "c1", "secret_access_key": CANARY})),
        f"{IN}.connection.secret_access_key: credentials do not belong into a manifest",
    ),
    (reads(**connected({"path": "x"}, connection={"id": "c1", "key": CANARY})), f"{IN}.connection.key: is not known here"),
    (reads(**connected({"table_name": "x"})), f"{IN}.location.table_name: tables of databases are not supported"),
    (reads(**connected({"bucket": "b"})), f"{IN}.location: exactly one of file_name and path is expected"),
    (reads(**connected({"path": "a", "file_name": "b"})), f"{IN}.location: exactly one of file_name and path"),
    (reads(**connected({"path": "a/../b"})), f"{IN}.location.path: a path of a store is expected, without"),
    (reads(**connected({"path": "/.millrace/runs"})), f"{IN}.location.path: a path of a store is expected, without"),
    (reads(**connected({"file_name": "."})), f"{IN}.location.file_name: a path of a store is expected"),
    (reads(**connected({"path": "hdfs://n/x"})), f"{IN}.location.path: Hadoop is not supported"),
    (reads(**connected({"path": "https://n/x"})), f"{IN}.location.path: a path in a store is expected, and this is an"),
    (reads(**connected({"path": "a\nb"})), f"{IN}: as dataStore.path: String should match"),
    (reads(type="container", location={"path": "x"}), f"{IN}.location: the space's own storage means nothing here"),
    (reads(**connected({"path": "x"}, id="…")), f"{IN}.id: no name can be made of it"),
    (reads(**connected({"path": "x"}, id="x" * 64)), f"{IN}: as name: String should have at most 63"),
    (
        scoring(input_data_references=[connected({"path": "x"}, id="a.b"), connected({"path": "y"}, id="a_b")]),
        f"{IN}.id: two are named a-b",
    ),
    (
        scoring(input_data_references=[connected({"bucket": "b", "path": "x"}), connected({"bucket": "c", "path": "x"})]),
        "scoring.input_data_references[1].location.bucket: DataStore clinic stands for the bucket b already",
    ),
    (writes("data_asset", {}), f"{OUT}.location: exactly one of name"),
    (writes("data_asset", {"name": "a", "href": "s3://bucket/x"}), f"{OUT}.location: exactly one of name"),
    (writes("data_asset", {"name": "a", "description": "b"}), f"{OUT}.location.description: has no counterpart"),
    (writes("data_asset", {"name": "x" * 64}), f"{OUT}: as name: String should have at most 63"),
    (
        writes("data_asset", {"href": "/v2/assets/a1?space_id=s"}),
        f"{OUT}.location.href: an id of watsonx means nothing here",
    ),
    (writes("data_asset", {"href": "heart@latest"}), f"{OUT}.location.href: a version of an asset is never written again"),
    (writes("url", {"href": "hdfs://name/x"}), f"{OUT}.location.href: hdfs://name/x: Hadoop is not supported"),
    (writes("url", {"href": f"https://h/x?sig={CANARY}"}), "a credential in an address"),
    (writes("url", {"href": "s3://bucket/x"}, connection={"id": "c1"}), f"{OUT}.connection: goes with bucket"),
    (writes("container", {"path": "x"}), f"{OUT}.location: an output in the space's own storage is a data asset"),
    (writes("connection_asset", {"path": "x"}), f"{OUT}.connection: an object is expected"),
    (
        scoring(
            output_data_reference={"type": "url", "location": {"href": "s3://bucket/x"}},
            output_data_references=[{"type": "url", "location": {"href": "s3://bucket/y"}}],
        ),
        f"{OUT}: it is not the first of output_data_references",
    ),
]
AZUREML: list[tuple[dict[str, Any], str]] = [
    ({"$schema": None}, "$schema: is missing"),
    ({"$schema": "https://example.org/latest/data.schema.json"}, "$schema: is not known here"),
    ({"$schema": HEART["$schema"].replace("data.", "pipelineJob.")}, "$schema: is not known here"),
    ({"$schema": HEART["$schema"].replace("data.", "MLTable.")}, "$schema: tables (MLTable) are not supported"),
    ({"$schema": HEART["$schema"].replace("latest/data.", "promptflow/latest/Flow.")}, "$schema: flows are not supported"),
    (
        {"$schema": HEART["$schema"].replace("data.", "azureDataLakeGen1.")},
        "$schema: Azure Data Lake Storage Gen1 was retired",
    ),
    ({"$schema": HEART["$schema"].replace("data.", "azureBlob.")}, "$schema: a DataStore is written by hand"),
    ({"name": None}, "name: is missing"),
    ({"name": 3}, "name: a text is expected"),
    ({"name": "…"}, "name: as asset: String should"),
    ({"name": "a" * 64}, "name: as asset: String should have at most 63"),
    ({"version": 1.1}, "version: write it in quotes"),
    ({"version": True}, "version: write it in quotes"),
    ({"version": "latest"}, "version: latest is no version"),
    ({"version": "a b"}, "version: as version: String should match"),
    ({"version": ["1"]}, "version: a text is expected"),
    ({"description": "x" * 1025}, "description: as description: String should have at most"),
    ({"type": "mltable"}, "type: tables (MLTable) are not supported"),
    ({"type": "FileDataset"}, "type: datasets of Azure ML v1 (FileDataset) are not supported"),
    ({"type": "folder"}, "type: one of uri_folder, uri_file is expected"),
    ({"type": {"a": 1}}, "type: one of uri_folder"),
    ({"path": None}, "path: is missing"),
    ({"path": "../data"}, "path: a path of a store is expected"),
    ({"path": "/home/me/data"}, "path: a path of a machine means nothing in a cluster"),
    ({"path": "~/data"}, "path: a path of a machine"),
    ({"path": "C:\\data"}, "path: a path of a machine"),
    ({"path": "https://account.blob.core.windows.net/data/x"}, "path: an address is no place of an asset in this version"),
    (
        {"path": "adl://account.azuredatalakestore.net/x"},
        "path: adl://account.azuredatalakestore.net/x: Azure Data Lake Storage Gen1",
    ),
    ({"path": "wasbs://c@account.blob.core.windows.net/x"}, "abfss://"),
    ({"path": f"https://account.blob.core.windows.net/x?sig={CANARY}"}, "a credential in an address"),
    ({"path": "azureml:other:1"}, "path: it names another asset"),
    ({"path": "azureml://datastores/s/paths/a/../b"}, "path: azureml://datastores/s/paths/a/../b: the path must not"),
    ({"path": "azureml://datastores/s/paths/.millrace/x"}, "path: a path of a store is expected"),
    ({"path": "azureml://jobs/j/outputs/x"}, "path: azureml://jobs/j/outputs/x: not a reference"),
    ({"tags": {"team": "flow"}}, "tags: has no counterpart"),
    ({"properties": {"a": "b"}}, "properties: has no counterpart"),
    ({"mltable_schema_url": "x"}, "mltable_schema_url: tables (MLTable) are not supported"),
    ({"stage": "Archived"}, "stage: is not known here; known are $schema, description,"),
]


@pytest.mark.parametrize(("document", "message"), WATSONX, ids=[message[:60] for _, message in WATSONX])
def test_a_payload_without_a_counterpart_is_refused_by_its_field(document: Any, message: str) -> None:
    with pytest.raises(ConversionRefused) as refused:
        convert_watsonx(document, OPTIONS)
    assert message in str(refused.value)
    assert CANARY not in str(refused.value) + refused.value.hint


@pytest.mark.parametrize(("change", "message"), AZUREML, ids=[message[:60] for _, message in AZUREML])
def test_a_data_asset_without_a_counterpart_is_refused_by_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionRefused) as refused:
        convert_azureml({**HEART, **change}, OPTIONS)
    assert message in str(refused.value)
    assert CANARY not in str(refused.value) + refused.value.hint


def test_an_id_of_a_deployment_needs_a_name() -> None:
    with pytest.raises(ConversionRefused, match=r"^deployment\.id: ") as refused:
        convert_watsonx(payload(), Options())
    assert "--deployment NAME" in refused.value.hint


def test_empty_lists_and_objects_are_absent() -> None:
    empty = scoring(
        input_data=[],
        input_data_references=[],
        output_data_reference={},
        output_data_references=[],
        environment_variables={},
    )
    (run,) = convert_watsonx({**empty, "tags": [], "description": ""}, OPTIONS).manifests
    assert run["spec"] == {"functionRef": {"name": "heart"}}


def test_a_version_is_in_the_name_and_in_what_the_run_reads() -> None:
    asset, run = convert_azureml({**HEART, "version": 3}, OPTIONS).manifests
    assert (asset["metadata"]["name"], asset["spec"]["version"]) == ("heart-dataset-unlabeled-3", "3")
    assert run["spec"]["inputs"][0]["asset"] == "heart-dataset-unlabeled:3"


@pytest.mark.parametrize(
    ("path", "store", "inside"),
    [
        ("data", None, "data"),
        ("./data/", None, "data/"),
        ("a/paths/b", None, "a/paths/b"),
        ("azureml://datastores/c1/paths/b/c", "clinic", "b/c"),
        ("azureml://datastores/workspaceblobstore/paths/b", "workspaceblobstore", "b"),
        ("azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/My_Store/paths/b", "my-store", "b"),
    ],
)
def test_the_path_of_an_asset_is_a_place(path: str, store: str | None, inside: str) -> None:
    spec = convert_azureml({**HEART, "path": path}, OPTIONS).manifests[0]["spec"]
    assert (spec.get("dataStore"), spec["path"]) == (store, inside)


# Properties: whatever comes in, it is refused, or what is printed is what our own models and reader take.


def check(done: Converted) -> None:
    for made in done.manifests:
        MODELS[made["kind"]].model_validate(made["spec"], extra="forbid", by_alias=True, by_name=False)
    assert read_documents(write_documents(done.manifests), "f") == done.manifests


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        yield from places(entry, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    found = copy.deepcopy(value)
    inner = found
    for key in at[:-1]:
        inner = inner[key]
    inner[at[-1]] = new
    return found


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from(["data_asset", "connection_asset", "url", "hdfs", "..", "a/../b", "s3://bucket/x", "c1", "latest"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "type", "name", "path", "bucket", "x", "href"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.sampled_from(list(places(EVERYTHING))), ANYTHING)
def test_a_payload_with_anything_anywhere_is_converted_or_refused(at: tuple[Any, ...], new: Any) -> None:
    changed = replaced(EVERYTHING, at, new)
    try:
        check(convert_watsonx(changed, OPTIONS))
    except ConversionRefused as refused:
        assert str(refused)


@given(st.sampled_from([*HEART, "version", "tags", "else"]), ANYTHING)
def test_a_data_asset_with_anything_anywhere_is_converted_or_refused(key: str, new: Any) -> None:
    try:
        check(convert_azureml({**HEART, key: new}, OPTIONS))
    except ConversionRefused as refused:
        assert str(refused)


@given(st.sampled_from([at for at in places(EVERYTHING) if at]), st.text(st.sampled_from("abcxyz"), min_size=12))
def test_a_field_that_is_not_known_is_never_left_out(at: tuple[Any, ...], key: str) -> None:
    inner = EVERYTHING
    for step in at:
        inner = inner[step]
    assume(isinstance(inner, dict) and "environment_variables" not in at)
    with pytest.raises(ConversionRefused, match=f"{key}|connection: goes with|location: goes without"):
        convert_watsonx(replaced(EVERYTHING, (*at, key), 1), OPTIONS)


@given(
    st.dictionaries(
        st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,9}\Z"),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    )
)
def test_variables_and_rows_arrive_as_they_are(variables: dict[str, str]) -> None:
    rows = [[key, value] for key, value in variables.items()]
    data = [{"fields": ["key", "value"], "values": rows}] if rows else []
    done = convert_watsonx(scoring(environment_variables=variables, input_data=data), OPTIONS)
    (run,) = read_documents(write_documents(done.manifests), "f")
    assert run["spec"].get("environmentVariables", {}) == variables
    assert run["spec"].get("inputData", []) == data
