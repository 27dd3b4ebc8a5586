"""docs/convert.md: its files are converted by its commands, and what is printed is what stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
from typer.testing import CliRunner

from millrace.cli.main import app

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "convert.md").read_text()
BLOCK = re.compile(r"^<!-- (?P<kind>file: (?P<name>\S+)|console) -->\n```\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {match["name"]: match["text"] for match in BLOCK.finditer(PAGE) if match["name"]}


class Call(NamedTuple):
    """A command of the page, and what it prints there."""

    command: str
    printed: str


def calls() -> list[Call]:
    texts = [match["text"] for match in BLOCK.finditer(PAGE) if match["kind"] == "console"]
    parts = [re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE) for text in texts]
    return [Call(*pair) for part in parts for pair in zip(part[1::2], part[2::2], strict=True)]


CALLS = calls()


def test_the_page_has_the_examples() -> None:
    assert {"payload.json", "references.json", "heart-dataset-unlabeled.yml"} == set(FILES)
    assert len(CALLS) == 6


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.command)
def test_an_example_prints_what_stands_there(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    program, *arguments = shlex.split(call.command)
    assert program == "millrace"
    done = CliRunner().invoke(app, arguments)
    assert done.stderr + done.stdout == call.printed
    assert done.exit_code == (2 if call.printed.startswith("error: ") else 0)
    assert not (done.exit_code and done.stdout)
