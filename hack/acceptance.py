"""Checks tests/acceptance.toml: what shows each row, promise and proof that the issue names, and that it is there.

    uv run python hack/acceptance.py [--report JUNIT.xml ...]

Without a report: every named test exists, every bench is known, and a row that says `cluster` names tests below tests/e2e.
With reports of the suite's run (pytest --junitxml) each named test has run and passed too; a folder of tests that is in no
report is not judged. A row that nothing shows yet has `missing` with the reason, one that is shown in part has `open`: both
are printed loudly and are no failure. Ends with 1 where the table says what is not so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "tests" / "acceptance.toml"
BENCHES = ROOT / "tests" / "bench" / "__main__.py"
WHERE = ("cluster", "api-server", "unit", "bench", "by hand")
CLUSTER = "tests/e2e/"
FIELDS = {"id", "what", "where", "tests", "also", "benches", "missing", "open"}
REPORT_DEPTH = 2  # a report speaks for folders such as tests/e2e


class Malformed(Exception):
    """The table cannot be read."""


@dataclass(frozen=True)
class Row:
    """A row of the table. `tests` show it where it says, `also` are tests elsewhere that bear it out."""

    id: str
    what: str
    where: str
    tests: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    benches: tuple[str, ...] = ()
    missing: str = ""
    open: str = ""

    @property
    def all_tests(self) -> tuple[str, ...]:
        """All that it names."""
        return self.tests + self.also


def load(text: str) -> list[Row]:
    """The table. Raises Malformed."""
    rows = []
    for entry in tomllib.loads(text).get("row", []):
        name = entry.get("id", "a row without id")
        if not {"id", "what", "where"} <= entry.keys() <= FIELDS:
            raise Malformed(f"{name}: it has {sorted(entry)}; the fields are {sorted(FIELDS)}")
        if entry["where"] not in WHERE:
            raise Malformed(f"{name}: where is one of {', '.join(WHERE)}")
        shown = entry.get("tests") or entry.get("benches")
        if bool(shown) == bool(entry.get("missing")):
            raise Malformed(f"{name}: either tests or benches, or the reason why they are missing")
        rows.append(Row(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}))
    names = [row.id for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise Malformed(f"rows stand twice: {', '.join(twice)}")
    return rows


def collected() -> set[str]:
    """All tests as file::function, from one collection of pytest."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "tests"]
    # The e2e tests are collected without a cluster too.
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise Malformed(f"the tests cannot be collected:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def known_benches(text: str) -> set[str]:
    """Names of the benchmarks, as tests/bench/__main__.py lists them."""
    import ast

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "BENCHES" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def problems_of(rows: list[Row], tests: set[str], benches: set[str]) -> list[str]:
    """What the table names and is not so."""
    found = []
    for row in rows:
        found += [f"{row.id}: no test {test}" for test in row.all_tests if test not in tests]
        found += [f"{row.id}: no benchmark {bench}" for bench in row.benches if bench not in benches]
        if row.where == "cluster":
            found += [f"{row.id}: {test} is not on the cluster" for test in row.tests if not test.startswith(CLUSTER)]
    return found


# --- What the reports say -------------------------------------------------------------------------------------------


def read_reports(texts: list[str]) -> dict[str, set[str]]:
    """By test: the words for its cases, of passed, failure, error, skipped and xfail."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text in texts:
        for case in ET.fromstring(text).iter("testcase"):
            test = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name', '').partition('[')[0]}"
            marks = [child for child in case if child.tag in {"failure", "error", "skipped"}]
            word = "passed" if not marks else marks[0].tag
            if marks and marks[0].get("type") == "pytest.xfail":
                word = "xfail"
            found[test].add(word)
    return dict(found)


def _folder(test: str) -> str:
    return "/".join(test.split("/")[:REPORT_DEPTH])


def judge(rows: list[Row], seen: dict[str, set[str]]) -> tuple[list[str], list[str]]:
    """(what fails, what is open) after a run: a named test that did not run, did not pass, or failed as expected."""
    covered = {_folder(test) for test in seen}
    failed, open_ = [], []
    for row in rows:
        for test in row.all_tests:
            words = seen.get(test)
            if words is None:
                failed += [f"{row.id}: {test} did not run"] if _folder(test) in covered else []
            elif bad := sorted(words & {"failure", "error", "skipped"}):
                failed.append(f"{row.id}: {test}: {', '.join(bad)}")
            elif "passed" not in words:
                failed.append(f"{row.id}: {test} is expected to fail, so it shows nothing")
            elif "xfail" in words:
                open_.append(f"{row.id}: {test}: some cases are expected to fail")
    return failed, open_


# --- The program --------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """One line for each row."""
    lines = []
    for row in rows:
        count = "MISSING" if row.missing else f"{len(row.all_tests) + len(row.benches)}{' open' if row.open else ''}"
        lines.append(f"{row.id:14} {row.where:10} {count:8} {row.what}")
    return "\n".join(lines)


def loud(rows: list[Row], more: list[str]) -> str:
    """What is open."""
    lines = [f"  {row.id}: {row.missing or row.open}" for row in rows if row.missing or row.open]
    lines += [f"  {text}" for text in more]
    return "\n".join([f"OPEN ({len(lines)}):", *lines]) if lines else "nothing is open"


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", nargs="+", default=[], metavar="JUNIT.xml", type=Path)
    options: Any = parser.parse_args(arguments)
    try:
        rows = load(TABLE.read_text())
        problems = problems_of(rows, collected(), known_benches(BENCHES.read_text()))
        failed, open_ = judge(rows, read_reports([path.read_text() for path in options.report]))
    except (Malformed, OSError, tomllib.TOMLDecodeError, ET.ParseError) as error:
        print(f"hack/acceptance.py: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    print(loud(rows, open_))
    for problem in problems + failed:
        print(f"hack/acceptance.py: {problem}", file=sys.stderr)
    return 1 if problems or failed else 0


if __name__ == "__main__":
    sys.exit(main())
