"""The CronJob of a schedule: the cluster's own, visible clock. It wakes us; what is due says domain/schedule.py."""

from __future__ import annotations

from typing import Any

from millrace.api.base import Metadata
from millrace.api.schedule import Schedule
from millrace.build import pod
from millrace.build.job import owner
from millrace.domain.labels import COMPONENT, MANAGED_BY, SCHEDULE
from millrace.domain.names import cron_job_name, label_value
from millrace.domain.schedule import DEFAULT_ZONE
from millrace.domain.settings import Settings

Manifest = dict[str, Any]

STARTING_DEADLINE_SECONDS = 600


def cron_job(deployment: Metadata, schedule: Schedule, settings: Settings, *, ended: bool) -> Manifest:
    """The CronJob of a periodic Deployment; one whose schedule has `ended` ticks no more.

    Each tick is a Job that is suspended from birth and has no pod to make: a token. Replace keeps the newest one only;
    under Forbid it would be the last, since it never ends.
    """
    labels = {**MANAGED_BY, COMPONENT: "tick", SCHEDULE: label_value(deployment.name)}
    container = {
        "name": "token",
        "image": settings.stage_image,
        "securityContext": pod.security_context(read_only=True),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": cron_job_name(deployment.name),
            "namespace": deployment.namespace,
            "labels": labels,
            "ownerReferences": [owner("Deployment", deployment)],
        },
        "spec": {
            "schedule": schedule.cron,
            "timeZone": schedule.time_zone or DEFAULT_ZONE,
            "concurrencyPolicy": "Replace",
            "startingDeadlineSeconds": STARTING_DEADLINE_SECONDS,
            "suspend": schedule.suspend or ended,
            "jobTemplate": {
                "metadata": {"labels": labels},
                "spec": {
                    "suspend": True,
                    "parallelism": 0,  # also where a queueing controller resumes all Jobs
                    "template": {
                        "metadata": {"labels": labels},
                        "spec": {
                            "restartPolicy": "Never",
                            "automountServiceAccountToken": False,
                            "securityContext": pod.pod_security_context(settings),
                            "containers": [container],
                        },
                    },
                },
            },
        },
    }
