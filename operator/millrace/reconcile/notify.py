"""Tells what a Deployment's notifications ask for: a Job for each address that has something to be told, one at a time.

What is to be told stands in the status of the run. It goes from there when the Job has told it, and then the Job goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from millrace.api.notification import NotificationStatus, Pending, Told
from millrace.build.notify import notify_job
from millrace.build.pod import compact, escaped
from millrace.build.revision import authorities, bundle_digest
from millrace.domain.clock import parse
from millrace.domain.conditions import Mark, find
from millrace.domain.notifications import (
    GIVEN_UP,
    Message,
    Outcome,
    Subject,
    messages,
    settled,
    subject_of_queue,
)
from millrace.domain.reasons import Reason
from millrace.observe.failure import obstacle_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile.part import Part
from millrace.reconcile.plan import Action, Apply, Create, Delete, Emit, PatchStatus
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal
from millrace.reconcile.stuck import watch_queue

if TYPE_CHECKING:
    from millrace.reconcile.deployment import DeploymentSnapshot

CONDITION = "Notified"
MESSAGES = 100  # of one Job: what became of each has to fit into its termination message
BYTES = 96 * 1024  # of these: they are a variable, and the kernel takes 128 KiB for one
SIGHT_SECONDS = 10  # our sight of pods may be so far behind that of Jobs


class Untold(NamedTuple):
    """A run that has something to tell."""

    subject: Subject
    resource_version: str


@dataclass(frozen=True)
class Notices:
    """Runs of the Deployment that have something to tell; the Jobs that tell it, with their pods; its queue; authorities."""

    runs: tuple[Untold, ...] = ()
    jobs: tuple[tuple[JobFacts, PodFacts | None], ...] = ()
    waiting: int = 0  # runs that ask for a slot and have none
    moved: str = ""  # when one was last admitted or over
    bundle: str | None = None  # digest of the authorities that the namespace has
    ca_bundle: str | None = None  # the installation's


class Telling(NamedTuple):
    """A Job: what became of its messages so far, by their ids; what is in its way."""

    job: JobFacts
    address: str
    outcomes: dict[str, Outcome]
    over: bool
    trouble: str | None


class Record(NamedTuple):
    """What is still to be told of whom, and what says so: of the runs writes, of the queue a field of the status."""

    subjects: list[Subject]
    writes: list[PatchStatus]
    status: dict[str, Any]
    news: list[Told]


def notify(s: DeploymentSnapshot) -> Part:
    """Records what has been told, deletes the Jobs that did, and makes those for what is still to be told."""
    meta, entries = s.deployment.metadata, s.deployment.spec.notifications
    addresses = {entry.address: entry for entry in reversed(entries)}
    jobs, queue = [_read(s, job, pod) for job, pod in s.notices.jobs], watch_queue(s)
    record = _record(s, jobs, queue.pending)
    done = [telling.job for telling in jobs if telling.over or telling.address not in addresses]
    deletions = [Delete("Job", meta.namespace, job.name, job.uid) for job in done if not job.deleted]
    busy = {telling.address for telling in jobs if telling.job not in done or telling.job.deleted}
    waiting = messages(meta, [entry for entry in entries if entry.address not in busy], record.subjects, most=MESSAGES)
    refused = refusal(s.learned, s.now) if waiting else None
    made: list[Action] = []
    if waiting and not refused:
        jobs_made = (Create(notify_job(meta, addresses[key], _fitting(found), s.settings)) for key, found in waiting.items())
        made = [*_authorities(s), *jobs_made]
    trouble = [telling.trouble for telling in jobs if telling.trouble and telling.job not in done]
    trouble += [f"{', '.join(waiting)}: the Job is refused: {refused.message}"] if refused else []
    said = _said(trouble, record.news)
    # One condition holds one reason, and news come once: each is an Event of its own.
    events = [_event(s, reason, f"notifications: {message}") for reason, message in said]
    if queue.pending:
        events.append(_event(s, Reason.QUEUE_STUCK, f"the queue {queue.pending.message}"))
    waits = [0.0] if record.writes or deletions else []
    waits += [REFUSED_SECONDS] if refused else []
    waits += [queue.again] if queue.again is not None else []
    waits += [1 for telling in jobs if telling.job.complete and not telling.over]
    waits += [_left(s, each.noted) for subject in record.subjects for each in subject.status.pending]
    return Part(
        (*record.writes, *deletions, *made, *events),
        record.status,
        min(waits, default=None),
        marks=(*_mark(s, said, record.news), *([queue.mark] if queue.mark else [])),
    )


def _record(s: DeploymentSnapshot, jobs: Sequence[Telling], stuck: Pending | None) -> Record:
    """What has become of all that was to be told."""
    entries, meta = s.deployment.spec.notifications, s.deployment.metadata
    outcomes = {(message, telling.address): found for telling in jobs for message, found in telling.outcomes.items()}
    record = Record([], [], {}, [])

    def settle(before: Subject) -> NotificationStatus:
        after = settled(before, entries, outcomes, s.now)
        record.subjects.append(before._replace(status=after))
        record.news.extend(told for told in after.told if told not in before.status.told)
        return after

    for subject, version in s.notices.runs:
        if (after := settle(subject)) != subject.status:
            status = {"notifications": after.dump()}
            record.writes.append(PatchStatus("JobRun", meta.namespace, subject.name, version, status))
    known = s.deployment.status.notifications
    queue = subject_of_queue(meta, NotificationStatus(pending=[stuck]) if stuck else known)
    if (settled_queue := settle(queue)) != (known or NotificationStatus()):
        record.status["notifications"] = settled_queue.dump()
    return record


def _event(s: DeploymentSnapshot, reason: str, message: str) -> Emit:
    meta = s.deployment.metadata
    return Emit("Deployment", meta.namespace, meta.name, meta.uid, warning=True, reason=reason, message=message)


def _read(s: DeploymentSnapshot, job: JobFacts, pod: PodFacts | None) -> Telling:
    about = job.notifies or {}
    address, ids = str(about["address"]), list(about["ids"])
    container = pod.container("notify") if pod else None
    report = container.report() or container.last_report() if container else {}
    refusals = dict(report.get("refused", []))
    # Without its pod a Job that is complete has told all.
    unseen = job.complete and not (pod and pod.over)
    late = job.finished is not None and s.now >= parse(job.finished) + timedelta(seconds=SIGHT_SECONDS)
    count = len(ids) if unseen and late else int(report.get("done", 0))
    outcomes = {
        message: Outcome("Refused", refusals[index]) if index in refusals else Outcome("Sent")
        for index, message in enumerate(ids[:count])
    }
    obstacle = obstacle_of(pod) if pod else None
    said = obstacle[1] if obstacle else report.get("message")
    over = (job.over and (late or not unseen)) or _left(s, job.created) <= 0
    return Telling(job, address, outcomes, over, f"{address}: {said}; it is tried again" if said else None)


def _left(s: DeploymentSnapshot, since: str) -> float:
    """Seconds until what is to be told since then is given up."""
    return (parse(since) + GIVEN_UP - s.now).total_seconds()


def _fitting(found: Sequence[Message]) -> Sequence[Message]:
    """As many as one Job takes, the oldest first."""
    size = 0
    for number, message in enumerate(found):
        size += len(escaped(compact(message.body)).encode()) + 100
        if number and size > BYTES:
            return found[:number]
    return found


def _authorities(s: DeploymentSnapshot) -> list[Action]:
    """The installation's authorities, where the namespace has them not yet, or older ones."""
    bundle = s.notices.ca_bundle
    if bundle is None or s.notices.bundle == bundle_digest(bundle):
        return []
    return [Apply(authorities(s.deployment.metadata.namespace, bundle))]


