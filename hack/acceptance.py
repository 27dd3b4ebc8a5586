"""Checks tests/acceptance.toml: what shows each row, promise and proof that the issue names, and that it is there.

    uv run python hack/acceptance.py [--report JUNIT.xml ...] [--write]

tests/faults.toml, which says of each fault what is promised and which tests show it, is checked in the same way, and so is
docs/faults.md, which has the same table; with reports it is printed, and with --write that page is written, with what
happened and how long the recovery took.

Without a report: every named test exists, every bench is known, and a row that says `cluster` names tests below tests/e2e.
`local` is a cluster of that provider of hack/cluster: on another one its tests are skipped, which counts as open.
With reports of the suite's run (pytest --junitxml) each named test has run and passed too; a folder of tests that is in no
report is not judged. A row that nothing shows yet has `missing` with the reason, one that is shown in part has `open`: both
are printed loudly and are no failure. Ends with 1 where the table says what is not so.
"""

from __future__ import annotations

import argparse
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faults
from results import ROOT, Malformed, collected, judge, read_recoveries, read_reports, unknown

TABLE = ROOT / "tests" / "acceptance.toml"
BENCHES = ROOT / "tests" / "bench" / "__main__.py"
WHERE = ("cluster", "local", "api-server", "unit", "bench", "by hand")
CLUSTER = "tests/e2e/"
FIELDS = {"id", "what", "where", "tests", "also", "benches", "missing", "open"}


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


def known_benches(text: str) -> set[str]:
    """Names of the benchmarks, as tests/bench/__main__.py lists them."""
    import ast

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "BENCHES" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return set()


def no_bench(rows: Sequence[Row | faults.Fault], benches: set[str]) -> list[str]:
    """Benchmarks that are named and are not there."""
    return [f"{row.id}: no benchmark {bench}" for row in rows for bench in row.benches if bench not in benches]


def problems_of(rows: list[Row], tests: set[str], benches: set[str]) -> list[str]:
    """What the table names and is not so."""
    found = unknown(rows, tests) + no_bench(rows, benches)
    for row in rows:
        if row.where in {"cluster", "local"}:
            found += [f"{row.id}: {test} is not on the cluster" for test in row.tests if not test.startswith(CLUSTER)]
    return found


# --- The program --------------------------------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """One line for each row."""
    lines = []
    for row in rows:
        count = "MISSING" if row.missing else f"{len(row.all_tests) + len(row.benches)}{' open' if row.open else ''}"
        lines.append(f"{row.id:14} {row.where:10} {count:8} {row.what}")
    return "\n".join(lines)


def loud(rows: Sequence[Row | faults.Fault], more: list[str]) -> str:
    """What is open."""
    lines = [f"  {row.id}: {row.missing or row.open}" for row in rows if row.missing or row.open]
    lines += [f"  {text}" for text in more]
    return "\n".join([f"OPEN ({len(lines)}):", *lines]) if lines else "nothing is open"


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--report", nargs="+", default=[], metavar="JUNIT.xml", type=Path)
    parser.add_argument("--write", action="store_true", help="write the reports' results into docs/faults.md")
    options: Any = parser.parse_args(arguments)
    try:
        rows, fault_rows = load(TABLE.read_text()), faults.load(faults.TABLE.read_text())
        reports = [path.read_text() for path in options.report]
        seen, tests = read_reports(reports), collected()
        results = [faults.result(fault, seen, read_recoveries(reports)) for fault in fault_rows]
        if options.write:
            faults.PAGE.write_text(faults.written(faults.PAGE.read_text(), results))
        benches = known_benches(BENCHES.read_text())
        problems = problems_of(rows, tests, benches) + unknown(fault_rows, tests) + no_bench(fault_rows, benches)
        problems += faults.stale(faults.PAGE.read_text(), fault_rows)
        failed, open_ = judge([*rows, *fault_rows], seen)
    except (Malformed, OSError, tomllib.TOMLDecodeError, ET.ParseError) as error:
        print(f"hack/acceptance.py: {error}", file=sys.stderr)
        return 1
    print(table(rows))
    print(loud([*rows, *fault_rows], open_))
    if reports:
        print(faults.printed(results))
    for problem in problems + failed:
        print(f"hack/acceptance.py: {problem}", file=sys.stderr)
    return 1 if problems or failed else 0


if __name__ == "__main__":
    sys.exit(main())
