"""The kubelet's exit code is the truth; what process 1 says of it is a hint (design, part 3)."""

from __future__ import annotations

import json

import pytest

from fixtures.objects import over, pod
from millrace.observe.failure import of_pod
from millrace.observe.pod import read_pod


def test_a_value_that_cannot_be_written_is_final() -> None:
    """Another attempt would return it again."""
    found = pod(over("main", 239, message={"message": "output scores: a set cannot be written"}), phase="Failed")
    failure = of_pod(found)
    assert (failure.reason, failure.message) == ("ReturnRejected", "output scores: a set cannot be written")
    assert not failure.again


@pytest.mark.parametrize("claimed", [0, 2, None])
def test_the_exit_code_is_the_kubelets_whatever_the_last_words_claim(claimed: int | None) -> None:
    message = json.dumps({"reason": "Completed", "message": "all is well", "exitCode": claimed})
    ended = {"exitCode": 1, "reason": "Error", "message": message, "finishedAt": "2026-01-31T08:00:00Z"}
    main = {"name": "main", "state": {"terminated": ended}}
    meta = {"name": "p", "uid": "u", "creationTimestamp": "2026-01-31T08:00:00Z"}
    found = read_pod({"metadata": meta, "status": {"phase": "Failed", "containerStatuses": [main]}})
    assert found.container("main").exit_code == 1
    assert (of_pod(found).reason, of_pod(found).exit_code) == ("UserError", 1)
