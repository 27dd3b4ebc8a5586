"""DataStore: Ready or not, as its probe says. The operator itself has no access to any store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from millrace.api.datastore import DataStore
from millrace.build.chore import probe_job
from millrace.domain.clock import parse, render
from millrace.domain.conditions import Mark, find
from millrace.domain.names import probe_name
from millrace.domain.reasons import Reason
from millrace.domain.settings import Settings
from millrace.observe.failure import obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.plan import NOTHING, Action, Create, Delete, Learned, LookForEvents, Plan
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.status import conditions_patch, patch
from millrace.reconcile.waiting import NO_CONTAINER_SECONDS, NO_POD_SECONDS

PROBING = Mark("Ready", status=None, reason=Reason.PROBING, message="the probe has not answered yet")


@dataclass(frozen=True)
class DataStoreSnapshot:
    """A DataStore, the Jobs that it owns, and the pod of its current probe."""

    store: DataStore
    jobs: tuple[JobFacts, ...]
    pod: PodFacts | None
    learned: Learned
    settings: Settings
    now: datetime


def verdict(job: JobFacts, pod: PodFacts | None) -> Mark | None:
    """What the probe says; None while it has said nothing."""
    if job.complete:
        return Mark("Ready", status=True, reason=Reason.REACHABLE, message="")
    if pod is None:
        return None
    probe = pod.container("probe")
    if obstacle := obstacle_of(pod):
        reason = "CredentialsMissing" if obstacle[0] == Reason.CONFIG_ERROR else obstacle[0]
        return Mark("Ready", status=False, reason=reason, message=obstacle[1].removeprefix("probe: "))
    if report := probe.report() or probe.last_report():
        return Mark(
            "Ready",
            status=False,
            reason=str(report.get("reason") or Reason.PROBE_FAILED),
            message=str(report.get("message") or "the probe failed"),
        )
    return None


def reconcile_datastore(s: DataStoreSnapshot) -> Plan:
    """Probes each generation once, until it is healthy."""
    meta = s.store.metadata
    if meta.deletion_timestamp:
        return NOTHING
    name = probe_name(meta.name, meta.generation)
    stale: list[Action] = [Delete("Job", meta.namespace, job.name, job.uid) for job in s.jobs if job.name != name]
    current = next((job for job in s.jobs if job.name == name), None)
    ready = find(s.store.status.conditions, "Ready")
    known = ready if ready and ready.observed_generation == meta.generation else None
    if known and known.status == "True":
        finished = [Delete("Job", meta.namespace, current.name, current.uid)] if current else []
        return Plan((*stale, *finished))
    if current is None:
        if obstacle := refusal(s.learned, s.now):
            refused = Mark("Ready", status=False, reason=obstacle.reason, message=obstacle.message)
            return Plan((*stale, *_write(s, refused)), again=REFUSED_SECONDS)
        probing = () if known else _write(s, PROBING)
        return Plan((*stale, Create(probe_job(s.store, s.settings)), *probing), again=NO_POD_SECONDS + 0.1)
    outdated = current.stage_image not in {None, s.settings.stage_image}
    if outdated or (current.over and not current.complete):
        # Nobody but a person or an upgrade ends it; the next pass, after its deletion, makes it anew.
        return Plan((*stale, Delete("Job", meta.namespace, current.name, current.uid)), again=NO_POD_SECONDS)
    mark = verdict(current, s.pod)
    if mark is None:
        return _silent(s, stale, current, known=known is not None)
    written = _write(s, mark)
    if mark.status:
        stale.append(Delete("Job", meta.namespace, current.name, current.uid))
    return Plan((*written, *stale))


def _silent(s: DataStoreSnapshot, stale: list[Action], job: JobFacts, *, known: bool) -> Plan:
    """A probe that has said nothing. A refused quota and a volume that is not there stand in the Events only."""
    meta, pod = s.store.metadata, s.pod
    written: tuple[Action, ...] = () if known else _write(s, PROBING)
    probe = pod.container("probe") if pod else None
    if probe and (probe.running or probe.over):
        return Plan((*stale, *written))
    name, uid, created = (pod.name, pod.uid, pod.created) if pod else (job.name, job.uid, job.created)
    patience = NO_CONTAINER_SECONDS if pod else NO_POD_SECONDS
    found = s.learned.events if s.learned.events and s.learned.events[0] == uid else None
    looks: tuple[Action, ...] = ()
    if s.now >= parse(created) + timedelta(seconds=patience) and (
        found is None or s.now.timestamp() - found[3] > 2 * NO_POD_SECONDS
    ):
        looks = (LookForEvents(meta.namespace, name, uid, meta.uid),)
    if found and found[1]:
        written = _write(s, Mark("Ready", status=False, reason=found[1], message=found[2]))
    return Plan((*stale, *written, *looks), again=2 * NO_POD_SECONDS + 1)


def _write(s: DataStoreSnapshot, mark: Mark) -> tuple[Action, ...]:
    meta = s.store.metadata
    status: dict[str, Any] = {
        "conditions": conditions_patch(s.store.status.conditions, [mark], now=s.now, generation=meta.generation)
    }
    if mark.status:
        status["checked"] = render(s.now)
    write = patch("DataStore", meta, s.store.status.dump(), status)
    return (write,) if write else ()