def _said(trouble: Sequence[str], news: Iterable[Told]) -> list[tuple[Reason, str]]:
    """What somebody should look at, the most urgent first. No run is named: see its status."""
    news = list(news)
    refused = {f"{told.address} refuses it: {told.message}" for told in news if told.result == "Refused"}
    lost = {f"{told.address} took nothing for a day" for told in news if told.result == "GivenUp"}
    found = (
        (Reason.NOTIFICATION_NOT_SENT, trouble),
        (Reason.NOTIFICATION_REFUSED, sorted(refused)),
        (Reason.NOTIFICATION_GIVEN_UP, sorted(lost)),
    )
    return [(reason, "; ".join(messages)) for reason, messages in found if messages]


def _mark(s: DeploymentSnapshot, said: Sequence[tuple[Reason, str]], news: Iterable[Told]) -> tuple[Mark, ...]:
    """Whether addresses take what they are told; nothing where there is nothing new."""
    if said:
        reason, message = said[0]
        return (Mark(CONDITION, status=False, reason=reason, message=message),)
    known = find(s.deployment.status.conditions, CONDITION)
    unused = known is not None and not s.deployment.spec.notifications
    if any(told.result == "Sent" for told in news) or unused:
        return (Mark(CONDITION, status=True, reason=Reason.SENT),)
    return ()
