"""What goes: by amount and age, failed runs apart, logs and artifacts by their own age, and never what is not ours."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import T0
from millrace.api.retention import Retention
from millrace.domain.retention import Gone, KnownRun, Stored, select

NOW = T0


def run(name: str, seconds: float | None, *, failed: bool = False, ours: bool = True) -> KnownRun:
    """A run that ended so many seconds ago; None: it goes on."""
    return KnownRun(name, f"{name}-uid", ours, failed, None if seconds is None else NOW - timedelta(seconds=seconds))


def stored(kind: Any, of: KnownRun) -> Stored:
    assert of.finished
    return Stored(kind, f"s3://lake/{kind}/{of.name}", of.uid, of.ours, of.finished)


def gone(retention: dict[str, Any], runs: list[KnownRun], things: list[Stored] | None = None) -> Gone:
    return select(Retention.model_validate(retention), runs, things or [], NOW)


def names(found: Gone) -> set[str]:
    return {uid.removesuffix("-uid") for uid in found.runs}


FIVE = [run("a", 50), run("b", 40, failed=True), run("c", 30), run("d", 20, failed=True), run("e", 10)]


@pytest.mark.parametrize(
    ("retention", "left_out"),
    [
        ({}, set()),
        ({"logs": {"age": "1s"}, "artifacts": {"age": "1s"}}, set()),
        ({"runs": {"amount": 2}}, {"a", "b", "c"}),
        ({"runs": {"amount": 0}}, {"a", "b", "c", "d", "e"}),
        ({"runs": {"amount": 9}}, set()),
        ({"runs": {"age": "30s"}}, {"a", "b", "c"}),
        ({"runs": {"age": "31s"}}, {"a", "b"}),
        ({"runs": {"age": "1h", "amount": 4}}, {"a"}),
        ({"runs": {"age": "15s", "amount": 4}}, {"a", "b", "c", "d"}),
        ({"runs": {"amount": 1}, "failedRuns": {"amount": 1}}, {"a", "c", "b"}),
        ({"runs": {"amount": 1}, "failedRuns": {"age": "1d"}}, {"a", "c"}),
        ({"failedRuns": {"age": "30s"}}, {"b"}),
    ],
)
def test_runs_go_by_amount_and_age_and_failed_ones_by_their_own(retention: dict[str, Any], left_out: set[str]) -> None:
    assert names(gone(retention, FIVE)) == left_out


@pytest.mark.parametrize("retention", [{"runs": {"amount": 0, "age": "0s"}, "failedRuns": {"amount": 0}, "logs": {"age": "0s"}, "artifacts": {"age": "0s"}}])  # fmt: skip
def test_what_is_not_ours_or_goes_on_never_goes_nor_counts(retention: dict[str, Any]) -> None:
    applied, going = run("applied", 1e9, ours=False), run("going", None)
    failed = run("failed", 1e9, failed=True, ours=False)
    found = gone(retention, [applied, failed, going], [stored("logs", applied), stored("artifacts", applied)])
    assert found == Gone((), (), None)
    assert names(gone({"runs": {"amount": 1}}, [run("old", 20), run("applied", 10, ours=False), going])) == set()


def test_logs_go_with_their_run_and_artifacts_stay() -> None:
    things = [stored(kind, each) for each in FIVE for kind in ("logs", "artifacts")]
    found = gone({"runs": {"amount": 2}}, FIVE, things)
    assert [thing.uri for thing in found.stored] == [f"s3://lake/logs/{name}" for name in "abc"]


def test_logs_and_artifacts_with_an_age_of_their_own_go_by_it_alone() -> None:
    things = [stored(kind, each) for each in FIVE for kind in ("logs", "artifacts")]
    found = gone({"runs": {"amount": 0}, "logs": {"age": "25s"}, "artifacts": {"age": "45s"}}, FIVE, things)
    assert {thing.uri for thing in found.stored} == {
        *(f"s3://lake/logs/{name}" for name in "abc"),
        "s3://lake/artifacts/a",
    }
    assert found.next == NOW + timedelta(seconds=5)  # b's artifact, and d's logs


def test_artifacts_go_also_when_their_run_has_gone_before() -> None:
    thing = stored("artifacts", run("gone", 100))
    assert gone({"artifacts": {"age": "60s"}}, [], [thing]).stored == (thing,)
    assert gone({"artifacts": {"age": "101s"}}, [], [thing]) == Gone((), (), NOW + timedelta(seconds=1))


def test_the_next_look_is_when_the_next_one_is_old_enough() -> None:
    assert gone({"runs": {"age": "45s"}}, FIVE).next == NOW + timedelta(seconds=5)
    assert gone({"runs": {"amount": 1}}, FIVE).next is None


@given(
    st.lists(st.tuples(st.integers(0, 100), st.booleans(), st.booleans()), max_size=12),
    st.integers(0, 5),
    st.integers(0, 100),
    st.permutations(range(12)),
)
def test_what_is_left_is_the_latest_and_a_second_look_finds_nothing(
    given_runs: list[tuple[int, bool, bool]], amount: int, age: int, order: list[int]
) -> None:
    runs = [run(f"r{n}", seconds, failed=failed, ours=ours) for n, (seconds, failed, ours) in enumerate(given_runs)]
    retention = {"runs": {"amount": amount, "age": f"{age}s"}, "failedRuns": {"amount": amount}}
    found = gone(retention, runs)
    assert gone(retention, [runs[n] for n in order if n < len(runs)]) == found
    left = [each for each in runs if each.uid not in found.runs]
    assert names(gone(retention, left)) == set()
    assert sum(each.ours and each.failed for each in left) == min(amount, sum(each.ours and each.failed for each in runs))
    assert all(each in left for each in runs if not each.ours)
