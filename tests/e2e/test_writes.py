"""What a short run costs the API server beyond a bare Job, counted in the audit log: each write is etcd's and every watch's work."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from support import audit, canary
from support.audit import OPERATOR
from support.cluster import Namespace, function, job_run
from support.waiting import wait_for

MOST_WRITES, MOST_EVENTS = 3, 4
SHORT = 5  # seconds; a phase of a run is written where it lasts for longer than one
TRIES = [f"short-{number}" for number in range(8)]  # for a machine that does other work too
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


def run(namespace: Namespace, name: str) -> float:
    """Seconds from the run's creation to its end."""
    namespace.apply(job_run(name, "f"))
    status = namespace.finished(name)
    assert status["phase"] == "Succeeded"
    created = namespace.get("jobrun", name)["metadata"]["creationTimestamp"]
    return (datetime.fromisoformat(status["times"]["finished"]) - datetime.fromisoformat(created)).total_seconds()


@local
def test_a_short_run_costs_at_most_three_writes_and_four_events_beyond_a_bare_job(namespace: Namespace) -> None:
    namespace.apply(function("f", "import time\ndef main():\n    time.sleep(1)\n"))
    run(namespace, "first")  # the first run of a revision makes its ConfigMap
    name = next((name for name in TRIES if run(namespace, name) < SHORT), None)
    assert name, f"on this machine no run of 1 s takes less than {SHORT} s"
    bare = namespace.get("job", name)
    spec: dict[str, Any] = bare["spec"]
    del spec["selector"], spec["template"]["metadata"]["labels"]
    meta = {"name": "bare"}
    namespace.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})

    def complete(name: str) -> bool:
        return bool(namespace.get("job", name)["status"].get("completionTime"))

    for made in (name, "bare"):
        wait_for(f"Job {made} is complete", lambda made=made: complete(made))  # type: ignore[misc]
    short, job = writes(namespace, name), writes(namespace, "bare")
    print(f"run: {short}\nbare Job: {job}")
    ours = {what: count for what, count in short.items() if what[0] == OPERATOR}
    assert ours[OPERATOR, "create", "jobs"] == 1, "the audit log is not read well"
    assert sum(ours.values()) <= MOST_WRITES, ours
    systems = [{what for what in found if what[0].startswith("system:") and what[0] != OPERATOR} for found in (short, job)]
    assert systems[0] == systems[1], "others write of a run what they do not write of a bare Job"
    told = Counter(events(namespace, name))
    beyond = told - Counter(events(namespace, "bare"))
    print(f"Events beyond a bare Job: {beyond}")
    assert beyond.total() <= MOST_EVENTS, beyond
