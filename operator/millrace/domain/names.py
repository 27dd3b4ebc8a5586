"""Names of everything we make: deterministic, at most 63 characters, with a hash only where something is cut.

63 because names of Jobs and ConfigMaps also become label values (kueue#9872 is the lesson).
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

LIMIT = 63
CRON_JOB_LIMIT = 52  # its controller adds the time to the names of its Jobs
HASH = 8


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def child_name(parent: str, suffix: str = "", *, limit: int = LIMIT) -> str:
    """Name of a child: parent and suffix, the parent cut and hashed where both do not fit."""
    if len(parent) + len(suffix) <= limit:
        return parent + suffix
    kept = parent[: limit - len(suffix) - HASH - 1].rstrip("-.")
    return f"{kept}-{_digest(parent, HASH)}{suffix}"


def dns_name(text: str) -> str:
    """A name of an object from one of elsewhere: train_model becomes train-model; empty where nothing is left."""
    return re.sub(r"[^a-z0-9-]+", "-", text.lower())[:200].strip("-")


def label_value(name: str) -> str:
    """A name as the value of a label."""
    return child_name(name)


def job_name(run: str, attempt: int, step: str = "") -> str:
    """Job of an attempt: the run's own name for the first, then NAME-2, NAME-3 and so on; NAME-STEP, NAME-STEP-2 of a step
    of a parallel run.
    """
    return child_name(run, (f"-{step}" if step else "") + ("" if attempt == 1 else f"-{attempt}"))


def revision_name(function: str, spec: dict[str, Any]) -> str:
    """ConfigMap of a Function's state; the description is no part of it (seed row E6)."""
    relevant = {key: value for key, value in spec.items() if key != "description"}
    text = json.dumps(relevant, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return child_name(function, "-" + _digest(text, 10))


def probe_name(store: str, generation: int) -> str:
    """Job that probes this generation of a DataStore."""
    return child_name(store, f"-probe-{generation}")


def reclaim_name(asset: str, uid: str) -> str:
    """Job that deletes the data of this DataAsset."""
    return child_name(asset, f"-reclaim-{uid[:HASH]}")


def keep_name(deployment: str, digest: str) -> str:
    """Job that deletes what runs of this Deployment have left in stores; `digest` of what that is."""
    return child_name(deployment, f"-keep-{digest[:HASH]}")


def notify_name(deployment: str, digest: str) -> str:
    """Job that tells an address of what runs of this Deployment did; `digest` of both."""
    return child_name(deployment, f"-notify-{digest[:HASH]}")


def cron_job_name(deployment: str) -> str:
    """CronJob of a Deployment's schedule."""
    return child_name(deployment, limit=CRON_JOB_LIMIT)
