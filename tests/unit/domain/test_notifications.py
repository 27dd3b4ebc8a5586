"""Who is told of what: once per transition and address, in CloudEvents' and Slack's forms."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import RUN_UID, at, metadata, run, stamp
from millrace.api.base import Metadata
from millrace.api.jobrun import JobRun
from millrace.api.notification import Notification, NotificationStatus
from millrace.domain import notifications as domain
from millrace.domain.notifications import GIVEN_UP, Message, Outcome, Subject, of_run, settled, subject_of

DEPLOYMENT = Metadata.model_validate(metadata("report", "deployment-uid"))
FAILURE = {"reason": "UserError", "message": "ValueError: 1 < 2 & <b>"}
SENT = Outcome("Sent")
DAY = GIVEN_UP.total_seconds()


def ended(phase: str, *pending: str, **status: Any) -> JobRun:
    """A run that ended after a minute, of which those transitions are still to be told."""
    found = {"phase": phase, "times": {"finished": stamp(60)}, "duration": "1m", **status}
    if pending:
        entries = [{"transition": transition, "time": stamp(60), "noted": stamp(60)} for transition in pending]
        found["notifications"] = {"pending": entries, **status.get("notifications", {})}
    return run(status=found)


def notification(*transitions: str, key: str = "url", **fields: Any) -> Notification:
    return Notification.model_validate({"on": transitions, "urlSecretRef": {"name": "hook", "key": key}, **fields})


@pytest.mark.parametrize(
    ("found", "due", "now", "expected"),
    [
        (run(), 0, 600, []),
        (run(status={"phase": "Pending", "reason": "Starting"}), 0, 600, []),
        (run(status={"phase": "Pending"}), 0, 601, ["Late"]),
        (run(status={"phase": "Queued"}), 60, 660, []),
        (run(status={"phase": "Queued"}), 60, 661, ["Late"]),
        (run(status={"phase": "Running"}), None, 9999, []),
        (ended("Succeeded"), None, 61, ["Succeeded"]),
        (ended("Failed", failure=FAILURE), None, 9999, ["Failed"]),
        (ended("Cancelled"), None, 61, ["Cancelled"]),
    ],
)
def test_the_transitions_of_a_run(found: JobRun, due: float | None, now: float, expected: list[str]) -> None:
    assert [each.transition for each in of_run(found, None if due is None else at(due), at(now))] == expected


def test_a_late_run_says_when_it_was_due_and_what_keeps_it() -> None:
    [late] = of_run(run(status={"phase": "Blocked", "reason": "AssetNotFound"}), at(0), at(700))
    assert (late.time, late.message) == (stamp(600), "is late: it was due at 2026-01-31T08:00:00Z, AssetNotFound")


def messages(entries: Any, subjects: list[Subject], most: int = 100) -> dict[str, list[Message]]:
    return domain.messages(DEPLOYMENT, entries, subjects, most=most)


def test_each_transition_is_told_once_per_address_that_asked_for_it() -> None:
    subject = subject_of(ended("Failed", "Failed", failure=FAILURE))
    entries = notification("Failed", "Late"), notification("Succeeded", key="other"), notification("Failed", key="third")
    found = messages(entries, [subject])
    assert {address: [each.id for each in told] for address, told in found.items()} == {
        "hook/url": [f"{RUN_UID}.Failed"],
        "hook/third": [f"{RUN_UID}.Failed"],
    }
    assert [len(told) for told in messages((entries[0], entries[0]), [subject]).values()] == [1]
    told = settled(subject, entries, {(f"{RUN_UID}.Failed", "hook/url"): SENT}, at(70))
    assert list(messages(entries, [subject._replace(status=told)])) == ["hook/third"]


def test_the_oldest_is_told_first_and_the_rest_in_an_order_that_stays() -> None:
    def pending(name: str, seconds: float) -> Subject:
        status = NotificationStatus.model_validate(
            {"pending": [{"transition": "Failed", "time": stamp(seconds), "noted": stamp(60)}]}
        )
        return Subject("jobrun", name, name, status, {})

    subjects = [pending("c", 5), pending("a", 9), pending("b", 5)]
    for order in (subjects, subjects[::-1]):
        [told] = messages([notification("Failed")], order).values()
        assert [each.id for each in told] == ["b.Failed", "c.Failed", "a.Failed"]
        [first] = messages([notification("Failed")], order, most=1).values()
        assert [each.id for each in first] == ["b.Failed"]


def test_what_happened_while_the_operator_was_away_has_its_day_from_when_that_is_known() -> None:
    status = NotificationStatus.model_validate(
        {"pending": [{"transition": "Failed", "time": stamp(-999_999), "noted": stamp(60)}]}
    )
    subject, day = Subject("jobrun", "a", "a", status, {}), 24 * 3600
    assert settled(subject, [notification("Failed")], {}, at(59 + day)) == status
    assert [told.result for told in settled(subject, [notification("Failed")], {}, at(60 + day)).told] == ["GivenUp"]


def test_a_transition_stays_until_each_address_that_asked_for_it_has_taken_or_refused_it() -> None:
    subject = subject_of(ended("Failed", "Failed"))
    entries = [notification("Failed"), notification("Failed", key="other")]
    one, other = (f"{RUN_UID}.Failed", "hook/url"), (f"{RUN_UID}.Failed", "hook/other")
    assert settled(subject, entries, {}, at(70)) == subject.status
    refused = {other: Outcome("Refused", "HTTP 410")}
    for begin in ({one: SENT}, refused):
        first = settled(subject, entries, begin, at(70))
        assert [each.transition for each in first.pending] == ["Failed"]
    both = settled(subject._replace(status=first), entries, {one: SENT}, at(70))
    assert both.dump() == {
        "pending": [],
        "told": [
            {"transition": "Failed", "address": "hook/other", "result": "Refused", "message": "HTTP 410"},
            {"transition": "Failed", "address": "hook/url", "result": "Sent"},
        ],
    }


def test_what_nobody_asks_for_any_more_goes_and_what_has_another_address_now_is_told_there() -> None:
    subject = subject_of(ended("Failed", "Failed"))
    assert settled(subject, [], {}, at(70)).dump() == {"pending": [], "told": []}
    assert settled(subject, [notification("Succeeded")], {}, at(70)).pending == []
    moved = [notification("Failed", key="new")]
    assert settled(subject, moved, {}, at(70)) == subject.status
    assert list(messages(moved, [subject])) == ["hook/new"]


@pytest.mark.parametrize(("seconds", "result"), [(60 + DAY - 1, None), (60 + DAY, "GivenUp")])
def test_what_no_address_has_taken_for_a_day_is_given_up(seconds: float, result: str | None) -> None:
    found = settled(subject_of(ended("Failed", "Failed")), [notification("Failed")], {}, at(seconds))
    assert [each.result for each in found.told] == ([result] if result else [])
    assert bool(found.pending) == (result is None)


def told(found: JobRun, entry: Notification) -> Message:
    [[message]] = messages([entry], [subject_of(found)]).values()
    return message


def test_a_cloud_event() -> None:
    found = ended(
        "Failed",
        "Failed",
        failure=FAILURE,
        functionRevision="heart-1",
        logs="s3://lake/logs/score",
        outputs=[{"name": "scores", "uri": "s3://lake/scores.zip", "dataStore": {"name": "lake", "path": "scores.zip"}}],
    )
    message = told(found, notification("Failed"))
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


LATE = {
    "transition": "Late",
    "time": stamp(600),
    "noted": stamp(600),
    "message": "is late: it was due at 2026-01-31T08:00:00Z",
}


def test_a_late_run_is_told_as_it_was_then() -> None:
    found = run(status={"phase": "Running", "notifications": {"pending": [LATE]}})
    body = told(found, notification("Late")).body
    assert (body["id"], body["type"], body["time"]) == ("run-uid.Late", "dev.millrace.jobrun.late", stamp(600))
    assert body["data"]["message"] == LATE["message"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (ended("Succeeded", "Succeeded"), "tenant/report: score succeeded"),
        (
            ended("Failed", "Failed", failure=FAILURE),
            "tenant/report: score failed: UserError: ValueError: 1 &lt; 2 &amp; &lt;b&gt;",
        ),
        (run(status={"notifications": {"pending": [LATE]}}), f"tenant/report: score {LATE['message']}"),
    ],
)
def test_a_message_for_slack(found: JobRun, text: str) -> None:
    every = notification("Succeeded", "Failed", "Late", format="slack")
    message = told(found, every)
    assert message.body == {"text": text}
    assert message.content_type == "application/json; charset=utf-8"
