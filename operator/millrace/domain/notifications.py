"""Who is to be told of what: each transition once per address, under an id that is the same at each try."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from millrace.api.base import API_VERSION, Metadata
from millrace.api.jobrun import JobRun, Phase
from millrace.api.notification import Notification, Transition
from millrace.domain.clock import parse, render

Object = dict[str, Any]

LATE = timedelta(minutes=10)  # between the time when a run is due and its start
STUCK = timedelta(minutes=10)  # without a start, though runs wait and a slot is free
ENDS: dict[Phase, Transition] = {Phase.SUCCEEDED: "Succeeded", Phase.FAILED: "Failed", Phase.CANCELLED: "Cancelled"}
CONTENT_TYPES = {"cloudevents": "application/cloudevents+json; charset=utf-8", "slack": "application/json; charset=utf-8"}
TEXT = 1000  # characters of a message: an address takes no novel


class Event(NamedTuple):
    """Something to tell. `uid`: of what it is about; `episode`: which of several of its kind, if there may be several."""

    transition: Transition
    uid: str
    subject: str
    time: datetime
    message: str
    data: Object
    episode: str = ""

    @property
    def id(self) -> str:
        """One id per transition, whoever is told of it and however often."""
        return ".".join(part for part in (self.uid, self.transition, self.episode) if part)


class Message(NamedTuple):
    """One request: the Secret's key that holds the address, and what is sent. `told` is recorded when it has been taken."""

    told: str
    secret: str
    key: str
    content_type: str
    body: Object


def of_run(run: JobRun, due: datetime, now: datetime) -> list[Event]:
    """The transitions that a run has had. `due`: when it should have started; a run that never did may have ended."""
    status, meta = run.status, run.metadata
    times = status.times
    found: list[Event] = []
    started = parse(times.started) if times and times.started else None
    ended = parse(times.finished) if times and times.finished else None
    late = min(moment for moment in (started, ended, now) if moment) - due
    data = {
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "phase": status.phase,
        "reason": status.failure.reason if status.failure else status.reason,
        "message": status.failure.message[:TEXT] if status.failure and status.failure.message else None,
        "functionRevision": status.function_revision,
        "duration": status.duration,
        "logs": status.logs,
        "outputs": [output.dump() for output in status.outputs] or None,
    }
    data = {key: value for key, value in data.items() if value is not None}
    if late > LATE:
        waits = f"is late: due at {render(due)}" + (f", {status.reason}" if status.reason and not started else "")
        found.append(Event("Late", meta.uid, meta.name, due + LATE, waits, data))
    if status.phase and (end := ENDS.get(status.phase)) and ended:
        failure = f": {status.failure.reason}: {status.failure.message}" if status.failure else ""
        found.append(Event(end, meta.uid, meta.name, ended, (end.lower() + failure)[:TEXT], data))
    return found


def of_queue(deployment: Metadata, *, queued: int, free: int, moved: datetime, now: datetime) -> list[Event]:
    """Whether a queue is stuck: `queued` runs wait, `free` slots are there, and the last that started did so at `moved`."""
    if not queued or free <= 0 or now - moved <= STUCK:
        return []
    data = {
        "namespace": deployment.namespace,
        "name": deployment.name,
        "uid": deployment.uid,
        "queued": queued,
        "free": free,
    }
    message = f"is stuck: {queued} runs wait, {free} slots are free, none has started since {render(moved)}"
    return [Event("QueueStuck", deployment.uid, deployment.name, moved + STUCK, message, data, episode=render(moved))]


def pending(
    deployment: Metadata,
    notifications: Sequence[Notification],
    events: Iterable[Event],
    *,
    told: Collection[str],
    since: datetime,
) -> list[Message]:
    """The requests that are still to be made, oldest events first; two entries for one address are one request.

    `since`: when the notifications were set up. Who is new is not told of all that was before.
    """
    found: dict[str, Message] = {}
    for event in sorted((event for event in events if event.time >= since), key=lambda event: (event.time, event.id)):
        for entry in notifications:
            if event.transition not in entry.on:
                continue
            form, where = entry.format or "cloudevents", entry.url_secret_ref
            mark = f"{event.id}@{where.name}/{where.key}"
            if mark not in told:
                body = _cloud_event(deployment, event) if form == "cloudevents" else _slack(deployment, event)
                found.setdefault(mark, Message(mark, where.name, where.key, CONTENT_TYPES[form], body))
    return list(found.values())


def _cloud_event(deployment: Metadata, event: Event) -> Object:
    """CloudEvents 1.0, structured mode in JSON."""
    kind = "deployment" if event.transition == "QueueStuck" else "jobrun"
    return {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/apis/{API_VERSION}/namespaces/{deployment.namespace}/deployments/{deployment.name}",
        "type": f"dev.millrace.{kind}.{event.transition.lower()}",
        "subject": event.subject,
        "time": render(event.time),
        "datacontenttype": "application/json",
        "data": event.data,
    }


def _slack(deployment: Metadata, event: Event) -> Object:
    """An incoming webhook's message; what has a meaning there is escaped."""
    where = f"{deployment.namespace}/{deployment.name}"
    what = event.subject if event.transition != "QueueStuck" else "the queue"
    text = f"{where}: {what} {event.message}"
    return {"text": text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")}
