"""Names that are chosen and names that are typed."""

from __future__ import annotations

import pytest

from millrace.cli.names import first_name, fresh, run_name, similar
from millrace.domain.names import dns_name


@pytest.mark.parametrize(
    ("name", "taken", "expected"),
    [
        ("a", [], "a"),
        ("a", ["b", "a-r2"], "a"),
        ("a", ["a"], "a-r2"),
        ("a", ["a", "a-r2"], "a-r3"),
        ("a", ["a", "a-r7"], "a-r8"),  # what was deleted does not come back
        ("a", ["a", "a-x", "a-2", "a-r2-r3", "aa-r9"], "a-r2"),
        ("a-r2", ["a-r2"], "a-r2-r2"),
        ("a.b", ["a.b", "axb-r5"], "a.b-r2"),
        ("x" * 253, ["x" * 253], "x" * 250 + "-r2"),
    ],
)
def test_a_name_that_exists_gets_the_next_number(name: str, taken: list[str], expected: str) -> None:
    assert fresh(name, taken) == expected


@pytest.mark.parametrize("text", ["a", "jr/a", "jobrun/a", "jobruns/a", "jobrun.millrace.dev/a", " a "])
def test_a_run_is_named_as_kubectl_prints_it(text: str) -> None:
    assert run_name(text) == "a"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("train_model", "train-model"), ("My Script (2)", "my-script-2"), ("-x-", "x"), ("é", ""), ("a" * 300, "a" * 200)],
)
def test_a_file_gives_a_name(text: str, expected: str) -> None:
    assert dns_name(text) == expected


def test_the_name_that_was_meant() -> None:
    assert similar("scor-1", ["heart-1", "score-1"]) == "score-1"
    assert similar("zzz", ["heart-1"]) is None


@pytest.mark.parametrize(
    ("name", "first"), [("a", "a"), ("a-r2", "a"), ("a-r12", "a"), ("a-r2-r3", "a-r2"), ("a-r", "a-r"), ("car2", "car2")]
)
def test_the_name_that_a_run_again_had_first(name: str, first: str) -> None:
    assert first_name(name) == first
