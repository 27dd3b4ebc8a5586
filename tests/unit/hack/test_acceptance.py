"""hack/acceptance.py: what it calls wrong, what it calls open, and what it does not judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from acceptance import Row, known_benches, load, loud, problems_of
from results import Malformed, judge, read_reports

ROOT = Path(__file__).resolve().parents[3]
E2E, UNIT = "tests/e2e/test_a.py::test_a", "tests/unit/test_b.py::test_b"


def report(*cases: str) -> str:
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def case(test: str, inner: str = "", number: str = "") -> str:
    path, _, name = test.partition("::")
    return f'<testcase classname="{path[:-3].replace("/", ".")}" name="{name}{number}">{inner}</testcase>'


def row(*tests: str, where: str = "cluster", **more: object) -> Row:
    return Row(id="A1", what="it works", where=where, tests=tests, **more)  # type: ignore[arg-type]


def test_the_table_is_well_formed_and_has_every_row_that_the_issues_name() -> None:
    rows = {found.id for found in load((ROOT / "tests" / "acceptance.toml").read_text())}
    wanted = "A3 A5 A6 A7 A8 A9 A11 A12 A14 A15 A16 A20 B1 B3 B6 B7 B10 B11 B12 B16 B17 C1 C3 C6 C26"
    promises = {f"promise-{number}" for number in (1, 2, 3, 5, 7)}
    shows = {f"show-{number}" for number in range(1, 9)}
    benches = {"bench-latency", "bench-zip", "bench-stage", "bench-memory"}
    fire = "B21 C7 promise-6 promise-9 fault-table bad-input upgrade gitops mutations"
    attacks = {f"S{number:02}" for number in (1, 2, 3, 4, 9, 10, 11, 12, 14, 16, 17, 28, 29)}
    assert {*wanted.split(), *promises, *shows, *benches, *fire.split(), *attacks} <= rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('id = "a"\nwhat = "b"\nwhere = "moon"\ntests = ["x"]', "where is one of"),
        ('id = "a"\nwhat = "b"\nwhere = "unit"', "reason why they are missing"),
        ('id = "a"\nwhat = "b"\nwhere = "unit"\ntests = ["x"]\nmissing = "c"', "either"),
        ('id = "a"\nwhat = "b"\nwhere = "unit"\ntests = ["x"]\nmore = "c"', "fields are"),
        (
            'id = "a"\nwhat = "b"\nwhere = "unit"\ntests = ["x"]\n[[row]]\nid = "a"\nwhat = "b"\nwhere = "unit"\ntests = ["x"]',
            "twice",
        ),
    ],
    ids=["where", "nothing", "both", "field", "twice"],
)
def test_a_malformed_table_is_refused(text: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        load(f"[[row]]\n{text}")


def test_tests_that_are_not_there_or_not_on_the_cluster_and_unknown_benches_are_told() -> None:
    found = row(E2E, UNIT, "tests/e2e/test_a.py::gone", also=("tests/unit/test_c.py::test_c",), benches=("zip", "zap"))
    assert problems_of([found], {E2E, UNIT}, {"zip"}) == [
        "A1: no test tests/e2e/test_a.py::gone",
        "A1: no test tests/unit/test_c.py::test_c",
        "A1: no benchmark zap",
        f"A1: {UNIT} is not on the cluster",
    ]
    assert problems_of([row(E2E, also=(UNIT,))], {E2E, UNIT}, set()) == []


XFAIL, SKIP = '<skipped type="pytest.xfail"/>', '<skipped type="pytest.skip"/>'


@pytest.mark.parametrize(
    ("cases", "failed", "opened"),
    {
        "passed": ([case(E2E)], [], []),
        "failed": ([case(E2E, "<failure/>")], [f"A1: {E2E}: failure"], []),
        "an error": ([case(E2E, "<error/>")], [f"A1: {E2E}: error"], []),
        "skipped": ([case(E2E, SKIP)], [f"A1: {E2E}: skipped"], []),
        "skipped in part": ([case(E2E, "", "[1]"), case(E2E, SKIP, "[2]")], [f"A1: {E2E}: skipped"], []),
        "expected to fail": ([case(E2E, XFAIL)], [f"A1: {E2E} is expected to fail, so it shows nothing"], []),
        "expected to fail in part": (
            [case(E2E, "", "[1]"), case(E2E, XFAIL, "[2]")],
            [],
            [f"A1: {E2E}: some cases are expected to fail"],
        ),
        "not run": ([case("tests/e2e/test_z.py::test_z")], [f"A1: {E2E} did not run"], []),
        "its folder is in no report": ([case(UNIT)], [], []),
    }.values(),
)
def test_after_a_run_each_named_test_has_passed(cases: list[str], failed: list[str], opened: list[str]) -> None:
    assert judge([row(E2E)], read_reports([report(*cases)])) == (failed, opened)


def test_what_another_provider_skips_is_open_and_a_failure_is_one_anywhere() -> None:
    local = row(E2E, where="local")
    assert judge([local], read_reports([report(case(E2E, SKIP))])) == ([], [f"A1: {E2E}: this cluster cannot show it"])
    assert judge([local], read_reports([report(case(E2E, "<failure/>"))])) == ([f"A1: {E2E}: failure"], [])


def test_without_a_report_nothing_is_judged() -> None:
    assert judge([row(E2E)], read_reports([])) == ([], [])


def test_what_is_open_is_printed() -> None:
    text = loud([row(E2E, open="a part"), Row("B", "b", "by hand", missing="nobody did")], ["more"])
    assert text == "OPEN (3):\n  A1: a part\n  B: nobody did\n  more"


def test_benches_are_those_of_the_program() -> None:
    assert known_benches((ROOT / "tests" / "bench" / "__main__.py").read_text()) >= {"latency", "zip", "stage"}
    assert known_benches("x = 1") == set()
