"""What the cache of requirements goes by: its key, and what it takes for a record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from millrace.inpod.cache import Tree, key_of, lock_record, read_lock
from millrace.inpod.requirements import Installer

CODE: dict[str, Any] = {"requirements": ["six==1.16.0", "idna"], "pythonVersion": "3.13"}
INDEX = {"url": "https://index.test/simple"}
TREE = {"sha256": "0" * 64, "size": 1, "files": 2, "unpacked": 3}
LOCK = ["six==1.16.0 --hash=sha256:aa"]


def key(code: dict[str, Any] | None = None, index: dict[str, Any] | None = None) -> str:
    return key_of(Installer({**CODE, **(code or {})}, index or INDEX, 0.0, lambda _: None))


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MILLRACE_ROOT", str(tmp_path))


@pytest.mark.parametrize(
    "other",
    [
        {"code": {"requirements": ["six==1.16.0", "idna==3"]}},
        {"code": {"requirements": ["six==1.16.0"]}},
        {"code": {"requirements": ["six==1.16.0 --hash=sha256:aa", "idna"]}},
        {"code": {"pythonVersion": "3.11"}},
        {"index": {"url": "https://elsewhere.test/simple"}},
        {"index": {"url": None}},
    ],
    ids=str,
)
def test_another_answer_of_the_resolver_has_another_key(other: dict[str, Any]) -> None:
    assert key(**other) != key()


@pytest.mark.parametrize(
    "same",
    [
        {"code": {"requirements": ["# a comment\nsix==1.16.0\n\nidna  # why"]}},
        {"code": {"handler": "main:other"}},
        {"index": {"url": "https://me:old-password@index.test/simple"}},
        {"index": {**INDEX, "ca": "/millrace/ca/index/ca.crt"}},
    ],
    ids=str,
)
def test_what_the_answer_does_not_depend_on_is_not_in_the_key(same: dict[str, Any]) -> None:
    assert key(**same) == key()


def test_another_platform_has_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key()
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert key() != before


def test_a_record_of_a_tree_is_read() -> None:
    assert Tree.read(json.dumps(TREE).encode()) == Tree(**TREE)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff\xfe",
        *(
            json.dumps({**TREE, **change}).encode()
            for change in (
                {"sha256": "../../../x"},
                {"sha256": "0" * 63},
                {"sha256": 7},
                {"size": -1},
                {"size": "1"},
                {"files": True},
                {"unpacked": 1.5},
                {"more": 1},
            )
        ),
        json.dumps({key: value for key, value in TREE.items() if key != "size"}).encode(),
    ],
)
def test_what_is_no_record_of_a_tree_is_none(record: bytes) -> None:
    assert Tree.read(record) is None


def record(lines: object, digest: object = None) -> bytes:
    found = json.loads(lock_record(["six"]))
    return json.dumps({"lines": lines, "sha256": found["sha256"] if digest is None else digest}).encode()


def test_a_lock_is_read() -> None:
    assert read_lock(lock_record(LOCK)) == LOCK


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        record(LOCK, "0" * 64),
        record(LOCK, 7),
        record(LOCK),
        lock_record(["-r /proc/self/environ"]),
        lock_record(["six --index-url http://elsewhere"]),
        lock_record(["six\n-e /x"]),
        lock_record(["x @ git+https://elsewhere/x"]),
        record([7], ""),
        record("six", ""),
    ],
)
def test_a_lock_that_is_damaged_or_more_than_requirements_is_none(damaged: bytes) -> None:
    assert read_lock(damaged) is None
