"""Deployment: keeps the ConfigMaps of its revisions, and tells how its queue goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from millrace.api.deployment import Deployment
from millrace.api.function import Function
from millrace.build.revision import revision_of_deployment
from millrace.domain.conditions import Mark, find
from millrace.domain.obstacle import Obstacle
from millrace.domain.queue import is_stale
from millrace.domain.reasons import Reason
from millrace.domain.resolve import check_function
from millrace.domain.settings import Settings
from millrace.observe.job import JobFacts
from millrace.reconcile.mapping import mapping
from millrace.reconcile.notify import Notices, notify
from millrace.reconcile.part import Part
from millrace.reconcile.plan import NOTHING, Create, Learned, Manifest, PatchStatus, Plan
from millrace.reconcile.retention import Left, retain
from millrace.reconcile.revisions import tidy
from millrace.reconcile.schedule import run_by_schedule
from millrace.reconcile.status import conditions_patch, patch

TOLD = 20  # positions that one pass tells: of a long queue everybody's changes with each start
TELL_SECONDS = 2  # until the next pass, where there is more to tell


class Queued(NamedTuple):
    """A run that waits, and the position that its status tells."""

    name: str
    resource_version: str
    told: int


@dataclass(frozen=True)
class DeploymentSnapshot:
    """A Deployment, its revisions (name to UID), those that unfinished runs are made of, and its queue in its order."""

    deployment: Deployment
    function: Function | None
    revisions: dict[str, str]
    in_use: frozenset[str]
    running: int
    queued: tuple[Queued, ...]
    cron_job: Manifest | None  # its own
    tokens: tuple[JobFacts, ...]  # of that CronJob
    learned: Learned
    settings: Settings
    now: datetime
    left: Left = field(default_factory=Left)
    notices: Notices = field(default_factory=Notices)


def reconcile_deployment(s: DeploymentSnapshot) -> Plan:
    """Ready, or why no run of it can start; and what its parts ask for."""
    deployment, meta = s.deployment, s.deployment.metadata
    if meta.deletion_timestamp:
        return NOTHING
    parts = [part(s) for part in PARTS]
    parts.append(run_by_schedule(s, held=any(part.obstacle for part in parts)))
    obstacle = next((part.obstacle for part in parts if part.obstacle), None)
    reason, message = (obstacle.reason, obstacle.message) if obstacle else (Reason.VALID, "")
    wanted = revision_of_deployment(deployment)
    current = wanted["metadata"]["name"]
    made = () if current in s.revisions else (Create(wanted),)
    # It heals by itself when the Function does, so it is never Stalled.
    marks = [Mark("Ready", status=obstacle is None, reason=reason, message=message)]
    if obstacle or find(deployment.status.conditions, "Reconciling"):
        marks.append(Mark("Reconciling", status=obstacle is not None, reason=reason, message=message))
    marks += (mark for part in parts for mark in part.marks)
    status = {
        "conditions": conditions_patch(deployment.status.conditions, marks, now=s.now, generation=meta.generation),
        "deploymentId": meta.uid,
        "revision": current,
    }
    for part in parts:
        status |= part.status
    write = patch("Deployment", meta, deployment.status.dump(), status)
    old = tidy(meta.namespace, s.revisions, current, s.in_use, written=write is not None)
    waits = [again for again in (old.again, *(part.again for part in parts)) if again is not None]
    written = (write,) if write else ()
    before = (action for part in parts for action in part.before)
    after = (action for part in parts for action in part.actions)
    return Plan((*made, *before, *written, *old.actions, *after), again=min(waits, default=None))


def _function(s: DeploymentSnapshot) -> Part:
    if s.function is None:
        name = s.deployment.spec.function_ref.name
        return Part(obstacle=Obstacle(Reason.FUNCTION_NOT_FOUND, f"Function {name} does not exist in this namespace"))
    found = check_function(s.function, s.settings)
    return Part(obstacle=found and found._replace(message=f"Function {s.function.metadata.name}: {found.message}"))


def _queue(s: DeploymentSnapshot) -> Part:
    """How many runs go on and wait; and positions that have changed so much that it matters, of those that are next."""
    namespace = s.deployment.metadata.namespace
    told = tuple(
        PatchStatus("JobRun", namespace, run.name, run.resource_version, {"queuePosition": place})
        for place, run in enumerate(s.queued, start=1)
        if is_stale(run.told, place)
    )[:TOLD]
    again = TELL_SECONDS if len(told) == TOLD else None
    return Part(told, {"running": s.running, "queued": len(s.queued)}, again)


def _mapping(s: DeploymentSnapshot) -> Part:
    return mapping(s.deployment, s.function)


PARTS = (_function, _mapping, _queue, notify, retain)
