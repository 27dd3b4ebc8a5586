"""`millrace run FOLDER`: what is packed, what is run, which manifests come of it."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from millrace.cli.errors import Refused
from millrace.cli.folder import Code, entry_of, packed
from millrace.cli.main import app


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    top = tmp_path / "Heart"
    for name, text in {
        "main.py": "from heart import score\n\n\ndef predict(value):\n    return score(value)\n",
        "heart/__init__.py": "def score(value):\n    return value\n",
        "tools/report.py": "print(1)\n",
        "requirements.txt": "six==1.17.0  # for tests\n",
        ".git/config": "secret",
        "heart/__pycache__/x.pyc": "x",
        ".venv/lib/site.py": "x",
        ".env": "TOKEN=secret",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    yield top


KEPT = ["heart/__init__.py", "main.py", "requirements.txt", "tools/report.py"]


def test_the_same_files_make_the_same_zip_and_no_history_environment_or_secret_is_in_it(folder: Path) -> None:
    local, warnings = packed(folder, "heart")
    assert warnings == []
    with zipfile.ZipFile(local.content.path) as found:
        assert found.namelist() == KEPT
    assert local.asset == "heart-source"
    assert local.content.sha256 == hashlib.sha256(local.content.path.read_bytes()).hexdigest()
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    (folder / ".git/HEAD").write_text("changed")
    assert packed(folder, "heart")[0].version == local.version
    (folder / "main.py").write_text("changed")
    assert packed(folder, "heart")[0].version != local.version


@pytest.mark.parametrize(
    ("handler", "script", "found"),
    [
        ("main:predict", None, Code("main.py", "predict", {"handler": "main:predict"})),
        ("predict", None, Code("main.py", "predict", {"handler": "main:predict"})),
        ("heart:score", None, Code("heart/__init__.py", "score", {"handler": "heart:score"})),
        (None, None, Code("main.py", None, {"script": "main.py"})),
        (None, "tools/report.py", Code("tools/report.py", None, {"script": "tools/report.py"})),
    ],
)
def test_what_is_run(folder: Path, handler: str | None, script: str | None, found: Code) -> None:
    assert entry_of(folder, handler, script) == found


@pytest.mark.parametrize(
    ("handler", "script", "message"),
    [
        ("heart.model:score", None, "no module heart.model"),
        (None, "other.py", "has no other.py"),
        (None, "../outside.py", "has no ../outside.py"),
    ],
)
def test_what_is_not_in_the_folder_is_refused(folder: Path, handler: str | None, script: str | None, message: str) -> None:
    (folder.parent / "outside.py").write_text("")
    with pytest.raises(Refused, match=message):
        entry_of(folder, handler, script)


def test_the_manifests_name_the_version_that_the_folder_becomes_and_its_requirements(folder: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(folder), "--handler", "heart:score", "--param", "value=1", "-o", "yaml"])
    assert done.exit_code == 0, done.stderr
    function, run = yaml.safe_load_all(done.stdout)
    sha256 = function["spec"]["source"]["zip"]["sha256"]
    reference = f"heart-source:{sha256[:16]}"
    assert function["metadata"]["name"] == "heart"
    assert function["spec"] == {
        "source": {"zip": {"uri": reference, "sha256": sha256}},
        "handler": "heart:score",
        "requirements": ["six==1.17.0"],
    }
    assert run["spec"] == {"functionRef": {"name": "heart"}, "parameters": {"value": 1}}
    assert f"-o yaml uploads nothing: {reference} is made by the run itself" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--handler", "main:predcit"], "did you mean --handler predict"),
        (["--handler", "main:predict", "--script", "main.py"], "not with --handler"),
        (["--name", "He_art"], "lower-case letters"),
    ],
)
def test_what_does_not_go_together_is_refused(folder: Path, arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["run", str(folder), *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_script_has_no_other_script(folder: Path) -> None:
    done = CliRunner().invoke(app, ["run", str(folder / "main.py"), "--script", "tools/report.py"])
    assert done.exit_code == 2
    assert "for a folder only" in done.stderr
