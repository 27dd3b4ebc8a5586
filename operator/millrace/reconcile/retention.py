"""What a Deployment's retention lets go: runs that we made, and what they left in stores, by Jobs.

A run goes only when Jobs are there for all that goes with it and after it: they are the record of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.build.keep import keep_job
from millrace.domain.clock import parse
from millrace.domain.reasons import Reason
from millrace.domain.reclaim import place
from millrace.domain.resolve import default_store
from millrace.domain.retention import Kind, KnownRun, Stored, age, latest, select
from millrace.observe.failure import obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.part import Part
from millrace.reconcile.plan import Action, Create, Delete, Emit, Learned, PatchStatus, StartJob
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal

if TYPE_CHECKING:
    from millrace.reconcile.deployment import DeploymentSnapshot

RUNS = 100  # that one pass deletes
THINGS = 300  # of one Job: its plan is a variable, and the kernel takes 128 KiB for one
WAIT_SECONDS = 10  # until another look for a Job at work; its pod wakes us before
SHARE = 50  # what outlives its runs is gathered for this part of its age, so that there are few Jobs that wait for it


class Ended(NamedTuple):
    """A finished run that the Deployment owns, and what is left of it."""

    run: KnownRun
    resource_version: str
    stored: tuple[Stored, ...]
    deleted: tuple[Kind, ...] = ()
    untold: bool = False  # somebody is still to be notified of it


@dataclass(frozen=True)
class Left:
    """The finished runs, the Jobs that delete what they left, with their pods; stores and assets of the namespace."""

    ended: tuple[Ended, ...] = ()
    jobs: tuple[tuple[JobFacts, PodFacts | None], ...] = ()
    stores: Mapping[str, DataStore] = field(default_factory=dict)
    assets: tuple[DataAsset, ...] = ()
    learned: Learned = field(default_factory=Learned)


class Batch(NamedTuple):
    """Things that one Job can delete: of these stores, at once or when the age of that kind is over."""

    waits: Kind | None
    stores: tuple[str, ...]


def retain(s: DeploymentSnapshot) -> Part:
    """Runs that go; Jobs that are made, started, told of and done with."""
    left, retention, namespace = s.left, s.deployment.spec.retention, s.deployment.metadata.namespace
    jobs = [(job, pod) for job, pod in left.jobs if not job.deleted]
    actions: list[Action] = []
    waits: list[float] = []
    going: set[str] = set()
    if retention:
        gone = select(
            retention,
            [ended.run for ended in left.ended],
            latest(thing for ended in left.ended for thing in ended.stored),
            s.now,
        )
        waits += [(gone.next - s.now).total_seconds()] if gone.next else []
        recorded = {part for job, _ in jobs for part in (job.keeps or {})["parts"]}
        batches = _batches(left, gone.stored, gone.later, recorded)
        needed = {thing.run for things in batches.values() for thing in things}
        free = [ended.run for ended in left.ended if ended.run.uid in set(gone.runs) - needed and not ended.untold]
        actions += [Delete("JobRun", namespace, run.name, run.uid) for run in free[:RUNS]]
        going = {run.uid for run in free[:RUNS]}
        waits += [0] if len(free) > RUNS else []
        refused = refusal(left.learned, s.now) if batches else None
        if refused:
            text = f"retention: the Job that deletes what runs have left is refused: {refused.message}"
            actions.append(_tell(s, Reason.DATA_NOT_DELETED, text, warning=True))
        for batch, things in batches.items():
            held = REFUSED_SECONDS if refused else _held(s, batch, things, [job for job, _ in jobs])
            if held is None:
                used = tuple(left.stores[name] for name in batch.stores)
                actions.append(
                    Create(keep_job(s.deployment.metadata, _fitting(things), used, s.settings, waits=batch.waits))
                )
            waits.append(held or 0)
    for job, pod in jobs:
        found = _follow(s, job, pod, going)
        actions += found.actions
        waits += [found.again] if found.again is not None else []
    return Part(tuple(actions), again=min(waits, default=None))


def _batches(left: Left, now: Iterable[Stored], later: Iterable[Stored], recorded: set[str]) -> dict[Batch, list[Stored]]:
    """What no Job is there for yet, by the Job that it can have, run by run, the oldest first."""
    runs: defaultdict[Batch, defaultdict[str, list[Stored]]] = defaultdict(lambda: defaultdict(list))
    stores_of = {ended.run.uid: {thing.store for thing in ended.stored} for ended in left.ended}
    for waiting, things in ((False, now), (True, later)):
        for thing in sorted(things, key=lambda thing: thing.finished):
            if part(thing) in recorded or thing.store not in left.stores or _is_data_of_asset(left, thing):
                continue
            # The commit records of a run are in its first output's store, which is one of these.
            names = {thing.store} if thing.kind == "logs" else stores_of[thing.run] & left.stores.keys()
            runs[Batch(thing.kind if waiting else None, tuple(sorted(names)))][thing.run].append(thing)
    return {batch: [thing for things in by_run.values() for thing in things] for batch, by_run in runs.items()}


def _fitting(things: Sequence[Stored]) -> list[Stored]:
    """As many as one Job takes: whole runs, since a Job is the record of all things of a run that it names."""
    last = things[:THINGS][-1].run
    return [*things[:THINGS], *(thing for thing in things[THINGS:] if thing.run == last)]


def part(thing: Stored) -> str:
    """What stands in the record for all things of that kind of a run."""
    return f"{thing.run}/{thing.kind}"


def _is_data_of_asset(left: Left, thing: Stored) -> bool:
    """Whether a DataAsset names it: then it goes with that, if at all."""
    if thing.kind == "logs":
        return False
    mine, default = place(thing.path, thing.store, left.stores[thing.store]), default_store(left.stores)
    for asset in left.assets:
        name = asset.spec.data_store or (default.metadata.name if default else "")
        if mine.overlaps(place(asset.spec.path, name, left.stores.get(name))):
            return True
    return False


def _held(s: DeploymentSnapshot, batch: Batch, things: Sequence[Stored], jobs: Iterable[JobFacts]) -> float | None:
    """Seconds until a Job may be made; None: now. There is one at work, and one more at a time that gathers what waits."""
    same = [job for job in jobs if job.keeps and Batch(job.keeps["waits"], tuple(job.keeps["stores"])) == batch]
    if batch.waits is None:
        return WAIT_SECONDS if any(not job.complete for job in same) else None
    if len(things) >= THINGS or not same:
        return None
    span = age(s.deployment.spec.retention, batch.waits)
    assert span is not None
    missing = span / SHARE - (s.now - max(parse(job.created) for job in same))
    return max(missing.total_seconds(), 1) if missing > timedelta(0) else None


def _follow(s: DeploymentSnapshot, job: JobFacts, pod: PodFacts | None, going: set[str]) -> Part:
    """The next step of a Job; of one that is over the runs that stay are told what is gone."""
    namespace, keeps = s.deployment.metadata.namespace, job.keeps or {}
    done = Delete("Job", namespace, job.name, job.uid)
    report = pod.container("keep").report() if pod else {}
    if job.complete:
        told = [
            PatchStatus("JobRun", namespace, ended.run.name, ended.resource_version, {"deleted": [*ended.deleted, *kinds]})
            for ended in s.left.ended
            if ended.run.uid not in going and (kinds := _kinds(keeps["parts"], ended))
        ]
        kept = f", {report['kept']} kept: they are not what the runs have written" if report.get("kept") else ""
        message = f"retention: {report.get('deleted', 'all')} objects of runs deleted{kept}"
        return Part((*told, _tell(s, Reason.DATA_DELETED, message, warning=False), done))
    if job.parked:
        span = age(s.deployment.spec.retention, keeps["waits"])
        if span is None:
            return Part((done,))  # that kind is kept for ever now
        end = parse(keeps["finished"]) + span
        if end > s.now:
            return Part(again=(end - s.now).total_seconds())
        return Part((StartJob(namespace, job.name, job.uid, parked=True),))
    obstacle = obstacle_of(pod) if pod else None
    last = report or (pod.container("keep").last_report() if pod else {})
    if not (obstacle or "message" in last):
        return Part()
    message = obstacle[1] if obstacle else last["message"]
    text = f"retention: what runs have left is not deleted yet: {message}"
    return Part((_tell(s, Reason.DATA_NOT_DELETED, text, warning=True),))


def _kinds(parts: Sequence[str], ended: Ended) -> list[Kind]:
    kinds: tuple[Kind, ...] = ("logs", "artifacts")
    return [kind for kind in kinds if f"{ended.run.uid}/{kind}" in parts and kind not in ended.deleted]


def _tell(s: DeploymentSnapshot, reason: Reason, message: str, *, warning: bool) -> Emit:
    meta = s.deployment.metadata
    return Emit("Deployment", meta.namespace, meta.name, meta.uid, warning, reason, message)
