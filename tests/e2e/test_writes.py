"""What a short run costs the API server beyond a bare Job, counted in the audit log: each write is etcd's and every watch's work."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from support import audit, canary
from support.audit import OPERATOR
from support.cluster import Namespace, function, job_run
from support.waiting import wait_for

MOST_WRITES, MOST_EVENTS = 3, 4
local = pytest.mark.skipif(not canary.node().exists(), reason="only the local provider shows the audit log")
Writes = Counter[tuple[str, str, str]]


def writes(namespace: Namespace, name: str) -> Writes:
    """Writes to the object of that name, its Job and its pod that went through: user, verb, resource. Events are not among them."""
    found: Writes = Counter()
    for entry in audit.entries(f'"{namespace.name}"'):
        named = entry["objectRef"].get("name", "").startswith(name)
        if named and entry["verb"] != "get" and entry["responseStatus"]["code"] < 300:
            found[entry["user"]["username"], entry["verb"], audit.resource(entry)] += 1
    return found


def events(namespace: Namespace, name: str) -> list[str]:
    """Reasons of the Events about the object of that name, its Job and its pod; of those that came twice, twice."""
    found = [event for event in namespace.list("events") if event["involvedObject"]["name"].startswith(name)]
    return [event["reason"] for event in found for _ in range(event.get("count") or 1)]


@local
def test_a_short_run_costs_at_most_three_writes_and_four_events_beyond_a_bare_job(namespace: Namespace) -> None:
    namespace.apply(function("f", "import time\ndef main():\n    time.sleep(1)\n"))
    for name in ("first", "short"):  # the first run of a revision makes its ConfigMap
        namespace.apply(job_run(name, "f"))
        status = namespace.finished(name)
        assert status["phase"] == "Succeeded"
    bare = namespace.get("job", "short")
    spec: dict[str, Any] = bare["spec"]
    del spec["selector"], spec["template"]["metadata"]["labels"]
    meta = {"name": "bare"}
    namespace.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})

    def complete(name: str) -> bool:
        return bool(namespace.get("job", name)["status"].get("completionTime"))

    for name in ("short", "bare"):
        wait_for(f"Job {name} is complete", lambda name=name: complete(name))  # type: ignore[misc]
    run, job = writes(namespace, "short"), writes(namespace, "bare")
    print(f"run: {run}\nbare Job: {job}")
    ours = {what: count for what, count in run.items() if what[0] == OPERATOR}
    assert ours[OPERATOR, "create", "jobs"] == 1, "the audit log is not read well"
    assert sum(ours.values()) <= MOST_WRITES, ours
    systems = [{what for what in found if what[0].startswith("system:") and what[0] != OPERATOR} for found in (run, job)]
    assert systems[0] == systems[1], "others write of a run what they do not write of a bare Job"
    told = Counter(events(namespace, "short"))
    beyond = told - Counter(events(namespace, "bare"))
    print(f"Events beyond a bare Job: {beyond}")
    assert beyond.total() <= MOST_EVENTS, beyond
