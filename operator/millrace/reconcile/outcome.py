"""Statuses of a run: waiting, going on, over. Whole statuses are made here, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from millrace.api.jobrun import JobRun, Phase
from millrace.domain.attempts import Failure
from millrace.domain.clock import human, parse, render
from millrace.domain.conditions import Mark, find
from millrace.domain.reasons import Reason
from millrace.observe.job import JobFacts
from millrace.observe.pod import PodFacts
from millrace.observe.run import inputs_of, logs_of, outputs_of, source_of, times_of, warnings_of
from millrace.reconcile.plan import Action, Emit, Plan
from millrace.reconcile.status import conditions_patch, patch

LOG_TAIL = 2048


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    phase: Phase
    failure: Failure | None = None
    pod: PodFacts | None = None
    job: JobFacts | None = None
    versions: Mapping[str, str] = field(default_factory=dict)  # those of the assets that it made, by output
    status: Mapping[str, Any] = field(default_factory=dict)  # what else is known


def _write(run: JobRun, marks: list[Mark], status: dict[str, Any], now: datetime) -> tuple[Action, ...]:
    meta = run.metadata
    found = {
        "queuePosition": None,
        **status,
        **({"function": run.spec.function} if run.spec.function else {}),
        "jobId": meta.uid,
        "conditions": conditions_patch(run.status.conditions, marks, now=now, generation=meta.generation),
    }
    write = patch("JobRun", meta, run.status.dump(), found)
    return (write,) if write else ()


def wait(run: JobRun, phase: Phase, reason: str, message: str, now: datetime) -> tuple[Action, ...]:
    """The run cannot go on for now: phase, and the reason in a condition."""
    before_start = run.status.job_name is None
    admitted = find(run.status.conditions, "Admitted")
    marks = [Mark("Admitted", status=False, reason=reason)] if admitted and admitted.status == "Unknown" else []
    marks += [
        Mark("Resolved" if before_start else "Started", status=False, reason=reason, message=message),
        Mark("Reconciling", status=True, reason=reason, message=message),
    ]
    return _write(run, marks, {"phase": phase.value, "reason": reason}, now)


def suspend(run: JobRun, now: datetime) -> tuple[Action, ...]:
    """The run is not to be started, says its author. Unlike other waiting this has no deadline."""
    message = "spec.suspend is true"
    marks = [
        Mark("Admitted", status=None, reason=Reason.SUSPENDED, message=message),
        Mark("Reconciling", status=True, reason=Reason.SUSPENDED, message=message),
    ]
    return _write(run, marks, {"phase": Phase.PENDING.value, "reason": Reason.SUSPENDED.value}, now)


def queue(run: JobRun, place: int, message: str, known: Mapping[str, Any], now: datetime) -> tuple[Action, ...]:
    """The run waits for a slot; `known` is what of it is settled by now."""
    marks = [
        Mark("Resolved", status=True, reason="Resolved"),
        Mark("Admitted", status=False, reason=Reason.QUEUED, message=message),
        Mark("Reconciling", status=True, reason=Reason.QUEUED, message=message),
    ]
    times = run.status.times.dump() if run.status.times else {}
    status = {
        "phase": Phase.QUEUED.value,
        "reason": None,
        "queuePosition": place,
        "times": {"queued": render(now), **times},
        **known,
    }
    return _write(run, marks, status, now)


def note(run: JobRun, phase: Phase, reason: str, message: str, now: datetime) -> tuple[Action, ...]:
    """The run is where it is, and there is something to say about it: it is being ended, or held up after its start."""
    mark = Mark("Reconciling", status=True, reason=reason, message=message)
    return _write(run, [mark], {"phase": phase.value, "reason": reason}, now)


def assets_of(run: JobRun) -> dict[str, str]:
    """The assets that the run makes, by output."""
    return {output.name: output.asset for output in run.spec.outputs if output.asset}


def awaiting(queue: str | None, reason: str, message: str) -> dict[str, Any]:
    """Phase, reason and message of a run whose Job has just been made: `reason`, or that Kueue has to admit it first."""
    if queue is None:
        return {"phase": Phase.PENDING, "reason": reason, "message": message}
    text = f"Kueue has not admitted the Job yet (LocalQueue {queue})"
    return {"phase": Phase.QUEUED, "reason": Reason.AWAITING_ADMISSION, "message": text}


def origin_of_job(job: JobFacts) -> dict[str, str | None]:
    """What a Job knows of its run's Deployment."""
    return {"deploymentId": job.deployment_id, "deploymentRevision": job.deployment_revision}


def _identity(run: JobRun, job: JobFacts) -> dict[str, Any]:
    """What the status says of a Job; told again where the write after its POST did not go through."""
    if run.status.job_name == job.name:
        return {}
    found = {
        "attempt": job.attempt,
        "jobName": job.name,
        "functionRevision": job.revision,
        "profile": job.profile,
        **origin_of_job(job),
    }
    return {key: value for key, value in found.items() if value}


def inputs_known(run: JobRun, assets: Mapping[str, Any] | None, pod: PodFacts | None) -> list[dict[str, Any]]:
    """The inputs: the versions that were named, and what stage reports."""
    found = {entry.name: entry.dump() for entry in run.status.inputs}
    for entry in [*((assets or {}).get("inputs") or []), *(inputs_of(pod) if pod else [])]:
        found[entry["name"]] = {**found.get(entry["name"], {}), **entry}
    return list(found.values())


