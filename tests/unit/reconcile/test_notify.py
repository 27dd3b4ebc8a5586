"""A Deployment's pass tells what its runs have to tell: one Job for each address, the record before the Job goes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fixtures.objects import SETTINGS, at, condition, deployment, over, pod, run, stamp, waiting_for
from millrace.api.jobrun import JobRun
from millrace.build.revision import bundle_digest
from millrace.domain.notifications import subject_of
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.reconcile import notify as subject
from millrace.reconcile.deployment import DeploymentSnapshot, reconcile_deployment
from millrace.reconcile.notify import Notices, Untold, notify
from millrace.reconcile.part import Part
from millrace.reconcile.plan import Action, Apply, Create, Delete, Emit, Learned, PatchStatus, Plan
from unit.reconcile.deployments import deployment_snapshot, facts

HOOK = {"on": ["Failed", "Succeeded"], "urlSecretRef": {"name": "hook", "key": "url"}}
CHAT = {"on": ["Failed"], "format": "slack", "urlSecretRef": {"name": "chat", "key": "url"}}
DAY = 86400


def untold(name: str, seconds: float = 0, transition: str = "Failed", *told: dict[str, str]) -> JobRun:
    """A run that has ended, of which that is still to be told."""
    pending = [{"transition": transition, "time": stamp(seconds), "noted": stamp(seconds)}]
    status = {"phase": transition, "notifications": {"pending": pending, "told": list(told)}}
    found = run(name, status=status, deploymentRef={"name": "scoring"})
    return found.model_copy(update={"metadata": found.metadata.model_copy(update={"uid": f"{name}-uid"})})


def known(found: JobRun) -> Untold:
    return Untold(subject_of(found), found.metadata.resource_version)


def seen(
    *runs: JobRun,
    entries: Any = (HOOK,),
    jobs: list[tuple[JobFacts, PodFacts | None]] | None = None,
    now: float = 10,
    **changes: Any,
) -> DeploymentSnapshot:
    notices = Notices(tuple(map(known, runs)), tuple(jobs or ()))
    subject = deployment(notifications=list(entries))
    return deployment_snapshot(subject, now, **{"function": None, "revisions": {}, "notices": notices, **changes})


def complete(action: Action, finished: float = 20) -> JobFacts:
    return facts(action, complete=True, finished=stamp(finished))


def report(done: int, *refused: tuple[int, str], **failure: str) -> PodFacts:
    """The pod of a Job that has dealt with so many messages."""
    said = {"done": done, "refused": [list(each) for each in refused], **failure}
    return pod(over("notify", code=1 if failure else 0, message=said), phase="Running" if failure else "Succeeded")


def brief(part: Part) -> list[str]:
    found = []
    for action in part.actions:
        match action:
            case Create(manifest):
                about = json.loads(manifest["metadata"]["annotations"]["millrace.dev/notifies"])
                found.append(f"{about['address']}: {' '.join(about['ids']).replace('-uid', '')}")
            case PatchStatus(_, _, name, _, status):
                told = [f"{each['address']} {each['result']}" for each in status["notifications"]["told"]]
                still = [each["transition"] for each in status["notifications"]["pending"]]
                found.append(f"{name}: {', '.join(told)}; {', '.join(still)}")
            case Emit():
                found.append(action.reason)
            case _:
                found.append(type(action).__name__)
    return found


def marks(part: Part) -> list[tuple[bool | None, str, str]]:
    return [(mark.status, mark.reason, mark.message) for mark in part.marks]


def job_of(*runs: JobRun, **changes: Any) -> Action:
    [made] = notify(seen(*runs, **changes)).actions
    return made


A, B, C = untold("a"), untold("b", 1), untold("c", 2, "Succeeded")


@pytest.mark.parametrize(
    ("runs", "entries", "found"),
    [
        ([], [HOOK], []),
        ([A, B, C], [HOOK], ["hook/url: a.Failed b.Failed c.Succeeded"]),
        ([C, B, A], [HOOK, CHAT], ["hook/url: a.Failed b.Failed c.Succeeded", "chat/url: a.Failed b.Failed"]),
        ([C], [HOOK, CHAT], ["hook/url: c.Succeeded"]),
        ([A], [], ["a: ; "]),
    ],
)
def test_an_address_has_one_job_for_all_that_it_is_to_be_told(runs: list[JobRun], entries: Any, found: list[str]) -> None:
    assert brief(notify(seen(*runs, entries=entries))) == found


def test_while_a_job_tells_an_address_no_other_does_and_another_address_does_not_wait() -> None:
    job = facts(job_of(A))
    assert brief(notify(seen(A, B, jobs=[(job, None)]))) == []
    assert brief(notify(seen(A, B, entries=[HOOK, CHAT], jobs=[(job, None)]))) == ["chat/url: a.Failed b.Failed"]
    assert brief(notify(seen(A, B, jobs=[(replace(job, deleted=True), None)]))) == []


def test_what_is_told_is_recorded_before_its_job_goes_and_the_next_is_made_after_that() -> None:
    made = job_of(A, B)
    part = notify(seen(A, B, C, jobs=[(complete(made), report(2))], now=21))
    assert brief(part) == ["a: hook/url Sent; ", "b: hook/url Sent; ", "Delete", "hook/url: c.Succeeded"]
    assert (part.again, marks(part)) == (0, [(True, "Sent", "")])
    gone = notify(seen(jobs=[(complete(made), report(2))], now=21))
    assert brief(gone) == ["Delete"], "runs that were deleted meanwhile are nobody's concern"


def test_the_same_messages_have_the_same_job_whenever_it_is_made() -> None:
    first, second = job_of(A, B), job_of(B, A, now=500)
    assert first == second
    assert job_of(A) != first


def test_what_a_job_has_told_before_it_failed_is_recorded_at_once_and_what_is_in_its_way_is_told() -> None:
    failed = report(1, reason="ServerError", message="https://hook.test: HTTP 503")
    part = notify(seen(A, B, jobs=[(facts(job_of(A, B)), failed)]))
    assert brief(part) == ["a: hook/url Sent; ", "NotificationNotSent"]
    [(status, reason, message)] = marks(part)
    assert (status, reason) == (False, "NotificationNotSent")
    assert message == "hook/url: https://hook.test: HTTP 503; it is tried again"


def test_a_secret_that_is_missing_is_told_and_nothing_is_lost() -> None:
    stuck = pod(waiting_for("notify", "CreateContainerConfigError", 'secret "hook" not found'))
    part = notify(seen(A, jobs=[(facts(job_of(A)), stuck)]))
    assert brief(part) == ["NotificationNotSent"]
    assert marks(part)[0][2] == 'hook/url: notify: secret "hook" not found; it is tried again'


def test_a_refusal_is_recorded_and_told_and_the_others_are_sent() -> None:
    done = report(2, (0, "HTTP 404"))
    part = notify(seen(A, B, jobs=[(complete(job_of(A, B)), done)], now=21))
    assert brief(part) == ["a: hook/url Refused; ", "b: hook/url Sent; ", "Delete", "NotificationRefused"]
    assert marks(part) == [(False, "NotificationRefused", "hook/url refuses it: HTTP 404")]


def test_a_refusal_is_told_beside_another_address_that_is_held_up() -> None:
    later = {"on": ["Failed"], "urlSecretRef": {"name": "later", "key": "url"}}
    jobs = [facts(made) for made in notify(seen(A, entries=[HOOK, later])).actions]
    stuck = pod(waiting_for("notify", "CreateContainerConfigError", 'secret "later" not found'))
    refused = replace(jobs[0], complete=True, finished=stamp(20))
    part = notify(seen(A, entries=[HOOK, later], jobs=[(refused, report(1, (0, "HTTP 404"))), (jobs[1], stuck)], now=21))
    assert brief(part) == ["a: hook/url Refused; Failed", "Delete", "NotificationNotSent", "NotificationRefused"]
    assert [reason for _, reason, _ in marks(part)] == ["NotificationNotSent"]


def test_a_job_whose_pod_is_gone_has_told_all_but_one_whose_pod_is_not_in_sight_is_waited_for() -> None:
    made = job_of(A)
    waits = notify(seen(A, jobs=[(complete(made), None)], now=25))
    assert (brief(waits), waits.again) == ([], 1)
    running = pod(over("notify", message={"done": 1, "refused": [[0, "HTTP 404"]]}), phase="Running")
    assert brief(notify(seen(A, jobs=[(complete(made), running)], now=25))) == [
        "a: hook/url Refused; ",
        "NotificationRefused",
    ]
    assert brief(notify(seen(A, jobs=[(complete(made), None)], now=31))) == ["a: hook/url Sent; ", "Delete"]


def test_what_no_address_takes_is_given_up_after_a_day_with_its_job() -> None:
    made = facts(job_of(A), seconds=10)
    before = notify(seen(A, jobs=[(made, None)], now=DAY - 5))
    assert (brief(before), before.again) == ([], 5)
    part = notify(seen(A, B, jobs=[(made, None)], now=DAY))
    assert brief(part) == ["a: hook/url GivenUp; ", "NotificationGivenUp"]
    assert brief(notify(seen(jobs=[(made, None)], now=DAY + 10))) == ["Delete"]


def test_an_address_that_was_taken_out_is_told_no_more() -> None:
    made = facts(job_of(A))
    assert brief(notify(seen(A, entries=[CHAT], jobs=[(made, None)]))) == ["Delete", "chat/url: a.Failed"]


def test_a_job_takes_so_many_messages_and_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MESSAGES", 2)
    assert brief(notify(seen(A, B, C))) == ["hook/url: a.Failed b.Failed"]
    monkeypatch.setattr(subject, "BYTES", 10)
    assert brief(notify(seen(A, B, C))) == ["hook/url: a.Failed"]


def test_the_largest_job_fits_into_what_the_kernel_takes_for_a_variable() -> None:
    failure = {"reason": "UserError", "message": "$" * 5000}
    outputs = [{"name": f"o{n}", "uri": "s3://" + "k" * 1100} for n in range(16)]
    runs = []
    for number in range(200):
        found = untold(f"run-{number}")
        runs.append(
            JobRun.model_validate(
                {**found.dump(), "status": {**found.status.dump(), "failure": failure, "outputs": outputs}}
            )
        )
    made = job_of(*runs)
    assert isinstance(made, Create)
    [variable, _] = made.manifest["spec"]["template"]["spec"]["containers"][0]["env"]
    assert 64 * 1024 < len(variable["value"].encode()) < 120 * 1024


def test_a_refused_job_is_told_and_tried_again() -> None:
    refused = Learned(refusal=(403, "exceeded quota: jobs", at(5).timestamp()))
    part = notify(seen(A, learned=refused))
    assert (brief(part), part.again) == (["NotificationNotSent"], 10)
    assert marks(part)[0][2] == "hook/url: the Job is refused: exceeded quota: jobs"


def test_the_namespace_has_the_installations_authorities_before_the_job_is_made() -> None:
    settings = SETTINGS.model_copy(update={"ca_bundle_file": "/etc/ca.crt"})
    notices = Notices((known(A),), ca_bundle="PEM")
    apply, create = notify(seen(settings=settings, notices=notices)).actions
    assert isinstance(apply, Apply)
    assert apply.manifest["data"] == {"ca.crt": "PEM"}
    assert isinstance(create, Create)
    there = replace(notices, bundle=bundle_digest("PEM"))
    assert [type(action) for action in notify(seen(settings=settings, notices=there)).actions] == [Create]


def test_the_condition_stays_as_it_is_while_there_is_nothing_new_and_heals_where_nothing_is_asked_for() -> None:
    bad = {"conditions": [condition("Notified", "False", "NotificationRefused", "hook/url refuses it: HTTP 404")]}
    kept = reconcile_deployment(seen(deployment=deployment(notifications=[HOOK], status=bad)))
    unused = reconcile_deployment(seen(deployment=deployment(status=bad)))

    def notified(plan: Any) -> list[str]:
        writes = [action.status for action in plan.actions if isinstance(action, PatchStatus)]
        return [found["status"] for write in writes for found in write["conditions"] if found["type"] == "Notified"]

    assert (notified(kept), notified(unused)) == (["False"], ["True"])


def test_a_job_that_is_done_is_deleted_once() -> None:
    made = complete(job_of(A))
    deletions = [
        a for a in notify(seen(jobs=[(replace(made, deleted=True), report(1))], now=40)).actions if isinstance(a, Delete)
    ]
    assert deletions == []


STUCK = {"on": ["QueueStuck"], "urlSecretRef": {"name": "hook", "key": "url"}}


def queue(waiting: int, running: int, now: float, since: str | None = None, moved: str = "", on: Any = STUCK) -> Plan:
    """A pass over a Deployment of two slots, of which the clock says that since its start."""
    conditions = [condition("QueueStuck", since, "Queued")] if since else []
    found = deployment(notifications=[on], status={"conditions": conditions})
    return reconcile_deployment(
        seen(deployment=found, running=running, now=now, notices=Notices(waiting=waiting, moved=moved))
    )


def clock(plan: Plan) -> str | None:
    writes = [action.status for action in plan.actions if isinstance(action, PatchStatus)]
    return next((c["status"] for status in writes for c in status["conditions"] if c["type"] == "QueueStuck"), None)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (queue(3, 2, 5), None),
        (queue(0, 0, 5), None),
        (queue(3, 1, 5, on=HOOK), None),
        (queue(3, 1, 5), "Unknown"),
        (queue(3, 1, 600, "Unknown"), "Unknown"),
        (queue(3, 1, 601, "Unknown"), "True"),
        (queue(3, 1, 601, "Unknown", moved=stamp(0)), "True"),
        (queue(3, 1, 601, "Unknown", moved=stamp(1)), "False"),
        (queue(3, 2, 601, "Unknown"), "False"),
        (queue(0, 0, 601, "Unknown"), "False"),
        (queue(3, 1, 5000, "True"), "True"),
        (queue(3, 2, 5000, "True"), "False"),
        (queue(3, 1, 5000, "False"), "Unknown"),
    ],
)
def test_a_queue_is_stuck_when_runs_wait_beside_a_free_slot_for_ten_minutes(plan: Plan, expected: str | None) -> None:
    assert clock(plan) == expected


def test_a_queue_that_is_stuck_is_told_once_and_again_when_it_is_stuck_again() -> None:
    plan = queue(3, 1, 601, "Unknown")
    reasons = [action.reason for action in plan.actions if isinstance(action, Emit)]
    assert "QueueStuck" in reasons
    [status] = [action.status for action in plan.actions if isinstance(action, PatchStatus)]
    [made] = [a for a in plan.actions if isinstance(a, Create) and a.manifest["kind"] == "Job"]
    about = json.loads(made.manifest["metadata"]["annotations"]["millrace.dev/notifies"])
    assert about["ids"] == [f"deployment-uid.QueueStuck.{stamp(600)}"]
    body = json.loads(made.manifest["spec"]["template"]["spec"]["containers"][0]["env"][0]["value"])["messages"][0]["body"]
    assert (body["type"], body["subject"]) == ("dev.millrace.deployment.queuestuck", "scoring")
    assert body["data"]["message"] == f"is stuck: 3 waiting, 1 of 2 slots free, no start since {stamp(0)}"
    told = deployment(notifications=[STUCK], status=status)
    jobs = [(complete(made, 610), report(1))]
    later = notify(seen(deployment=told, now=620, running=1, notices=Notices(waiting=3, jobs=tuple(jobs))))
    assert brief(later) == ["Delete"]
    assert later.status == {
        "notifications": {
            "pending": [],
            "told": [{"transition": "QueueStuck", "address": "hook/url", "result": "Sent"}],
        }
    }
    again = {"conditions": [condition("QueueStuck", "Unknown", "Queued", seconds=5000)], **later.status}
    found = deployment(notifications=[STUCK], status=again)
    part = notify(seen(deployment=found, now=5601, running=1, notices=Notices(waiting=3, jobs=())))
    assert brief(part)[0] == f"hook/url: deployment.QueueStuck.{stamp(5600)}"
