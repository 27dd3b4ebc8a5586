"""Payloads of watsonx and YAML of Azure ML in tests/golden/convert, and the manifests that the command line makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.cli.documents import read_documents, write_documents
from millrace.cli.main import app

HERE = Path(__file__).resolve().parent / "convert"
IDS = ["--store=c1=clinic", "--store=c1/results=results", "--store=v1=volume", "--asset=a1=patients", "--asset=a2=heart:3"]
SPACE = "--store=3fc54cf1-252f-424b-b52d-5cdd9814987f=space"
GOLDEN = {
    "every-reference.json": ["watsonx", "--deployment=heart.eu", "--namespace=lab", SPACE, *IDS],
    "singular-output.json": ["watsonx", "--deployment=heart"],
    "file-in-a-datastore.yml": ["azureml", "--deployment=heart", "--store=workspace_blobs=blobs"],
}


@pytest.mark.parametrize("name", GOLDEN)
def test_conversions(name: str, request: pytest.FixtureRequest) -> None:
    done = CliRunner().invoke(app, ["convert", *GOLDEN[name], str(HERE / name)])
    assert done.exit_code == 0, done.stderr
    wanted = HERE / f"{name.partition('.')[0]}.manifests.yaml"
    if request.config.getoption("--update-golden"):
        wanted.write_text(done.stdout)
    assert done.stdout == wanted.read_text(), "read the difference; uv run pytest tests/golden --update-golden takes it over"
    manifests = read_documents(done.stdout, name)
    assert write_documents(manifests) == done.stdout


def test_there_is_no_stale_file() -> None:
    assert {path.name for path in HERE.iterdir()} == {
        *GOLDEN,
        *(f"{name.partition('.')[0]}.manifests.yaml" for name in GOLDEN),
    }