def source_known(run: JobRun, assets: Mapping[str, Any] | None, pod: PodFacts | None) -> dict[str, Any]:
    """The code, where it is a zip: likewise."""
    known = run.status.source.dump() if run.status.source else {}
    return {**known, **((assets or {}).get("source") or {}), **(source_of(pod) if pod else {})}


def tell(run: JobRun, reason: str, message: str, *, warning: bool) -> Emit:
    """An Event about the run."""
    meta = run.metadata
    return Emit("JobRun", meta.namespace, meta.name, meta.uid, warning, reason, message)


def progress(
    run: JobRun,
    *,
    phase: Phase,
    reason: str,
    message: str,
    now: datetime,
    attempt: int | None = None,
    job_name: str | None = None,
    revision: str | None = None,
    profile: Mapping[str, Any] | None = None,
    origin: Mapping[str, str | None] | None = None,
    assets: Mapping[str, Any] | None = None,
    pod: PodFacts | None = None,
) -> tuple[Action, ...]:
    """The run goes on."""
    started = phase in {Phase.RUNNING, Phase.UPLOADING}
    admitted = phase is not Phase.QUEUED  # by Kueue, that is
    marks = [
        Mark("Resolved", status=True, reason="Resolved"),
        Mark("Admitted", status=True, reason="Admitted")
        if admitted
        else Mark("Admitted", status=False, reason=reason, message=message),
        Mark("Started", status=started, reason=reason, message=message),
        Mark("Reconciling", status=True, reason=reason, message=message),
    ]
    status: dict[str, Any] = {"phase": phase.value, "reason": None if phase.value == reason else reason}
    if attempt:
        status |= {"attempt": attempt, "jobName": job_name}
    if revision:
        status["functionRevision"] = revision
    if profile:
        status["profile"] = profile
    status |= {key: value for key, value in (origin or {}).items() if value}
    times: dict[str, Any] = {
        "admitted" if admitted else "queued": render(now),
        **(run.status.times.dump() if run.status.times else {}),
    }
    if attempt and attempt > 1:
        # Each attempt has its own times; a merge patch removes what is null.
        times = {key: value if key in {"queued", "admitted"} else None for key, value in times.items()}
    status["times"] = {**times, **(times_of(pod) if pod else {})}
    if inputs := inputs_known(run, assets, pod):
        status["inputs"] = inputs
    if source := source_known(run, assets, pod):
        status["source"] = source
    return _write(run, marks, status, now)


def finish(run: JobRun, outcome: Outcome, now: datetime) -> Plan:
    """The run is over: everything that is known about it goes into one write."""
    pod, failure = outcome.pod, outcome.failure
    succeeded = outcome.phase is Phase.SUCCEEDED
    reason = "Succeeded" if failure is None else failure.reason
    message = "" if failure is None else failure.message
    marks = [
        Mark("Finished", status=True, reason=outcome.phase.value, message=message),
        Mark("Succeeded", status=succeeded, reason=reason, message=message),
        Mark("Reconciling", status=False, reason=outcome.phase.value),
        Mark("Stalled", status=not succeeded, reason=reason, message=message),
    ]
    if run.status.job_name is None:
        resolved = succeeded or outcome.job is not None
        marks.append(Mark("Resolved", status=resolved, reason="Resolved" if resolved else reason, message=message))
    if pod:
        marks.append(Mark("Admitted", status=True, reason="Admitted"))
    if pod and pod.container("main").started:
        marks.append(Mark("Started", status=True, reason="Started"))
    # A Job whose making was never told has admitted the run all the same; one of Kueue's, as soon as it had a pod.
    job, kueues = outcome.job, outcome.job is not None and outcome.job.kueue_queue is not None
    since = (pod.created if pod else None) if kueues else job and job.created
    admitted = {"admitted": since} if since else {}
    times = {**admitted, **(run.status.times.dump() if run.status.times else {})}
    status: dict[str, Any] = {
        "phase": outcome.phase.value,
        "reason": None if succeeded else reason,
        "duration": human(now - parse(run.metadata.creation_timestamp)),
        **outcome.status,
        "times": {**times, **(times_of(pod) if pod else {}), **outcome.status.get("times", {}), "finished": render(now)},
    }
    if outcome.job:
        status |= _identity(run, outcome.job)
    if failure is not None:
        status["failure"] = {
            "reason": failure.reason,
            "message": failure.message,
            "container": failure.container,
            "exitCode": failure.exit_code,
            "logTail": failure.log_tail[-LOG_TAIL:] if failure.log_tail else None,
        }
        status["failure"] = {key: value for key, value in status["failure"].items() if value is not None}
    if pod:
        places: Mapping[str, Any] = (outcome.job.places if outcome.job else None) or {}
        # What one shard has published are parts; the run has outputs when they are merged.
        outputs = outputs_of(pod, assets_of(run), outcome.versions) if pod.position is None else []
        for entry in outputs:
            if place := places.get("outputs", {}).get(entry["name"]):
                entry["dataStore"] = place
        found = {
            "inputs": inputs_known(run, outcome.job.assets if outcome.job else None, pod),
            "source": source_known(run, outcome.job.assets if outcome.job else None, pod),
            "outputs": outputs,
            "warnings": warnings_of(pod),
            "logs": logs_of(pod),
            "logsStore": places.get("logs") if logs_of(pod) else None,
        }
        status |= {key: value for key, value in found.items() if value}
    event = tell(run, reason, message or f"finished after {status['duration']}", warning=not succeeded)
    # Nothing may happen to its Jobs any more: whoever finished it comes back to see when they go.
    return Plan((*_write(run, marks, status, now), event), again=0)
