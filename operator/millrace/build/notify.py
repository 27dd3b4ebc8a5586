"""The Job that tells an address what runs of a Deployment did."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from millrace import protocol as p
from millrace.api.base import Metadata
from millrace.api.notification import Notification
from millrace.build.chore import chore
from millrace.build.job import owner
from millrace.build.plan import INDEX_CA_FILE
from millrace.build.pod import compact
from millrace.domain.labels import COMPONENT, MANAGED_BY, NOTIFIES
from millrace.domain.names import notify_name
from millrace.domain.notifications import Message
from millrace.domain.settings import Settings


def notify_job(deployment: Metadata, entry: Notification, messages: Sequence[Message], settings: Settings) -> dict[str, Any]:
    """The Job; of the same messages to the same address it has the same name.

    The kubelet gives it the address: a Secret that is not there holds up the pod until it is.
    """
    about = {"address": entry.address, "ids": [message.id for message in messages]}
    authorities = settings.ca_bundle_file is not None
    plan = {
        "messages": [{"type": message.content_type, "body": message.body} for message in messages],
        "ca": INDEX_CA_FILE if authorities else None,
    }
    labels = {**MANAGED_BY, COMPONENT: "chore"}
    key = {"name": entry.url_secret_ref.name, "key": entry.url_secret_ref.key}
    address = {"name": p.NOTIFY_URL_VARIABLE, "valueFrom": {"secretKeyRef": key}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": notify_name(deployment.name, hashlib.sha256(compact(about).encode()).hexdigest()),
            "namespace": deployment.namespace,
            "labels": labels,
            "annotations": {NOTIFIES: compact(about)},
            "ownerReferences": [owner("Deployment", deployment)],
        },
        "spec": chore(
            (),
            settings,
            labels,
            program="notify",
            variable=p.NOTIFY_VARIABLE,
            plan=plan,
            env=(address,),
            authorities=authorities,
        ),
    }
