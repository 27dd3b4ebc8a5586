"""Options of `millrace run SCRIPT`."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.cli import arguments as a
from millrace.cli.errors import Refused


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2d", 172800), ("45", 45), ("0", 0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert a.duration("--timeout", text) == seconds


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=3", 3),
        ("n=0.5", 0.5),
        ("n=true", True),
        ("n=null", None),
        ("n=[1, 2]", [1, 2]),
        ('n={"a": 1}', {"a": 1}),
        ("n=text", "text"),
        ('n="5"', "5"),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ("n=hé", "hé"),
    ],
)
def test_parameters_keep_their_json_type(text: str, value: Any) -> None:
    assert a.parameter(text) == ("n", value)


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("data=heart/paths/a/b", {"name": "data", "dataStore": {"name": "heart", "path": "a/b"}, "stage": "Download"}),
        ("d=azureml://datastores/h/paths/a", {"name": "d", "dataStore": {"name": "h", "path": "a"}, "stage": "Download"}),
        ("d=heart@latest", {"name": "d", "asset": "heart@latest", "stage": "Download"}),
        ("d=azureml:heart:3", {"name": "d", "asset": "azureml:heart:3", "stage": "Download"}),
        (
            "d:uri_file=h/paths/a.csv",
            {"name": "d", "dataStore": {"name": "h", "path": "a.csv"}, "type": "uri_file", "stage": "Download"},
        ),
    ],
)
def test_inputs(text: str, entry: dict[str, Any]) -> None:
    assert a.input_entry(text) == entry


@pytest.mark.parametrize("uri", ["https://data.test/a.csv?x=1", "https://account1.blob.core.windows.net/data/a.csv"])
def test_a_web_address_is_a_file(uri: str) -> None:
    assert a.input_entry(f"rows={uri}") == {"name": "rows", "uri": uri, "type": "uri_file", "stage": "Download"}


BLOBS = "https://azuremlexampledata.blob.core.windows.net/data/heart-disease-uci/data"
WORKSPACE = "/subscriptions/1-2/resourcegroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"


@pytest.mark.parametrize(
    ("text", "kind", "canonical"),
    [
        ("data=heart/paths/a", None, "data=heart/paths/a"),
        ("heart/paths/a", None, "data=heart/paths/a"),
        ("heart/paths/year=2026/a", None, "data=heart/paths/year=2026/a"),
        ("d=heart/paths/year=2026/a", None, "d=heart/paths/year=2026/a"),
        ("azureml:/heart@latest", None, "data=azureml:/heart@latest"),
        (f"{WORKSPACE}/data/heart/versions/3", None, f"data={WORKSPACE}/data/heart/versions/3"),
        ("https://example.org/a?b=c", "uri_file", "data:uri_file=https://example.org/a?b=c"),
        ("heart/paths/a.csv", "uri_file", "data:uri_file=heart/paths/a.csv"),
        ("d=heart/paths/a", "uri_folder", "d:uri_folder=heart/paths/a"),
        ("d:uri_file=heart/paths/a", "uri_file", "d:uri_file=heart/paths/a"),
        ("./csvs", None, "data=./csvs"),
    ],
)
def test_an_input_without_a_name_is_data_and_its_type_may_stand_apart(text: str, kind: str | None, canonical: str) -> None:
    assert a.input_texts([text], kind) == [canonical]


def test_a_type_that_contradicts_or_belongs_to_nothing_is_refused() -> None:
    with pytest.raises(Refused, match="--input-type says uri_folder"):
        a.input_texts(["d:uri_file=heart/paths/a"], "uri_folder")
    with pytest.raises(Refused, match="--input-type: it says what --input is, and there is none"):
        a.input_texts([], "uri_file")
    with pytest.raises(Refused, match="--input data: given twice"):
        a.unique("--input", [a.input_entry(text) for text in a.input_texts(["h/paths/a", "h/paths/b"], None)])


@pytest.mark.parametrize(
    ("reference", "entry"),
    [
        (f"{WORKSPACE}/data/heart/versions/3", {"asset": f"{WORKSPACE}/data/heart/versions/3"}),
        ("azureml:/heart@latest", {"asset": "azureml:/heart@latest"}),
        (f"{WORKSPACE}/datastores/blobs/paths/uci", {"dataStore": {"name": "blobs", "path": "uci"}}),
        (f"{BLOBS}/heart.csv", {"uri": f"{BLOBS}/heart.csv", "type": "uri_file"}),
        ("azureml://datastores/blobs/paths/uci", {"dataStore": {"name": "blobs", "path": "uci"}}),
    ],
)
def test_the_forms_of_azure_ml_are_inputs(reference: str, entry: dict[str, Any]) -> None:
    (text,) = a.input_texts([reference], None)
    assert a.input_entry(text) == {"name": "data", **entry, "stage": "Download"}


def test_outputs() -> None:
    assert a.output_entry("s=heart/paths/out/") == {"name": "s", "dataStore": {"name": "heart", "path": "out/"}}
    assert a.output_entry("scores") == {"name": "scores", "asset": "scores"}


@pytest.mark.parametrize(
    ("parse", "text", "message", "hint"),
    [
        (a.input_entry, "data", "NAME=STORE/paths/PATH is expected", ""),
        (a.input_entry, "data=./folder", "a file or folder of this machine", "kubectl get datastores"),
        (a.input_entry, "data=C:\\x", "a file or folder of this machine", "kubectl get datastores"),
        (a.input_entry, "data=s3://data/k", "an address is not taken here yet", "DataStore"),
        (a.output_entry, "scores=heart@latest", "a run makes the next version by itself", "--output heart"),
        (a.input_entry, "Data=h/paths/a", "the name 'Data'", ""),
        (a.input_entry, "data:folder=h/paths/a", "the type 'folder' is none of uri_folder, uri_file", ""),
        (a.input_entry, f"data:uri_folder={BLOBS}", "a web address has files only", "make a DataStore"),
        (a.input_entry, "data=h/paths/../a", "must not have the segments . or ..", ""),
        (a.output_entry, "s=somewhere", "NAME alone for an asset", ""),
        (a.output_entry, "s_s", "the name 's_s'", ""),
        (a.parameter, "x", "NAME=VALUE is expected", ""),
        (a.parameter, "x=NaN", "JSON has no NaN", "--param 'x=\"NaN\"'"),
        (a.variable, "1a=b", "'1a' is no name of a variable", ""),
    ],
)
def test_refusals_say_what_and_what_to_do(parse: Any, text: str, message: str, hint: str) -> None:
    with pytest.raises(Refused) as refused:
        parse(text)
    assert text in refused.value.message
    assert message in refused.value.message
    assert hint in " ".join(refused.value.hints)


def test_two_inputs_of_one_name_are_refused() -> None:
    with pytest.raises(Refused, match="given twice"):
        a.unique("--input", [{"name": "a"}, {"name": "a"}])


def test_requirements_are_read_without_comments() -> None:
    text = "# all\npandas==2.3.3  # why\n\nnumpy>=1,\\\n<3\nx @ https://host/x.whl#sha256=1\n"
    assert a.requirements(text, "r.txt") == ["pandas==2.3.3", "numpy>=1, <3", "x @ https://host/x.whl#sha256=1"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-r other.txt", "-r is not supported"),
        ("--index-url=https://x", "--index-url is not supported"),
        ("a==1 \\\n  --hash=sha256:1", "--hash is not supported"),
        ("./wheels/a.whl", "a local path"),
    ],
)
def test_options_in_requirements_are_refused(text: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        a.requirements(text, "r.txt")
    assert message in refused.value.message


def test_a_scripts_own_metadata_block() -> None:
    source = '# /// script\n# requires-python = ">=3.11"\n# dependencies = [\n#   "rich",\n# ]\n# ///\nimport rich\n'
    assert a.script_metadata(source, "s.py") == ["rich"]
    assert a.script_metadata("print(1)\n", "s.py") == []
    with pytest.raises(Refused, match="not TOML"):
        a.script_metadata("# /// script\n# dependencies = [\n# ///\n", "s.py")
