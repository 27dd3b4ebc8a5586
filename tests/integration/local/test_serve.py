"""`millrace serve --local`: the page's example answers as the page says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from integration.serve.service import READY

PAGE = Path(__file__).parents[3] / "docs" / "serving.md"
FUNCTION = re.search(r"```yaml\n(.+?)```", PAGE.read_text(), re.DOTALL)[1]  # type: ignore[index]


def start(folder: Path, *arguments: str, function: str = FUNCTION) -> subprocess.Popen[str]:
    (folder / "function.yaml").write_text(function)
    command = [
        sys.executable,
        "-m",
        "millrace.cli.main",
        "serve",
        "-f",
        "function.yaml",
        "--local",
        "--port",
        "0",
        *arguments,
    ]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(("arguments", "text"), [((), "Hello, Ada"), (("--param", "greeting=Hi"), "Hi, Ada")])
def test_a_function_answers_until_it_is_stopped(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    process = start(tmp_path, *arguments)
    assert process.stdout is not None
    found = None
    for line in process.stdout:
        if found := READY.search(line):
            break
    assert found is not None
    url = f"http://127.0.0.1:{found[1]}"
    assert httpx.post(url, json={"name": "Ada"}).json() == {"text": text}
    refused = httpx.post(url, json={})
    assert (refused.status_code, refused.json()["detail"]) == (422, "name is missing")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("function", "arguments", "code", "told"),
    [
        (FUNCTION, ("--param", "greting=Hi"), 1, "ParameterMismatch"),
        (FUNCTION.replace("return greeting", 'raise OSError("no model")'), (), 1, "InitFailed: OSError: no model"),
        (FUNCTION.replace("handler: greet", "handler: meet"), (), 1, "HandlerNotFound"),
        (FUNCTION.replace("kind: Function", "kind: DataStore"), (), 2, "not one Function in it"),
        (FUNCTION, ("--function", "other"), 2, "no Function other in it: it has greet"),
    ],
)
def test_what_cannot_be_served_says_why(
    tmp_path: Path, function: str, arguments: tuple[str, ...], code: int, told: str
) -> None:
    process = start(tmp_path, *arguments, function=function)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert told in " ".join(said.split())
