"""Files of this machine as values of --input: which are, and which version of which asset they become."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from millrace.cli.errors import Refused
from millrace.cli.upload import local_inputs


@pytest.mark.parametrize(
    "text", ["data=lake/paths/a", "data=heart@latest", "data=heart:3", "data=https://h/a", "data=azureml:heart:1", "data="]
)
def test_references_are_left_alone_though_a_file_has_that_name(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lake/paths").mkdir(parents=True)
    (tmp_path / "lake/paths/a").write_text("a")
    monkeypatch.chdir(tmp_path)
    assert local_inputs([text]) == ([text], [])


def test_the_version_is_made_of_the_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("My_Data.csv").write_text("a")
    version = hashlib.sha256(b"a").hexdigest()[:16]
    texts, [local] = local_inputs(["data:uri_file=My_Data.csv"])
    assert texts == [f"data:uri_file=my-data-csv:{version}"]
    assert (local.content.is_file, local.content.bytes) == (True, 1)
    Path("My_Data.csv").chmod(0o600)
    Path("link").symlink_to("My_Data.csv")
    assert local_inputs(["data=./link"])[0] == [f"data=my-data-csv:{version}"]
    Path("My_Data.csv").write_text("b")
    assert local_inputs(["data=My_Data.csv"])[0] != [f"data=my-data-csv:{version}"]


def test_a_folder_with_other_names_is_another_version(tmp_path: Path) -> None:
    found = []
    for name in ("x", "y"):
        (tmp_path / name / "heart/sub").mkdir(parents=True)
        (tmp_path / name / "heart/sub" / name).write_text("same")
        found += local_inputs([f"data={tmp_path / name / 'heart'}"])[1]
    assert [each.asset for each in found] == ["heart", "heart"]
    assert found[0].version != found[1].version


@pytest.mark.parametrize(
    ("name", "message"), [("none", "does not exist"), ("fifo", "neither a file nor a folder"), ("empty", "no file in")]
)
def test_what_is_nothing_to_upload_is_refused(tmp_path: Path, name: str, message: str) -> None:
    import os

    (tmp_path / "empty/below").mkdir(parents=True)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Refused, match=message):
        local_inputs([f"data={tmp_path / name}"])


@pytest.mark.parametrize("name", ["_", "Ü", "n" * 200])
def test_each_name_of_a_folder_makes_a_name_of_an_asset(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a")
    [local] = local_inputs([f"data={tmp_path / name}"])[1]
    assert 0 < len(local.asset) <= 63
    assert local.asset.strip("-") == local.asset
