"""The schedule of a Deployment: what a pass does with its runs, its CronJob and its watermark. Tables over snapshots."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from fixtures.objects import (
    DEPLOYMENT_UID,
    SETTINGS,
    at,
    deployment,
    job,
    merge_patch,
    metadata,
    stamp,
    status_writes,
)
from millrace.api.base import Metadata
from millrace.api.deployment import Deployment, DeploymentStatus
from millrace.api.schedule import Schedule
from millrace.build.cronjob import cron_job
from millrace.reconcile.deployment import DeploymentSnapshot, reconcile_deployment
from millrace.reconcile.plan import Apply, Create, Delete, Emit, Learned, PatchStatus, Plan
from millrace.reconcile.refusal import REFUSED_SECONDS
from unit.reconcile.deployments import deployment_snapshot

Object = dict[str, Any]
MINUTELY = {"cron": "* * * * *"}
AT = {minute: stamp(60 * minute) for minute in range(20)}


def clock(schedule: Object | None = None, *, ended: bool = False, **changes: Any) -> Object:
    """The CronJob as the API server has it: with its UID and defaults."""
    meta = Metadata.model_validate(metadata("scoring", DEPLOYMENT_UID))
    found = copy.deepcopy(cron_job(meta, Schedule.model_validate(schedule or MINUTELY), SETTINGS, ended=ended))
    found["metadata"] |= {"uid": "clock-uid", "resourceVersion": "5", "creationTimestamp": stamp(0), **changes}
    found["spec"] |= {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
    found["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
    return found


def seen(subject: Deployment, now: float = 0, **changes: Any) -> DeploymentSnapshot:
    return deployment_snapshot(subject, now, **{"cron_job": clock(), **changes})


def periodic(status: Object | None = None, **schedule: Any) -> Deployment:
    return deployment(status=status, executionRule="periodic", schedule={**MINUTELY, **schedule})


def settled(now: float = 0, **schedule: Any) -> Deployment:
    """One whose first pass was at `now`."""
    plan = reconcile_deployment(seen(periodic(**schedule), now))
    [status] = status_writes(plan)
    return periodic(status, **schedule)


def after(subject: Deployment, plan: Plan) -> Deployment:
    found = subject.status.dump()
    for status in status_writes(plan):
        found = merge_patch(found, status)
    return subject.model_copy(update={"status": DeploymentStatus.model_validate(found)})


def short(plan: Plan) -> list[str]:
    """The plan in a few words."""
    found = []
    for action in plan.actions:
        match action:
            case Create(manifest) | Apply(manifest):
                found.append(f"{type(action).__name__} {manifest['kind']} {manifest['metadata']['name']}")
            case Delete(kind, _, name, uid):
                found.append(f"Delete {kind} {name} {uid}")
            case Emit():
                found.append(f"Event {action.reason}")
            case PatchStatus():
                found.append(f"since {action.status['schedule']['since']}" if action.status.get("schedule") else "Status")
    return found


def ready(plan: Plan) -> tuple[str, str, str]:
    [status] = status_writes(plan)
    found = {c["type"]: c for c in status["conditions"]}["Ready"]
    return found["status"], found["reason"], found["message"]


def test_the_first_pass_makes_the_clock_and_settles_the_past() -> None:
    plan = reconcile_deployment(seen(periodic(missedRuns="All"), 90, cron_job=None))
    assert short(plan) == ["Create CronJob scoring", f"since {stamp(90)}"]
    assert plan.again == 30


def test_a_settled_pass_writes_nothing_and_comes_back_for_the_next_tick() -> None:
    assert reconcile_deployment(seen(settled(0), 20)) == Plan(again=40)


RUN = {minute: f"Create JobRun scoring-2026013108{minute:02}" for minute in range(20)}
TICKS: dict[str, tuple[Object, float, list[str]]] = {
    "on the second": ({}, 60, [RUN[1], f"since {AT[1]}"]),
    "a minute late": ({}, 119, [RUN[1], f"since {AT[1]}"]),
    "two at once, the older is missed": ({}, 120, [RUN[2], "Event RunsMissed", f"since {AT[2]}"]),
    "all that were missed, the oldest first": ({"missedRuns": "All"}, 190, [RUN[1], RUN[2], RUN[3], f"since {AT[3]}"]),
    "as many of them as the limit says": (
        {"missedRuns": "All", "missedRunsLimit": 2},
        190,
        [RUN[2], RUN[3], "Event RunsMissed", f"since {AT[3]}"],
    ),
    "the latest": ({"missedRuns": "Latest"}, 190, [RUN[3], "Event RunsMissed", f"since {AT[3]}"]),
    "none, but it is told": ({"cron": "5 * * * *"}, 3000, ["Event RunsMissed", f"since {AT[5]}"]),
}  # fmt: skip


@pytest.mark.parametrize("case", TICKS)
def test_each_tick_is_a_run_before_the_watermark_moves(case: str) -> None:
    schedule, now, expected = TICKS[case]
    subject = settled(0, **schedule)
    plan = reconcile_deployment(seen(subject, now, cron_job=clock({**MINUTELY, **schedule})))
    assert short(plan) == expected
    again = reconcile_deployment(seen(after(subject, plan), now, cron_job=clock({**MINUTELY, **schedule})))
    assert again.actions == (), "it is told once, and a run that is deleted is not made again"


def test_the_run_of_a_tick_is_ours_and_says_when_it_was_due() -> None:
    plan = reconcile_deployment(seen(settled(0), 61))
    [made] = [action for action in plan.actions if isinstance(action, Create)]
    meta = made.manifest["metadata"]
    assert meta["labels"] == {"app.kubernetes.io/managed-by": "millrace", "millrace.dev/deployment": "scoring"}
    assert meta["annotations"] == {"millrace.dev/scheduled-at": AT[1]}
    assert [(o["uid"], o["controller"], o["blockOwnerDeletion"]) for o in meta["ownerReferences"]] == [
        (DEPLOYMENT_UID, True, False)
    ]
    assert made.taken
    assert "JobRun scoring-202601310801 exists and is not of this Deployment" in made.taken.message
    [status] = status_writes(plan)
    assert (status["schedule"]["last"], status["schedule"]["next"][0]) == (AT[1], AT[2])


@pytest.mark.parametrize(
    "change",
    [{"suspend": True}, {"timeZone": "Europe/Berlin"}, {"cron": "*/1 * * * *"}, {"excludeWeekdays": ["Sun"]}],
    ids=str,
)
def test_an_edit_settles_the_past(change: Object) -> None:
    edited = periodic(settled(0, missedRuns="All").status.dump(), missedRuns="All", **change)
    wanted = {**MINUTELY, **change}
    plan = reconcile_deployment(seen(edited, 600, cron_job=clock(wanted)))
    assert short(plan) == [f"since {AT[10]}"]
    resumed = periodic(after(edited, plan).status.dump(), missedRuns="All")
    assert short(reconcile_deployment(seen(resumed, 900)))[-1:] == [f"since {AT[15]}"]
    assert not any("JobRun" in text for text in short(reconcile_deployment(seen(resumed, 900))))


HELD: dict[str, tuple[Deployment, Object, str, str]] = {
    "no Function": (settled(0, missedRuns="All"), {"function": None}, "FunctionNotFound", "Function heart"),
    "a day that never comes": (
        periodic(settled(0).status.dump(), cron="0 0 31 2 *"),
        {},
        "ScheduleInvalid",
        "spec.schedule: cron '0 0 31 2 *' never comes",
    ),
    "a zone that is none": (
        periodic(settled(0).status.dump(), timeZone="Europe/Nowhere"),
        {},
        "ScheduleInvalid",
        "spec.schedule: timeZone 'Europe/Nowhere'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HELD)
def test_what_cannot_run_has_no_clock_and_fires_nothing(case: str) -> None:
    subject, changes, reason, text = HELD[case]
    plan = reconcile_deployment(seen(subject, 600, **changes))
    assert short(plan)[-1] == "Delete CronJob scoring clock-uid"
    assert not any("JobRun" in found for found in short(plan))
    assert ready(plan)[:2] == ("False", reason)
    assert text in ready(plan)[2]
    held = after(subject, plan)
    assert reconcile_deployment(seen(held, 660, **{**changes, "cron_job": None})).actions == ()
    healed = seen(periodic(held.status.dump(), missedRuns="All"), 900, cron_job=None)
    assert short(reconcile_deployment(healed)) == ["Create CronJob scoring", f"since {AT[15]}"]


def test_one_that_is_not_periodic_any_more_has_neither_clock_nor_status() -> None:
    manual = deployment(status=settled(0).status.dump())
    plan = reconcile_deployment(seen(manual, 600))
    assert [status["schedule"] for status in status_writes(plan)] == [None]
    assert short(plan)[-1] == "Delete CronJob scoring clock-uid"


def edited_clock(*path: str, value: Any) -> Object:
    found = clock()
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    "found",
    [
        edited_clock("spec", "suspend", value=True),
        edited_clock("spec", "schedule", value="*/2 * * * *"),
        edited_clock("spec", "jobTemplate", "spec", "suspend", value=False),
        edited_clock("spec", "jobTemplate", "spec", "template", "spec", "containers", value=[]),
        edited_clock("metadata", "labels", value={"app.kubernetes.io/managed-by": "millrace"}),
    ],
    ids=["suspended", "another schedule", "tokens that run", "no container", "no label"],
)
def test_a_clock_that_differs_is_put_right_under_its_uid(found: Object) -> None:
    plan = reconcile_deployment(seen(settled(0), 20, cron_job=found))
    [applied] = plan.actions
    assert isinstance(applied, Apply)
    assert applied.manifest["metadata"]["uid"] == "clock-uid"
    assert applied.tell == DEPLOYMENT_UID


def test_a_clock_that_is_being_deleted_is_waited_for() -> None:
    assert (
        reconcile_deployment(seen(settled(0), 20, cron_job=clock(suspend=True, deletionTimestamp=stamp(10)))).actions == ()
    )


def test_a_schedule_that_has_ended_has_a_suspended_clock() -> None:
    over = {"endTime": stamp(90)}
    subject = settled(0, **over)
    last = reconcile_deployment(seen(subject, 60, cron_job=clock({**MINUTELY, **over})))
    assert short(last) == ["Apply CronJob scoring", RUN[1], f"since {AT[1]}"]
    assert last.again is None
    ended = seen(after(subject, last), 600, cron_job=clock({**MINUTELY, **over}, ended=True))
    assert reconcile_deployment(ended) == Plan()


def test_tokens_go_and_say_nothing() -> None:
    plan = reconcile_deployment(seen(settled(0), 59.5, tokens=(job(name="scoring-29000000"),)))
    assert plan == Plan((Delete("Job", "tenant", "scoring-29000000", "job-1"),), again=0.5)


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        ((409, "CronJob scoring exists and is not of Deployment scoring; remove it"), "NameTaken"),
        ((422, "spec.timeZone: unknown time zone"), "ScheduleInvalid"),
        ((403, "exceeded quota: small"), "QuotaExceeded"),
        ((403, "denied by a policy"), "Forbidden"),
    ],
)
def test_a_refusal_is_told_and_tried_again(refusal: tuple[int, str], reason: str) -> None:
    learned = Learned(refusal=(*refusal, at(600).timestamp()))
    subject = settled(0, missedRuns="Latest")
    plan = reconcile_deployment(seen(subject, 600, learned=learned))
    assert short(plan) == ["Status"]
    assert ready(plan) == ("False", reason, refusal[1])
    assert plan.again == REFUSED_SECONDS
    told = after(subject, plan)
    assert told.status.schedule == subject.status.schedule, "nothing is settled by it"
    assert reconcile_deployment(seen(told, 605, learned=learned)).actions == ()
    later = reconcile_deployment(seen(told, 600 + REFUSED_SECONDS, learned=learned))
    assert short(later) == [RUN[10], "Event RunsMissed", f"since {AT[10]}"]
    assert ready(later)[:2] == ("True", "Valid")
