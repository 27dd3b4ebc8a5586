"""Function: keeps the ConfigMap of its current revision, and those that runs still need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from millrace.api.function import Function
from millrace.build.revision import revision
from millrace.domain.conditions import Mark, find
from millrace.domain.reasons import Reason
from millrace.domain.resolve import check_function
from millrace.domain.settings import Settings
from millrace.reconcile.plan import NOTHING, Action, Create, Plan
from millrace.reconcile.revisions import tidy
from millrace.reconcile.status import conditions_patch, patch


@dataclass(frozen=True)
class FunctionSnapshot:
    """A Function, the revisions that exist (name to UID), and those that unfinished runs name."""

    function: Function
    revisions: dict[str, str]
    in_use: frozenset[str]
    settings: Settings
    now: datetime


def reconcile_function(s: FunctionSnapshot) -> Plan:
    """Ready, or why no run of it can start."""
    function, meta = s.function, s.function.metadata
    if meta.deletion_timestamp:
        return NOTHING
    obstacle = check_function(function, s.settings)
    actions: list[Action] = []
    status: dict[str, object] = {}
    current = None
    if obstacle:
        marks = [
            Mark("Ready", status=False, reason=obstacle.reason, message=obstacle.message),
            Mark("Stalled", status=True, reason=obstacle.reason, message=obstacle.message),  # kstatus: only an edit helps
        ]
    else:
        wanted = revision(function)
        current = wanted["metadata"]["name"]
        if current not in s.revisions:
            actions.append(Create(wanted))
        marks = [Mark("Ready", status=True, reason=Reason.VALID)]
        if find(function.status.conditions, "Stalled"):
            marks.append(Mark("Stalled", status=False, reason=Reason.VALID))
        status |= {"revision": current, "source": _code(function)}
    status["conditions"] = conditions_patch(function.status.conditions, marks, now=s.now, generation=meta.generation)
    if write := patch("Function", meta, function.status.dump(), status):
        actions.append(write)
    old = tidy(meta.namespace, s.revisions, current, s.in_use, written=write is not None)
    return Plan((*actions, *old.actions), again=old.again)


def _code(function: Function) -> dict[str, str] | None:
    """What is known of the code: nobody reads the archive of a zip source before a run does."""
    source = function.spec.source
    if source.zip:
        return {"sha256": source.zip.sha256} if source.zip.sha256 else None
    return {"sha256": hashlib.sha256((source.inline or "").encode()).hexdigest()}
