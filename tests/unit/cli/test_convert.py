"""`millrace convert`: options, streams and exit codes. What becomes of a file is in tests/golden/convert."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from millrace.cli.convert import options
from millrace.cli.errors import Refused
from millrace.cli.main import app

PAYLOAD = '{"deployment": {"id": "d"}, "name": "a"}'


@pytest.mark.parametrize(
    ("stores", "assets", "message"),
    [
        (["c1"], [], "--store c1: ID=NAME is expected"),
        (["=s"], [], "--store =s: ID=NAME is expected"),
        (["c1=My_Store"], [], "--store c1=My_Store: a name has"),
        (["c1=a", "c1=b"], [], "--store c1=b: c1 is given twice"),
        ([], ["a1=s/paths/x"], "--asset a1=s/paths/x: ID=NAME, ID=NAME@latest or ID=NAME:VERSION is expected"),
        ([], ["a1=Heart"], "--asset a1=Heart: ID=NAME"),
        ([], ["a1=store://lab/dataitem/heart:1"], "is expected"),
    ],
)
def test_an_option_that_cannot_be_is_refused(stores: list[str], assets: list[str], message: str) -> None:
    with pytest.raises(Refused) as refused:
        options(None, None, stores, assets)
    assert message in refused.value.message


def test_ids_may_have_any_characters_and_an_asset_its_version() -> None:
    found = options("lab", "heart", ["a=b/c=store"], ["a1=heart", "a2=heart:3", "a3=azureml:My_Data@latest", "a4=heart@2"])
    assert found.stores == {"a=b/c": "store"}
    assert found.assets == {"a1": "heart@latest", "a2": "heart:3", "a3": "my-data@latest", "a4": "heart:2"}


@pytest.mark.parametrize("arguments", [["-n", "Lab"], ["--deployment", "my_fn"], ["--deployment", "f", "--store", "x"]])
def test_names_of_options_are_checked(arguments: list[str]) -> None:
    done = CliRunner().invoke(app, ["convert", "watsonx", "-", *arguments], input=PAYLOAD)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {arguments[-2]} {arguments[-1]}: ")


def test_other_systems_and_missing_files_are_refused(tmp_path: Path) -> None:
    for arguments in (["sagemaker", "-"], ["watsonx", str(tmp_path / "none.json")], ["watsonx", str(tmp_path)]):
        done = CliRunner().invoke(app, ["convert", *arguments], input=PAYLOAD)
        assert (done.exit_code, done.stdout) == (2, ""), arguments
    done = CliRunner().invoke(app, ["convert", "azureml", "-", "--asset", "a=b"], input="")
    assert (done.exit_code, done.stderr) == (2, "error: --asset: for watsonx only; a data asset of Azure ML has a name\n")


def test_stdout_is_manifests_only_and_an_endless_file_ends() -> None:
    command = [sys.executable, "-m", "millrace.cli.main", "convert", "watsonx"]
    done = subprocess.run([*command, "-", "--deployment", "f"], input=PAYLOAD, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("---\napiVersion: millrace.dev/v1alpha1\nkind: JobRun\n")
    assert done.stderr == ""
    done = subprocess.run([*command, "/dev/zero"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: /dev/zero: more than ")
