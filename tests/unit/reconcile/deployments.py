"""What a Deployment's pass sees, and its Jobs as they are read later: what the tests of its parts share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fixtures.objects import SETTINGS, at, deployment, function
from millrace.api.deployment import Deployment
from millrace.domain.clock import render
from millrace.domain.template import deployment_revision
from millrace.observe.job import JobFacts, read_job
from millrace.reconcile.deployment import DeploymentSnapshot
from millrace.reconcile.plan import Action, Create, Learned


def deployment_snapshot(subject: Deployment | None = None, now: float = 0, **changes: Any) -> DeploymentSnapshot:
    """A Deployment whose revision is there, of which nothing runs or waits."""
    subject = subject or deployment()
    found = DeploymentSnapshot(
        deployment=subject,
        function=function(),
        revisions={deployment_revision(subject.metadata.name, subject.spec): "uid"},
        in_use=frozenset(),
        running=0,
        queued=(),
        cron_job=None,
        tokens=(),
        learned=Learned(),
        settings=SETTINGS,
        now=at(now),
    )
    return replace(found, **changes)


def facts(made: Action, seconds: float = 0, **changes: Any) -> JobFacts:
    """The Job that an action of a plan has made, as it is read later."""
    assert isinstance(made, Create)
    meta = {**made.manifest["metadata"], "uid": "job-uid", "creationTimestamp": render(at(seconds))}
    return replace(read_job({**made.manifest, "metadata": meta}), **changes)
