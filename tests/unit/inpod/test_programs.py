"""Parts of stage and collect that need no process: requirements, redaction, messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from millrace.inpod import report
from millrace.inpod.__main__ import main
from millrace.inpod.faults import Fault
from millrace.inpod.requirements import checked, failure
from millrace.inpod.worker import shorten

PLAIN = ["six", "six==1.0", "a[b,c]>=1,<2 ; python_version > '3'", "x @ https://h/x-1-py3-none-any.whl", "a-b.c_d~=1.0"]


def test_plain_requirements_pass_unchanged() -> None:
    assert checked(PLAIN) == PLAIN


def test_a_lock_becomes_a_line_for_each_requirement() -> None:
    lock = "# made by a tool\nsix==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb  # via x\n\nurl @ https://h/a#egg=1\n"
    assert checked([lock]) == ["six==1      --hash=sha256:aa      --hash=sha256:bb", "url @ https://h/a#egg=1"]


@pytest.mark.parametrize(
    "line", ["-e .", "--pre", "/a", "./a", "~/a", "six --pre", "six -e x", "$X", "six\n-r x", "--hash=1"]
)
def test_options_and_paths_are_refused(line: str) -> None:
    with pytest.raises(Fault) as caught:
        checked([line])
    assert caught.value.exit_code == 246


@pytest.mark.parametrize(
    ("output", "code", "begins"),
    [
        (
            "Using CPython 3.13\nerror: No solution found\n  cause: Because you require x",
            246,
            "error: No solution found cause:",
        ),
        ("  cause: Because docopt==0.6.2 has no usable wheels and you require", 247, "docopt has no wheel"),
        ("hint: Wheels are required for `py-spy` because building", 247, "py-spy has no wheel"),
        ("error: Building source distributions for `x.y` is disabled", 247, "x.y has no wheel"),
        ("", 246, "uv failed without a word"),
    ],
)
def test_the_resolvers_words_become_a_fault(output: str, code: int, begins: str) -> None:
    fault = failure(output)
    assert fault.exit_code == code
    assert fault.message.startswith(begins)


def test_no_key_and_no_user_of_an_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_STORE_3_SECRET_KEY", "canary/+=")
    monkeypatch.setenv("MILLRACE_STORE_4_SECRET_KEY", "e")
    text = "get https://me:pass@host/x?k=canary/+= then"
    assert report.redact(text) == "get https://***@host/x?k=*** then"


def message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: dict[str, object], *lists: str) -> dict[str, object]:
    (tmp_path / "dev").mkdir(exist_ok=True)
    monkeypatch.setenv("MILLRACE_ROOT", str(tmp_path))
    report.write_termination("collect", body, lists)
    data = (tmp_path / "dev" / "termination-log-collect").read_bytes()
    assert len(data) <= 4096
    loaded: dict[str, object] = json.loads(data)
    return loaded


def test_a_message_loses_the_ends_of_its_lists_first_warnings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    outputs = [{"name": f"o{n}", "uri": "s3://" + "k" * 200} for n in range(10)]
    body: dict[str, object] = {"outputs": outputs, "warnings": ["w" * 100] * 100, "uploaded": "now"}
    cut = message(monkeypatch, tmp_path, body, "warnings", "outputs")
    assert cut["outputs"] == outputs
    assert isinstance(cut["warnings"], list)
    assert cut["omitted"] == 100 - len(cut["warnings"])
    body["outputs"] = outputs * 10
    cut = message(monkeypatch, tmp_path, body, "warnings", "outputs")
    assert cut["warnings"] == []
    assert len(str(cut["outputs"])) > 3000
    cut = message(monkeypatch, tmp_path, {"reason": "X", "message": "✓" * 5000})
    assert cut["reason"] == "X"


def test_warnings_are_counted() -> None:
    assert shorten(("a", "b")) == ["a", "b"]
    assert shorten(tuple("abcdefgh")) == ["a", "b", "c", "d", "e", "and 3 more, 8 in all"]


@pytest.mark.parametrize("arguments", [[], ["main"], ["stage", "collect"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "stage|collect|plan|merge|probe" in capsys.readouterr().err
