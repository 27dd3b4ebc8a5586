"""What becomes of a returned value. Tables of the real libraries: tests/integration/inpod/test_returns.py."""

from __future__ import annotations

import collections
import json
import os
from pathlib import Path
from typing import Any

import pytest

from millrace.inpod.runtime.returned import Rejected, read_report, write

HERE = "in the output"


@pytest.fixture
def one(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """The outputs of a run with one of them, whose folder has a file already."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "kept.txt").write_text(HERE)
    return {"scores": {"path": str(tmp_path / "out"), "format": None}}


def made(one: dict[str, dict[str, Any]]) -> dict[str, bytes]:
    folder = Path(one["scores"]["path"])
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found.pop("kept.txt") == HERE.encode()
    return found


@pytest.mark.parametrize(
    ("value", "name", "content"),
    [
        (b"\x00\xff", "scores.bin", b"\x00\xff"),
        (bytearray(b"a"), "scores.bin", b"a"),
        ("ü\n", "scores.txt", "ü\n".encode()),
        ("", "scores.txt", b""),
        ("/etc/hostname", "scores.txt", b"/etc/hostname"),
        ({"f1": 0.5, "deep": [None, True]}, "scores.json", b'{"f1": 0.5, "deep": [null, true]}'),
        ({}, "scores.json", b"{}"),
        ([1, "ü"], "scores.json", '[1, "ü"]'.encode()),
        ((1, 2), "scores.json", b"[1, 2]"),
        (0, "scores.json", b"0"),
        (False, "scores.json", b"false"),
        (collections.OrderedDict(a=1), "scores.json", b'{"a": 1}'),
        ({"scores": "by name"}, "scores.txt", b"by name"),
        ({"scores": 1, "more": 2}, "scores.json", b'{"scores": 1, "more": 2}'),
    ],
)
def test_files(one: dict[str, dict[str, Any]], value: object, name: str, content: bytes) -> None:
    assert write(value, one) == ""
    assert made(one) == {name: content}


@pytest.mark.parametrize("value", [{"scores": "kept", "debug": object()}, {"debug": b"dropped", "scores": "kept"}])
def test_what_is_void_is_dropped_whatever_it_is(one: dict[str, dict[str, Any]], tmp_path: Path, value: object) -> None:
    (tmp_path / "debug").mkdir()
    assert write(value, {**one, "debug": {"path": str(tmp_path / "debug"), "void": True}}) == ""
    assert made(one) == {"scores.txt": b"kept"}
    assert list((tmp_path / "debug").iterdir()) == []


def test_a_value_for_a_void_output_alone_is_dropped(one: dict[str, dict[str, Any]]) -> None:
    assert write(object(), {"scores": {**one["scores"], "void": True}}) == ""
    assert made(one) == {}


def test_none_under_a_name_is_no_file(one: dict[str, dict[str, Any]]) -> None:
    write({"scores": None}, one)
    assert made(one) == {}


def test_values_by_name_go_to_their_outputs(tmp_path: Path) -> None:
    outputs = {name: {"path": str(tmp_path / name)} for name in ("model", "report", "none")}
    for name in outputs:
        (tmp_path / name).mkdir()
    write({"report": "fine", "model": b"m"}, outputs)
    assert {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.glob("*/*")} == {
        "model/model.bin": b"m",
        "report/report.txt": b"fine",
    }


def test_paths(one: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "model.pkl").write_bytes(b"m")
    (other / "deep" / "run.sh").write_bytes(b"#!")
    (other / "deep" / "run.sh").chmod(0o755)
    write(other / "model.pkl", one)
    assert made(one) == {"model.pkl": b"m"}
    (other / "model.pkl").unlink()
    write(other, one)
    assert made(one) == {"model.pkl": b"m", "deep/run.sh": b"#!"}
    assert (tmp_path / "out/deep/run.sh").stat().st_mode & 0o100
    write(tmp_path / "out" / "deep" / "run.sh", one)
    write(tmp_path / "out", one)
    assert made(one) == {"model.pkl": b"m", "deep/run.sh": b"#!"}, "what lies in the output stays as it is"


class Strange:
    """A value of user code's own."""


WAYS = "return a DataFrame of pandas or polars, bytes, a str, a JSON value or a path"
REJECTED: dict[str, tuple[Any, str]] = {
    "a type that is none": (Strange(), f"output scores: a {__name__}.Strange cannot be written: {WAYS}"),
    "deep in a list": ([{"a": {1}}], "output scores: a set cannot be written"),
    "a number that JSON has not": ({"loss": float("nan")}, "output scores: Out of range float values are not JSON"),
    "a key that JSON has not": ({(1, 2): 3}, "output scores: keys must be str"),
    "a path to nothing": (
        Path("/nonexistent/x"),
        "output scores: the returned path /nonexistent/x is no file and no folder",
    ),
    "a device": (Path("/dev/null"), "output scores: the returned path /dev/null is no file and no folder"),
    "a folder around the output": (Path("/"), "output scores: the returned folder / holds the output's own folder"),
    "half a character": ("\ud800", "output scores: 'utf-8' codec can't encode"),
}


@pytest.mark.parametrize(("value", "says"), REJECTED.values(), ids=REJECTED)
def test_what_cannot_be_written_is_said(one: dict[str, dict[str, Any]], value: object, says: str) -> None:
    with pytest.raises(Rejected) as caught:
        write(value, one)
    assert says in str(caught.value)


def test_a_loop_is_said(one: dict[str, dict[str, Any]]) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Rejected, match="Circular"):
        write(value, one)


@pytest.mark.parametrize("value", ["text", Path(__file__)])
def test_what_user_code_wrote_is_not_replaced(one: dict[str, dict[str, Any]], value: object) -> None:
    name = "scores.txt" if value == "text" else Path(__file__).name
    taken = Path(one["scores"]["path"], name)
    taken.write_text("mine")
    with pytest.raises(Rejected, match=f"{name} is there already"):
        write(value, one)
    assert taken.read_text() == "mine"


def test_a_folder_does_not_replace_a_file_either(one: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "kept.txt").write_text("another")
    with pytest.raises(Rejected, match=r"kept.txt is there already"):
        write(tmp_path / "other", one)
    assert made(one) == {}


@pytest.mark.parametrize("value", [1, {"model": 1, "other": 2}, {}, "model"])
def test_several_outputs_want_a_name_for_each_value(value: object) -> None:
    outputs = {name: {"path": os.devnull} for name in ("model", "report")}
    with pytest.raises(Rejected, match="the run has the outputs model, report: return a dict with these keys"):
        write(value, outputs)


TABLE = {"rows": 2, "columns": [["a", "int64"]]}


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ("", {}),
        ("no JSON", {}),
        ("[" * 5000, {}),
        ("[1]", {}),
        (json.dumps({"scores": TABLE}), {"scores": TABLE}),
        (json.dumps({"scores": {"rows": 0}}), {"scores": {"rows": 0}}),
        (json.dumps({"scores": TABLE, "foreign": TABLE}), {"scores": TABLE}),
        (json.dumps({"scores": {**TABLE, "more": 1}}), {}),
        (json.dumps({"scores": {"rows": True}}), {}),
        (json.dumps({"scores": {"rows": 1, "columns": [["a"]]}}), {}),
        (json.dumps({"scores": {"rows": 1, "columns": [["a", 1]]}}), {}),
        (json.dumps({"scores": {"rows": 1, "columns": {"a": "b"}}}), {}),
    ],
)
def test_a_report_is_taken_for_what_it_is(report: str, expected: dict[str, Any]) -> None:
    assert read_report(report, ["scores", "other"]) == expected
