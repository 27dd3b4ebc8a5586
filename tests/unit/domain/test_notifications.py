"""Who is told of what: once per transition and address, in CloudEvents' and Slack's forms."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from fixtures.objects import RUN_UID, T0, at, metadata, run, stamp
from millrace.api.base import Metadata
from millrace.api.jobrun import JobRun
from millrace.api.notification import Notification
from millrace.domain.notifications import Event, Message, of_queue, of_run, pending

DEPLOYMENT = Metadata.model_validate(metadata("report", "deployment-uid"))
FAILURE = {"reason": "UserError", "message": "ValueError: 1 < 2 & <b>"}


def ended(phase: str, *, started: float | None = 5, **status: Any) -> JobRun:
    times = {"finished": stamp(60)} | ({"started": stamp(started)} if started is not None else {})
    return run(status={"phase": phase, "times": times, "duration": "1m", **status})


def notification(*transitions: str, key: str = "url", **fields: Any) -> Notification:
    return Notification.model_validate({"on": transitions, "urlSecretRef": {"name": "hook", "key": key}, **fields})


def told_of(events: list[Event], *entries: Notification, told: set[str] | None = None) -> list[Message]:
    return pending(DEPLOYMENT, entries, events, told=told or set(), since=T0)


def transitions(found: JobRun, now: float) -> list[str]:
    return [event.transition for event in of_run(found, T0, at(now))]


@pytest.mark.parametrize(
    ("found", "now", "expected"),
    [
        (run(), 599, []),
        (run(status={"phase": "Pending", "reason": "Starting"}), 600, []),
        (run(status={"phase": "Pending"}), 601, ["Late"]),
        (run(status={"phase": "Running", "times": {"started": stamp(5)}}), 9999, []),
        (run(status={"phase": "Running", "times": {"started": stamp(601)}}), 9999, ["Late"]),
        (ended("Succeeded"), 61, ["Succeeded"]),
        (ended("Succeeded"), 9999, ["Succeeded"]),
        (ended("Failed", failure=FAILURE), 61, ["Failed"]),
        (ended("Cancelled", started=None), 61, ["Cancelled"]),
        (ended("Cancelled", started=None), 9999, ["Cancelled"]),
    ],
)
def test_the_transitions_of_a_run(found: JobRun, now: float, expected: list[str]) -> None:
    assert transitions(found, now) == expected


def test_a_run_that_was_late_and_failed_has_two() -> None:
    found = run(status={"phase": "Failed", "times": {"finished": stamp(9000)}, "failure": FAILURE})
    assert transitions(found, 9001) == ["Late", "Failed"]
    assert len({event.id for event in of_run(found, T0, at(9001))}) == 2


def test_a_queue_is_stuck_when_runs_wait_beside_a_free_slot() -> None:
    def look(queued: int, free: int, seconds: float) -> list[Event]:
        return of_queue(DEPLOYMENT, queued=queued, free=free, moved=T0, now=at(seconds))

    assert look(3, 1, 600) == look(0, 2, 9999) == look(3, 0, 9999) == []
    [event] = look(3, 1, 601)
    assert (event.transition, event.time) == ("QueueStuck", at(600))
    assert event.id == look(5, 2, 9999)[0].id  # one episode, one id
    [another] = of_queue(DEPLOYMENT, queued=3, free=1, moved=at(5000), now=at(9999))
    assert another.id != event.id


def test_each_transition_is_told_once_per_address_that_asked_for_it() -> None:
    events = of_run(ended("Failed", failure=FAILURE), T0, at(61))
    entries = notification("Failed", "Late"), notification("Succeeded", key="other"), notification("Failed", key="third")
    messages = told_of(events, *entries)
    assert [(message.secret, message.key) for message in messages] == [("hook", "url"), ("hook", "third")]
    assert len({message.told for message in messages}) == 2
    assert {message.body["id"] for message in messages} == {f"{RUN_UID}.Failed"}
    assert told_of(events, *entries, told={messages[0].told}) == messages[1:]
    assert told_of(events, *entries, told={message.told for message in messages}) == []
    assert told_of(events, entries[0], entries[0]) == messages[:1]


def test_an_id_is_the_same_at_each_look_and_by_whoever_looks() -> None:
    looks = [told_of(of_run(ended("Succeeded"), T0, at(now)), notification("Succeeded")) for now in (61, 5000)]
    assert looks[0] == looks[1]


def test_who_is_new_is_not_told_of_the_past() -> None:
    events = of_run(ended("Succeeded"), T0, at(61))
    entry = notification("Succeeded")
    assert pending(DEPLOYMENT, [entry], events, told=(), since=at(60) + timedelta(seconds=1)) == []
    assert len(pending(DEPLOYMENT, [entry], events, told=(), since=at(60))) == 1


def test_a_cloud_event() -> None:
    found = ended(
        "Failed",
        failure=FAILURE,
        functionRevision="heart-1",
        logs="s3://lake/logs/score",
        outputs=[{"name": "scores", "uri": "s3://lake/scores.zip"}],
    )
    [message] = told_of(of_run(found, T0, at(61)), notification("Failed"))
    assert message.content_type == "application/cloudevents+json; charset=utf-8"
    assert message.body == {
        "specversion": "1.0",
        "id": "run-uid.Failed",
        "source": "/apis/millrace.dev/v1alpha1/namespaces/tenant/deployments/report",
        "type": "dev.millrace.jobrun.failed",
        "subject": "score",
        "time": "2026-01-31T08:01:00Z",
        "datacontenttype": "application/json",
        "data": {
            "namespace": "tenant",
            "name": "score",
            "uid": "run-uid",
            "phase": "Failed",
            "reason": "UserError",
            "message": "ValueError: 1 < 2 & <b>",
            "functionRevision": "heart-1",
            "duration": "1m",
            "logs": "s3://lake/logs/score",
            "outputs": [{"name": "scores", "uri": "s3://lake/scores.zip"}],
        },
    }
    [stuck] = told_of(of_queue(DEPLOYMENT, queued=3, free=1, moved=T0, now=at(700)), notification("QueueStuck"))
    assert (stuck.body["type"], stuck.body["subject"]) == ("dev.millrace.deployment.queuestuck", "report")
    assert stuck.body["data"] | {"queued": 3, "free": 1} == stuck.body["data"]


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (of_run(ended("Succeeded"), T0, at(61)), "tenant/report: score succeeded"),
        (
            of_run(ended("Failed", failure=FAILURE), T0, at(61)),
            "tenant/report: score failed: UserError: ValueError: 1 &lt; 2 &amp; &lt;b&gt;",
        ),
        (
            of_run(run(status={"phase": "Blocked", "reason": "AssetNotFound"}), T0, at(700)),
            "tenant/report: score is late: due at 2026-01-31T08:00:00Z, AssetNotFound",
        ),
        (
            of_queue(DEPLOYMENT, queued=3, free=1, moved=T0, now=at(700)),
            "tenant/report: the queue is stuck: 3 runs wait, 1 slots are free, none has started since 2026-01-31T08:00:00Z",
        ),
    ],
)
def test_a_message_for_slack(events: list[Event], text: str) -> None:
    every = notification("Succeeded", "Failed", "Late", "QueueStuck", format="slack")
    [message] = told_of(events, every)
    assert message.body == {"text": text}
    assert message.content_type == "application/json; charset=utf-8"
