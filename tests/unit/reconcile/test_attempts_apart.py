"""Promise 1, where a Job says that it failed and its pod is not seen: the pod may have minutes of grace."""

from __future__ import annotations

import pytest

from fixtures.objects import job
from millrace.reconcile.plan import Create, CreateNextAttempt
from millrace.reconcile.run import reconcile_run
from unit.reconcile.cases import started


@pytest.mark.parametrize("left", [{"active": 1}, {"active": 0, "terminating": 1}], ids=["active", "terminating"])
@pytest.mark.parametrize("now", [31, 600])
def test_no_attempt_follows_while_the_failed_jobs_pod_is_not_over(left: dict[str, int], now: float) -> None:
    seen = started({"retries": 3}, now=now, jobs=(job(failed=("PodFailurePolicy", "DisruptionTarget"), **left),))
    made = [action for action in reconcile_run(seen).actions if isinstance(action, Create | CreateNextAttempt)]
    assert made == []
