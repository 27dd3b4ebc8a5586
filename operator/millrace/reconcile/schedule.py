"""The schedule of a Deployment: a run for each time that is due, and the CronJob that shows it and wakes us."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from millrace.api.schedule import Schedule
from millrace.build.cronjob import cron_job
from millrace.build.jobrun import scheduled_run
from millrace.domain.clock import parse, render
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.domain.schedule import DEFAULT_LIMIT, ScheduleRejected, due, schedule_status, since, timetable
from millrace.reconcile.part import Part
from millrace.reconcile.plan import Action, Apply, Create, Delete, Emit, Manifest
from millrace.reconcile.refusal import REFUSED_SECONDS, refusal

if TYPE_CHECKING:
    from millrace.reconcile.deployment import DeploymentSnapshot


def run_by_schedule(s: DeploymentSnapshot, *, held: bool) -> Part:
    """Makes what is due, and moves the watermark when it is made. `held`: no run could start, so none is made.

    Being held is as being suspended: the CronJob goes, and nothing is made up for when it is over.
    """
    meta, schedule, known = s.deployment.metadata, s.deployment.spec.schedule, s.deployment.status.schedule
    if schedule is None:
        return Part(_without_clock(s), {"schedule": None})
    try:
        timetable(schedule)
    except ScheduleRejected as error:
        invalid = Obstacle(Reason.SCHEDULE_INVALID, f"spec.schedule: {error}")
        return Part(_without_clock(s), {"schedule": None}, obstacle=invalid)
    if held:
        schedule = schedule.model_copy(update={"suspend": True})
    elif obstacle := _refusal(s):
        return Part(again=REFUSED_SECONDS, obstacle=obstacle)
    settled = since(schedule, known, s.now)
    found = due(schedule, settled, s.now)
    last = render(found.run[-1]) if found.run else known.last if known else None
    status = schedule_status(schedule, found.newest or settled, last, s.now)
    again = max((parse(status.next[0]) - s.now).total_seconds(), 0) if status.next else None
    runs = (Create(scheduled_run(meta, tick), tell=meta.uid, taken=_taken(s, tick)) for tick in found.run)
    missed = (_missed(s, schedule, *found.missed),) if found.missed else ()
    tokens = tuple(Delete("Job", meta.namespace, token.name, token.uid) for token in s.tokens)
    if held:
        return Part(_without_clock(s), {"schedule": status.dump()})
    clock = _clock(s, cron_job(meta, schedule, s.settings, ended=not status.next))
    return Part(tokens, {"schedule": status.dump()}, again, before=(*clock, *runs, *missed))


def _refusal(s: DeploymentSnapshot) -> Obstacle | None:
    """What the API server said against the CronJob or a run; None where it is time to try again, maybe with another one."""
    if s.learned.refusal is None or s.now.timestamp() - s.learned.refusal[2] >= REFUSED_SECONDS:
        return None
    found = refusal(s.learned, s.now)
    return found if found is None or found.heals else found._replace(reason=Reason.SCHEDULE_INVALID)


def _without_clock(s: DeploymentSnapshot) -> tuple[Action, ...]:
    if s.cron_job is None:
        return ()
    meta = s.cron_job["metadata"]
    return () if "deletionTimestamp" in meta else (Delete("CronJob", meta["namespace"], meta["name"], meta["uid"]),)


def _clock(s: DeploymentSnapshot, wanted: Manifest) -> tuple[Action, ...]:
    """Makes the CronJob what it should be. It is made by a POST: an apply would take over somebody else's."""
    if s.cron_job is None:
        return (Create(wanted, tell=s.deployment.metadata.uid),)
    meta = s.cron_job["metadata"]
    if "deletionTimestamp" in meta or _covers(s.cron_job, {"metadata": wanted["metadata"], "spec": wanted["spec"]}):
        return ()
    of_it = {**wanted, "metadata": {**wanted["metadata"], "uid": meta["uid"]}}
    return (Apply(of_it, tell=s.deployment.metadata.uid),)


def _covers(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there; the API server adds defaults."""
    match wanted:
        case dict():
            return isinstance(found, dict) and all(key in found and _covers(found[key], wanted[key]) for key in wanted)
        case list():
            return isinstance(found, list) and len(found) == len(wanted) and all(map(_covers, found, wanted))
        case _:
            return bool(found == wanted)


def _missed(s: DeploymentSnapshot, schedule: Schedule, first: datetime, last: datetime) -> Emit:
    when = f"at {render(first)}" if first == last else f"from {render(first)} to {render(last)}"
    rule = schedule.missed_runs or "Skip"
    limit = f", missedRunsLimit: {schedule.missed_runs_limit or DEFAULT_LIMIT}" if rule == "All" else ""
    return _event(s, Reason.RUNS_MISSED, f"no run is made of what was due {when} (spec.schedule.missedRuns: {rule}{limit})")


def _taken(s: DeploymentSnapshot, tick: datetime) -> Emit:
    name = scheduled_run(s.deployment.metadata, tick)["metadata"]["name"]
    return _event(
        s,
        Reason.NAME_TAKEN,
        f"no run is made of what was due at {render(tick)}: JobRun {name} exists and is not of this Deployment",
    )


def _event(s: DeploymentSnapshot, reason: Reason, message: str) -> Emit:
    meta = s.deployment.metadata
    return Emit("Deployment", meta.namespace, meta.name, meta.uid, warning=True, reason=reason, message=message)
