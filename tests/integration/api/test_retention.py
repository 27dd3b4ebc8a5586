"""Retention: what its schema takes, and what it refuses."""

from __future__ import annotations

import pytest

from integration.api.scratch import Scratch
from millrace.api.retention import Retention
from support.apiserver import ApiServer, Object, Refused


@pytest.fixture(scope="module")
def retention(api: ApiServer) -> Scratch:
    return Scratch(api, Retention)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"runs": {"amount": 0}},
        {"runs": {"amount": 10, "age": "30d"}, "failedRuns": {"age": "12h"}, "logs": {"age": "60s"}, "artifacts": {"age": "1d12h"}},
    ],
)  # fmt: skip
def test_amounts_and_ages_are_taken(retention: Scratch, spec: Object) -> None:
    assert retention.take(**spec) == spec


@pytest.mark.parametrize(
    ("spec", "field", "why"),
    [
        ({"runs": {}}, "spec.runs", "amount, age or both must be set"),
        ({"failedRuns": {"amount": -1}}, "spec.failedRuns.amount", "greater than or equal to 0"),
        ({"runs": {"age": "30"}}, "spec.runs.age", "should match"),
        ({"logs": {"age": "2w"}}, "spec.logs.age", "should match"),
        ({"artifacts": {}}, "spec.artifacts.age", "Required value"),
    ],
)
def test_the_rest_is_refused_by_its_field(retention: Scratch, spec: Object, field: str, why: str) -> None:
    with pytest.raises(Refused) as refused:
        retention.take(**spec)
    assert field in refused.value.message
    assert why in refused.value.message
