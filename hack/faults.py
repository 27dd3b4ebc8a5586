"""tests/faults.toml: what is injected, what is promised, which tests show it; and docs/faults.md, where it is kept."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from results import BAD, ROOT, Malformed

TABLE = ROOT / "tests" / "faults.toml"
PAGE = ROOT / "docs" / "faults.md"
REQUIRED = {"id", "fault", "promise", "notice"}
FIELDS = REQUIRED | {"tests", "benches", "missing", "open", "where"}
HEAD = ("", "Fault", "Promise", "What you notice", "Tests", "Happened", "Recovery")
KEPT = 5  # columns that the table alone decides; the others are a run's
NONE = "-"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Fault:
    """A row. `notice`: what a user sees of it. `missing`: why there is no test. `open`: what is not shown.

    `benches` show it at a scale that takes too long for the tests. `where` is `local` for a fault that only a cluster of
    that provider can have, as in tests/acceptance.toml.
    """

    id: str
    fault: str
    promise: str
    notice: str
    tests: tuple[str, ...] = ()
    benches: tuple[str, ...] = ()
    missing: str = ""
    open: str = ""
    where: str = ""

    @property
    def all_tests(self) -> tuple[str, ...]:
        """All that it names."""
        return self.tests


@dataclass(frozen=True)
class Result:
    """What a run has shown of a fault. `recovery`: the longest that was measured, in seconds."""

    fault: Fault
    happened: str
    recovery: float | None

    def cells(self) -> tuple[str, ...]:
        """A line of the table in docs."""
        fault = self.fault
        tests = f"none: {fault.missing}" if fault.missing else str(len(fault.tests))
        tests += f"; at scale the benchmark `{'`, `'.join(fault.benches)}`" if fault.benches else ""
        tests += f"; not shown: {fault.open}" if fault.open else ""
        recovery = NONE if self.recovery is None else f"{self.recovery:.1f} s"
        return fault.id, fault.fault, fault.promise, fault.notice, tests, self.happened, recovery


def load(text: str) -> list[Fault]:
    """The table. Raises Malformed."""
    found = []
    for entry in tomllib.loads(text).get("fault", []):
        name = entry.get("id", "a fault without id")
        if not REQUIRED <= entry.keys() <= FIELDS:
            raise Malformed(f"{name}: it has {sorted(entry)}; the fields are {sorted(FIELDS)}, needed {sorted(REQUIRED)}")
        if bool(entry.get("tests")) == bool(entry.get("missing")):
            raise Malformed(f"{name}: either tests, or the reason why they are missing")
        if "|" in "".join(entry[key] for key in FIELDS - {"tests", "benches"} if key in entry):
            raise Malformed(f"{name}: a | would end a cell of the table in docs")
        found.append(Fault(**{key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}))
    names = [fault.id for fault in found]
    if names != sorted(set(names)):
        raise Malformed("faults stand once each, in the order of their ids")
    return found


def result(fault: Fault, seen: Mapping[str, set[str]], recoveries: Mapping[str, float]) -> Result:
    """From the words for its tests and their recoveries, as results.py reads them."""
    words = {test: seen.get(test) for test in fault.tests}
    bad = sorted(test.partition("::")[2] for test, said in words.items() if said and (said & BAD or "passed" not in said))
    if fault.where == "local" and any(said == {"skipped"} for said in words.values()):
        happened = NOT_RUN
    elif bad:
        happened = f"failed: {', '.join(bad)}"
    elif not fault.tests:
        happened = "no test"
    elif missed := sum(said is None for said in words.values()):
        happened = NOT_RUN if missed == len(words) else f"passed, but {missed} not run"
    else:
        happened = "passed"
    return Result(fault, happened, max((recoveries[test] for test in fault.tests if test in recoveries), default=None))


def printed(results: Iterable[Result]) -> str:
    """The report at the end of a run."""
    lines = ["FAULTS: what was injected, what was promised, what happened, recovery"]
    for found in results:
        *_, happened, recovery = found.cells()
        lines += [f"{found.fault.id}  {happened}, recovery {recovery}: {found.fault.fault}", f"     {found.fault.promise}"]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def written(page: str, results: Iterable[Result]) -> str:
    """The page with the table of these results. A row that did not change and was not run keeps what it says."""
    before, after = _around(page)
    known = {_kept(line): line for line in page.splitlines()}
    table = [_line(HEAD), "|" + "---|" * len(HEAD)]
    for found in results:
        line = _line(found.cells())
        table.append(known.get(_kept(line), line) if found.happened == NOT_RUN else line)
    return "\n".join([*before, *table, *after, ""])


def _around(page: str) -> tuple[list[str], list[str]]:
    lines = page.splitlines()
    if _line(HEAD) not in lines:
        raise Malformed(f"{PAGE.name} has no table; it begins with {_line(HEAD)}")
    start = lines.index(_line(HEAD))
    end = next((number for number in range(start, len(lines)) if not lines[number].startswith("|")), len(lines))
    return lines[:start], lines[end:]


def stale(page: str, faults: Iterable[Fault]) -> list[str]:
    """Where the page's table is not that of the faults, whatever a run has shown."""
    kept = [_kept(line) for line in page.splitlines() if line.startswith("| F")]
    wanted = [_kept(_line(Result(fault, "", None).cells())) for fault in faults]
    told = [f"{PAGE.name}: not as tests/faults.toml has it: {' | '.join(row)}" for row in kept if row not in wanted]
    told += [f"{PAGE.name}: no row {' | '.join(row)}" for row in wanted if row not in kept]
    if not told and kept != wanted:
        told = [f"{PAGE.name}: rows stand twice or in another order"]
    return [f"{line} (hack/acceptance.py --write writes it)" for line in told]


def _kept(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))[:KEPT]
