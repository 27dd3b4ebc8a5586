"""DataStore: Ready or not, as its probe says. The operator itself has no access to any store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from millrace.api.datastore import DataStore
from millrace.build.job import probe_job
from millrace.domain.clock import render
from millrace.domain.conditions import Mark, find
from millrace.domain.names import probe_name
from millrace.domain.settings import Settings
from millrace.observe.failure import obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import NOTHING, Action, Create, Delete, Plan
from millrace.reconcile.status import conditions_patch, patch


@dataclass(frozen=True)
class DataStoreSnapshot:
    """A DataStore, the Jobs that it owns, and the pods of its current probe."""

    store: DataStore
    jobs: tuple[JobFacts, ...]
    pods: tuple[PodFacts, ...]
    settings: Settings
    now: datetime


def verdict(job: JobFacts, pods: tuple[PodFacts, ...]) -> Mark | None:
    """What the probe says; None while it has said nothing."""
    if job.complete:
        return Mark("Ready", status=True, reason="Reachable", message="")
    for pod in pods:
        probe = pod.container("probe")
        if obstacle := obstacle_of(pod):
            reason = "CredentialsMissing" if obstacle[0] == "ConfigError" else obstacle[0]
            return Mark("Ready", status=False, reason=reason, message=obstacle[1].removeprefix("probe: "))
        report = probe.report() or probe.last_report()
        if report:
            return Mark(
                "Ready",
                status=False,
                reason=str(report.get("reason") or "ProbeFailed"),
                message=str(report.get("message") or "the probe failed"),
            )
    return None


def reconcile_datastore(s: DataStoreSnapshot) -> Plan:
    """Probes each generation once, until it is healthy."""
    store, meta = s.store, s.store.metadata
    if meta.deletion_timestamp:
        return NOTHING
    name = probe_name(meta.name, meta.generation)
    stale: list[Action] = [Delete("Job", meta.namespace, job.name, job.uid) for job in s.jobs if job.name != name]
    current = next((job for job in s.jobs if job.name == name), None)
    ready = find(store.status.conditions, "Ready")
    if ready and ready.status == "True" and ready.observed_generation == meta.generation:
        finished = [Delete("Job", meta.namespace, current.name, current.uid)] if current else []
        return Plan((*stale, *finished))
    if current is None:
        return Plan((*stale, Create(probe_job(store, s.settings))))
    mark = verdict(current, s.pods)
    if mark is None:
        return Plan(tuple(stale))
    status: dict[str, Any] = {
        "conditions": conditions_patch(store.status.conditions, [mark], now=s.now, generation=meta.generation)
    }
    if mark.status:
        status["checked"] = render(s.now)
        stale.append(Delete("Job", meta.namespace, current.name, current.uid))
    write = patch("DataStore", meta, store.status.dump(), status)
    return Plan((write, *stale) if write else tuple(stale))
