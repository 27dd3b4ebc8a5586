"""Who is to be told of what: each transition once per address, under an id that is the same at each try."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from millrace.api.base import API_VERSION, Metadata
from millrace.api.jobrun import JobRun, Phase
from millrace.api.notification import Notification, NotificationStatus, Pending, Told, Transition
from millrace.domain.clock import parse, render

Object = dict[str, Any]

LATE = timedelta(minutes=10)  # between the time when a run is due and its start
STUCK = timedelta(minutes=10)  # without a start, though runs wait and a slot is free
GIVEN_UP = timedelta(days=1)  # of trying: what no address has taken by then is of no use to it
ENDS: dict[Phase, Transition] = {Phase.SUCCEEDED: "Succeeded", Phase.FAILED: "Failed", Phase.CANCELLED: "Cancelled"}
CONTENT_TYPES = {"cloudevents": "application/cloudevents+json; charset=utf-8", "slack": "application/json; charset=utf-8"}
TEXT = 1000  # characters of a message: an address takes no novel


class Subject(NamedTuple):
    """A run or a Deployment that has something to tell, and what goes with it as `data` of a CloudEvent."""

    kind: Literal["jobrun", "deployment"]
    uid: str
    name: str
    status: NotificationStatus
    data: Object

    def id(self, each: Pending) -> str:
        """One id per transition, whoever is told of it and however often. A queue may be stuck more than once."""
        episode = f".{each.time}" if each.transition == "QueueStuck" else ""
        return f"{self.uid}.{each.transition}{episode}"


class Message(NamedTuple):
    """What is sent to an address."""

    id: str
    content_type: str
    body: Object


class Outcome(NamedTuple):
    """What became of a message, and what the address has answered."""

    result: Literal["Sent", "Refused"]
    message: str | None = None


def wanted(notifications: Iterable[Notification]) -> frozenset[Transition]:
    """The transitions that somebody wants to be told of."""
    return frozenset(transition for entry in notifications for transition in entry.on)


def of_run(run: JobRun, due: datetime | None, now: datetime) -> list[Pending]:
    """The transitions that a run has had. `due`: when it should have started; None: it has, or is not to be started."""
    status, found = run.status, []
    if due and now - due > LATE:
        why = f", {status.reason}" if status.reason else ""
        text = f"is late: it was due at {render(due)}{why}"
        found.append(Pending(transition="Late", time=render(due + LATE), noted=render(now), message=text))
    if status.phase and (end := ENDS.get(status.phase)) and status.times and status.times.finished:
        found.append(Pending(transition=end, time=status.times.finished, noted=render(now)))
    return found


def subject_of(run: JobRun) -> Subject:
    """A run, as its status describes it."""
    status, meta = run.status, run.metadata
    failure = status.failure
    data = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "phase": status.phase,
        "reason": failure.reason if failure else status.reason,
        "message": failure.message[:TEXT] if failure and failure.message else None,
        "functionRevision": status.function_revision,
        "duration": status.duration,
        "logs": status.logs,
        "outputs": [output.model_copy(update={"data_store": None}).dump() for output in status.outputs] or None,
    }
    known = {key: value for key, value in data.items() if value is not None}
    return Subject("jobrun", meta.uid, meta.name, status.notifications or NotificationStatus(), known)


def subject_of_queue(deployment: Metadata, status: NotificationStatus | None) -> Subject:
    """The queue of a Deployment."""
    data = {"namespace": deployment.namespace, "name": deployment.name, "uid": deployment.uid}
    return Subject("deployment", deployment.uid, deployment.name, status or NotificationStatus(), data)


def settled(
    subject: Subject,
    notifications: Sequence[Notification],
    outcomes: Mapping[tuple[str, str], Outcome],
    now: datetime,
) -> NotificationStatus:
    """What is still to be told, and what became of the rest. `outcomes`: by message's id and address."""
    told = {(each.transition, each.address): each for each in subject.status.told}
    pending = []
    for each in subject.status.pending:
        still = False
        for entry in notifications:
            mark = (each.transition, entry.address)
            if each.transition not in entry.on:
                continue
            if outcome := outcomes.get((subject.id(each), entry.address)):
                told[mark] = Told(transition=each.transition, address=entry.address, **outcome._asdict())
            elif mark not in told and parse(each.noted) + GIVEN_UP <= now:
                told[mark] = Told(transition=each.transition, address=entry.address, result="GivenUp")
            still |= mark not in told
        pending += [each] if still else []
    return NotificationStatus(pending=pending, told=list(told.values()))


def messages(
    deployment: Metadata, notifications: Sequence[Notification], subjects: Iterable[Subject], *, most: int
) -> dict[str, list[Message]]:
    """What each address is to be told next, the oldest first, `most` at most; it is told once where two entries name it."""
    found: defaultdict[str, dict[str, Message]] = defaultdict(dict)
    everything = [(each, subject) for subject in subjects for each in subject.status.pending]
    for each, subject in sorted(everything, key=lambda pair: (pair[0].time, pair[1].id(pair[0]))):
        told = {mark.address for mark in subject.status.told if mark.transition == each.transition}
        for entry in notifications:
            by_id, name = found[entry.address], subject.id(each)
            if each.transition in entry.on and entry.address not in told and name not in by_id and len(by_id) < most:
                form, make = entry.format or "cloudevents", _slack if entry.format == "slack" else _cloud_event
                by_id[name] = Message(name, CONTENT_TYPES[form], make(deployment, subject, each))
    return {address: list(by_id.values()) for address, by_id in found.items() if by_id}


def _cloud_event(deployment: Metadata, subject: Subject, each: Pending) -> Object:
    """CloudEvents 1.0, structured mode in JSON."""
    return {
        "specversion": "1.0",
        "id": subject.id(each),
        "source": f"/apis/{API_VERSION}/namespaces/{deployment.namespace}/deployments/{deployment.name}",
        "type": f"dev.millrace.{subject.kind}.{each.transition.lower()}",
        "subject": subject.name,
        "time": each.time,
        "datacontenttype": "application/json",
        "data": subject.data if each.message is None else {**subject.data, "message": each.message},
    }


def _slack(deployment: Metadata, subject: Subject, each: Pending) -> Object:
    """An incoming webhook's message; what has a meaning there is escaped."""
    message = each.message
    if message is None:
        why = (str(subject.data[key]) for key in ("reason", "message") if key in subject.data)
        message = ": ".join((each.transition.lower(), *why))[:TEXT]
    what = subject.name if subject.kind == "jobrun" else "the queue"
    text = f"{deployment.namespace}/{deployment.name}: {what} {message}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
