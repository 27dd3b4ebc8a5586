"""Notifications of a Deployment: whom to tell what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.base import Model
from millrace.api.mapping import SecretKeyReference

Transition = Literal["Succeeded", "Failed", "Cancelled", "Late", "QueueStuck"]


class Notification(Model):
    """One address that is told."""

    on: Annotated[
        list[Transition],
        Field(
            min_length=1,
            max_length=5,
            json_schema_extra={"x-kubernetes-list-type": "set"},
            description="Ends of runs. Late: a run has not started ten minutes after it was due. QueueStuck: runs wait, a "
            "slot is free, and none has started for ten minutes.",
        ),
    ]
    format: Literal["cloudevents", "slack"] | None = Field(None, description="cloudevents, the default: version 1.0, JSON.")
    url_secret_ref: SecretKeyReference
