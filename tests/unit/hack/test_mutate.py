"""hack/mutate: its table fits the code, and its verdicts are those of pytest's report."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[3]


def load_tool() -> ModuleType:
    """The program, which has no .py at its end."""
    loader = importlib.machinery.SourceFileLoader("hack_mutate", str(ROOT / "hack" / "mutate"))
    spec = importlib.util.spec_from_loader("hack_mutate", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules["hack_mutate"] = module  # dataclasses look their module up
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


mutate = load_tool()
ENTRY = """
[[mutation]]
name = "a"
tier = "unit"
file = "code.py"
find = "1"
replace = "2"
tests = ["tests/test_a.py::test_a"]
"""
REPORT = """<testsuites><testsuite>
<testcase classname="tests.test_a" name="test_a[1]"/>
<testcase classname="tests.test_a" name="test_a[2]"><failure message="x"/></testcase>
<testcase classname="tests.test_a" name="test_b"><error message="x"/></testcase>
<testcase classname="tests.test_a" name="test_c"/>
<testcase classname="tests.test_a" name="test_d"><skipped type="pytest.xfail" message="x"/></testcase>
</testsuite></testsuites>"""


def test_the_table_fits_the_code() -> None:
    """Each text stands exactly once where it is looked for, and each test is there."""
    mutations = mutate.load((ROOT / "hack" / "mutations.toml").read_text())
    assert len(mutations) >= 20
    assert mutate.stale(mutations, ROOT) == []


@pytest.mark.parametrize(
    ("text", "says"),
    {
        "not there": ("0", "stands 0 times"),
        "twice": ("11", "stands 2 times"),
    }.values(),
)
def test_a_text_that_does_not_stand_once_is_stale(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_a():\n    pass\n")
    (tmp_path / "code.py").write_text(text)
    [problem] = mutate.stale(mutate.load(ENTRY), tmp_path)
    assert says in problem


def test_a_test_that_is_not_there_is_stale(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("def test_another():\n    pass\n")
    (tmp_path / "code.py").write_text("1")
    assert mutate.stale(mutate.load(ENTRY), tmp_path) == ["a: no test tests/test_a.py::test_a"]


@pytest.mark.parametrize(
    "entry",
    [ENTRY + ENTRY, ENTRY.replace('tier = "unit"', 'tier = "x"'), ENTRY.replace('find = "1"', ""), ENTRY + 'more = "1"\n'],
    ids=["one name twice", "no tier", "a field missing", "a field too many"],
)
def test_a_malformed_table_is_refused(entry: str) -> None:
    with pytest.raises(mutate.Stale):
        mutate.load(entry)


@pytest.mark.parametrize(
    ("tests", "word"),
    [
        (["tests/test_a.py::test_a"], "killed"),
        (["tests/test_a.py::test_a[2]"], "killed"),
        (["tests/test_a.py::test_a[1]"], "SURVIVED"),
        (["tests/test_a.py::test_b"], "broken"),
        (["tests/test_a.py::test_c"], "SURVIVED"),
        (["tests/test_a.py::test_e"], "broken"),
        (["tests/test_a.py::test_a", "tests/test_a.py::test_c"], "SURVIVED"),
    ],
)
def test_each_named_test_must_fail_and_an_error_proves_nothing(tests: list[str], word: str) -> None:
    mutation = mutate.Mutation("a", "code.py", "1", "2", tuple(tests), "unit")
    assert mutate.verdict(mutation, mutate.read_report(REPORT)) == word


def test_a_test_that_is_not_green_to_begin_with_is_told() -> None:
    tests = [f"tests/test_a.py::test_{letter}" for letter in "abcde"]
    assert mutate.green(tests, mutate.read_report(REPORT)) == {
        "tests/test_a.py::test_a": "failure, passed",
        "tests/test_a.py::test_b": "error",
        "tests/test_a.py::test_d": "skipped",
        "tests/test_a.py::test_e": "not collected",
    }


def test_a_fault_changes_one_place_only() -> None:
    mutation = mutate.Mutation("a", "code.py", "x = 1\n", "x = 2\n", ("t",), "unit")
    assert mutation.apply("x = 1\ny = 1\n") == "x = 2\ny = 1\n"
    with pytest.raises(mutate.Stale):
        mutate.Mutation("a", "code.py", "x", "x", ("t",), "unit").apply("x")
