"""The suite's tests, and what the reports of its run (pytest --junitxml) say of them. A test is file::function."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent
RECOVERY = "recovery_seconds"  # the property of tests/support/recovery.py
REPORT_DEPTH = 2  # a report speaks for folders such as tests/e2e
BAD = {"failure", "error", "skipped"}


class Malformed(Exception):
    """A table, or what it is about, cannot be read."""


class NamesTests(Protocol):
    """A row of a table that names tests."""

    @property
    def id(self) -> str:
        """Its name."""

    @property
    def all_tests(self) -> tuple[str, ...]:
        """All that it names."""


def collected() -> set[str]:
    """All tests, from one collection of pytest."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    # The e2e tests are collected without a cluster too.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise Malformed(f"the tests cannot be collected:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def unknown(rows: Iterable[NamesTests], tests: AbstractSet[str]) -> list[str]:
    """The named tests that are not there."""
    return [f"{row.id}: no test {test}" for row in rows for test in row.all_tests if test not in tests]


def _cases(texts: Iterable[str]) -> Iterator[tuple[str, ET.Element]]:
    for text in texts:
        for case in ET.fromstring(text).iter("testcase"):
            yield f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}", case


def read_reports(texts: Iterable[str]) -> dict[str, set[str]]:
    """By test: the words for its cases, of passed, failure, error, skipped and xfail."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for test, case in _cases(texts):
        marks = [child for child in case if child.tag in BAD]
        word = "passed" if not marks else marks[0].tag
        if marks and marks[0].get("type") == "pytest.xfail":
            word = "xfail"
        found[test].add(word)
    return dict(found)


def read_recoveries(texts: Iterable[str]) -> dict[str, float]:
    """By test: the longest recovery that its cases have measured, in seconds."""
    found: dict[str, float] = {}
    for test, case in _cases(texts):
        for measured in case.iterfind(f"properties/property[@name='{RECOVERY}']"):
            found[test] = max(found.get(test, 0), float(measured.get("value", "")))
    return found


def _folder(test: str) -> str:
    return "/".join(test.split("/")[:REPORT_DEPTH])


def judge(rows: Iterable[NamesTests], seen: Mapping[str, set[str]]) -> tuple[list[str], list[str]]:
    """(what fails, what is open) after a run: a named test that did not run, did not pass, or failed as expected."""
    covered = {_folder(test) for test in seen}
    failed, open_ = [], []
    for row in rows:
        for test in row.all_tests:
            words = seen.get(test)
            if words is None:
                failed += [f"{row.id}: {test} did not run"] if _folder(test) in covered else []
            elif getattr(row, "where", "") == "local" and words == {"skipped"}:
                open_.append(f"{row.id}: {test}: this cluster cannot show it")
            elif bad := sorted(words & BAD):
                failed.append(f"{row.id}: {test}: {', '.join(bad)}")
            elif "passed" not in words:
                failed.append(f"{row.id}: {test} is expected to fail, so it shows nothing")
            elif "xfail" in words:
                open_.append(f"{row.id}: {test}: some cases are expected to fail")
    return failed, open_
