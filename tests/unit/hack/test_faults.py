"""hack/faults.py: the table, what a run has shown of it, and the page that keeps both."""

from __future__ import annotations

import faults
import pytest
from faults import Fault, Result, load, printed, result, stale, written
from results import Malformed, judge, read_recoveries, read_reports

A, B = "tests/integration/x/test_a.py::test_a", "tests/integration/x/test_b.py::test_b"
HEAD = faults._line(faults.HEAD)
ROW = 'id = "F01"\nfault = "a"\npromise = "b"\nnotice = "c"\n'


def fault(*tests: str, name: str = "F01", **more: str) -> Fault:
    return Fault(id=name, fault="it breaks", promise="it goes on", notice="nothing", tests=tests, **more)


def report(*cases: str) -> str:
    return f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>"


def case(test: str, inner: str = "", number: str = "") -> str:
    path, _, name = test.partition("::")
    return f'<testcase classname="{path[:-3].replace("/", ".")}" name="{name}{number}">{inner}</testcase>'


def measured(seconds: float) -> str:
    return f'<properties><property name="recovery_seconds" value="{seconds}"/></properties>'


def test_the_table_has_every_fault_that_concerns_these_kinds() -> None:
    rows = load(faults.TABLE.read_text())
    assert [row.id for row in rows] == [f"F{number:02}" for number in range(1, 35)]
    assert all(row.fault and row.promise and row.notice for row in rows)


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "no promise": ('id = "F01"\nfault = "a"\nnotice = "c"\ntests = ["x"]', "needed"),
        "a field that is none": (f'{ROW}tests = ["x"]\nmore = "d"', "the fields are"),
        "neither test nor reason": (ROW, "the reason why they are missing"),
        "test and reason": (f'{ROW}tests = ["x"]\nmissing = "d"', "either tests"),
        "a cell that ends early": (f'{ROW}missing = "d | e"', "end a cell"),
        "twice": (f'{ROW}tests = ["x"]\n[[fault]]\n{ROW}tests = ["x"]', "once each"),
    }.values(),
)
def test_a_malformed_table_is_refused(text: str, says: str) -> None:
    with pytest.raises(Malformed, match=says):
        load(f"[[fault]]\n{text}")


@pytest.mark.parametrize(
    ("cases", "happened", "recovery"),
    {
        "both passed": ([case(A), case(B)], "passed", None),
        "the longest recovery counts": (
            [case(A, measured(1.5), "[x]"), case(A, measured(9), "[y]"), case(B, measured(2))],
            "passed",
            9,
        ),
        "one failed in one case": ([case(A), case(A, "<failure/>", "[y]"), case(B)], "failed: test_a", None),
        "one was skipped": ([case(A), case(B, '<skipped type="pytest.skip"/>')], "failed: test_b", None),
        "one is expected to fail": ([case(A), case(B, '<skipped type="pytest.xfail"/>')], "failed: test_b", None),
        "one did not run": ([case(A)], "passed, but 1 not run", None),
        "none ran": ([], "not run", None),
    }.values(),
)
def test_what_happened(cases: list[str], happened: str, recovery: float | None) -> None:
    row, reports = fault(A, B), [report(*cases)]
    assert result(row, read_reports(reports), read_recoveries(reports)) == Result(row, happened, recovery)


def test_a_fault_without_a_test_says_so() -> None:
    found = result(fault(missing="nobody has the hardware"), {}, {})
    assert found.cells()[4:] == ("none: nobody has the hardware", "no test", "-")
    assert "no test" in printed([found])


def test_after_a_run_each_test_of_a_fault_has_passed() -> None:
    assert judge([fault(A, B)], read_reports([report(case(A, "<failure/>"))])) == (
        [f"F01: {A}: failure", f"F01: {B} did not run"],
        [],
    )


def test_the_report_says_of_each_fault_what_was_promised_what_happened_and_how_long_it_took() -> None:
    text = printed([Result(fault(A), "passed", 1.25), Result(fault(B, name="F02"), "failed: test_b", None)])
    assert text.splitlines()[1:] == [
        "F01  passed, recovery 1.2 s: it breaks",
        "     it goes on",
        "F02  failed: test_b, recovery -: it breaks",
        "     it goes on",
    ]


def page(*rows: Fault, happened: str = "passed") -> str:
    return written(f"# Faults\n\n{HEAD}\n|---|\n| old |\n\nThe end.\n", [Result(row, happened, 2) for row in rows])


def test_the_page_keeps_what_is_around_its_table() -> None:
    text = page(fault(A, open="the rest"))
    assert text.startswith(
        f"# Faults\n\n{HEAD}\n|---|---|---|---|---|---|---|\n| F01 | it breaks | it goes on | nothing | 1; not"
    )
    assert text.endswith("not shown: the rest | passed | 2.0 s |\n\nThe end.\n")
    assert written(text, [Result(fault(A, open="the rest"), "passed", 2)]) == text


def test_a_row_that_was_not_run_keeps_its_result_unless_it_has_changed() -> None:
    text = page(fault(A))
    assert written(text, [Result(fault(A), "not run", None)]) == text
    assert "| not run | - |" in written(text, [Result(fault(A, B), "not run", None)])


def test_a_page_without_a_table_is_not_written() -> None:
    with pytest.raises(Malformed, match="has no table"):
        written("# Faults\n", [])


def test_a_page_is_stale_where_the_table_differs_and_not_where_a_run_does() -> None:
    one, two = fault(A), fault(A, B, name="F02")
    assert stale(page(one, two, happened="failed: test_b"), [one, two]) == []
    [gone, new] = stale(page(one), [fault(A, B)])
    assert "not as tests/faults.toml has it: F01 | it breaks | it goes on | nothing | 1 " in gone
    assert "no row F01 | it breaks | it goes on | nothing | 2 " in new
    assert len(stale(page(one), [one, two])) == 1
    assert len(stale(page(one, two), [one])) == 1
    assert len(stale(page(two, one), [one, two])) == 1
