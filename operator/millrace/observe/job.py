"""What a Job object says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millrace.domain.labels import (
    ASSETS,
    ATTEMPT,
    CHARGED,
    DEPLOYMENT_ID,
    DEPLOYMENT_REVISION,
    ENDED,
    KEEPS,
    KUEUE_QUEUE,
    NOTIFIES,
    PLACES,
    PROFILE,
    RECLAIMS,
    REVISION,
    SHARDS,
    STAGE_IMAGE,
    STEP,
)
from millrace.domain.shards import Shards, Step


@dataclass(frozen=True)
class JobFacts:
    """A Job."""

    name: str
    uid: str
    attempt: int
    created: str
    suspended: bool
    active: int
    terminating: int
    complete: bool
    failed: tuple[str, str] | None  # reason and message of Failed, or of FailureTarget, which announces it
    finished: str | None
    deleted: bool
    ended: tuple[str, str] | None = None  # why we ended it: reason and message
    revision: str | None = None
    deployment_id: str | None = None
    deployment_revision: str | None = None
    charged: int = 0  # attempts before this one that used up a retry
    profile: Mapping[str, Any] | None = None  # what the status says of it
    assets: Mapping[str, Any] | None = None  # the versions that are read, the store of those that are made
    places: Mapping[str, Any] | None = None  # the DataStores of its outputs and logs
    stage_image: str | None = None  # of a probe
    reclaims: str | None = None  # whose data it deletes: domain.reclaim.Reclaim as JSON
    step: str = ""  # of a parallel run: plan or merge; the Job of its shards has `shards`
    shards: Shards | None = None
    completed: str = ""  # completion indexes, as Kubernetes writes them
    failed_indexes: str = ""
    keeps: Mapping[str, Any] | None = None  # what of which runs it deletes, and when
    notifies: Mapping[str, Any] | None = None  # which address it tells, of what
    started: str | None = None  # since when it may have a pod
    kueue_queue: str | None = None  # the LocalQueue of Kueue, which admits it
    parked: bool = False  # without a pod until we start it, whoever resumes it

    @property
    def may_wait(self) -> bool:
        """Whether it may have been made suspended, for Kueue or for another Job of its run."""
        return self.kueue_queue is not None or self.shards is not None or self.step == Step.MERGE

    @property
    def held_by_kueue(self) -> bool:
        """Whether Kueue has not admitted it, or has taken that back. One that we have ended is nobody's any more."""
        open_ = self.ended is None and self.failed is None and not self.over
        return self.suspended and self.kueue_queue is not None and open_

    @property
    def over(self) -> bool:
        """Whether the Job controller has closed it."""
        return self.finished is not None


def read_job(job: Mapping[str, Any]) -> JobFacts:
    """Reads a Job object."""
    meta, status = job["metadata"], job.get("status") or {}
    annotations = meta.get("annotations") or {}
    note: str = annotations.get(ENDED, "")
    reason, _, message = note.partition(": ")
    conditions = {c["type"]: c for c in status.get("conditions") or [] if c.get("status") == "True"}
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    ended = conditions.get("Complete") or conditions.get("Failed")
    return JobFacts(
        name=meta["name"],
        uid=meta["uid"],
        attempt=int((meta.get("labels") or {}).get(ATTEMPT, "0")),
        created=meta.get("creationTimestamp", ""),
        suspended=bool((job.get("spec") or {}).get("suspend")),
        active=status.get("active", 0),
        terminating=status.get("terminating") or 0,
        complete="Complete" in conditions,
        failed=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        finished=(ended or {}).get("lastTransitionTime"),
        deleted="deletionTimestamp" in meta,
        ended=(reason, message) if note else None,
        revision=annotations.get(REVISION),
        deployment_id=(meta.get("labels") or {}).get(DEPLOYMENT_ID),
        deployment_revision=annotations.get(DEPLOYMENT_REVISION),
        charged=int(annotations.get(CHARGED, "0")),
        assets=json.loads(annotations.get(ASSETS, "null")),
        profile=json.loads(annotations.get(PROFILE, "null")),
        places=json.loads(annotations.get(PLACES, "null")),
        stage_image=annotations.get(STAGE_IMAGE),
        reclaims=annotations.get(RECLAIMS),
        step=(meta.get("labels") or {}).get(STEP, ""),
        shards=Shards.model_validate_json(annotations[SHARDS]) if SHARDS in annotations else None,
        completed=status.get("completedIndexes", ""),
        failed_indexes=status.get("failedIndexes", ""),
        keeps=json.loads(annotations.get(KEEPS, "null")),
        notifies=json.loads(annotations.get(NOTIFIES, "null")),
        started=status.get("startTime"),
        kueue_queue=(meta.get("labels") or {}).get(KUEUE_QUEUE),
        parked=(job.get("spec") or {}).get("parallelism") == 0,
    )
