"""Notifications of a Deployment: whom to tell what, and what has been told."""

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
            "slot is free, and none has started for ten minutes. A bare on is true in YAML: quote it.",
        ),
    ]
    format: Literal["cloudevents", "slack"] | None = Field(None, description="cloudevents, the default: version 1.0, JSON.")
    url_secret_ref: SecretKeyReference

    @property
    def address(self) -> str:
        """What statuses and messages call it: the Secret and its key, never what that holds."""
        return f"{self.url_secret_ref.name}/{self.url_secret_ref.key}"


class Pending(Model):
    """A transition that somebody is still to be told of."""

    transition: Transition
    time: str = Field(description="When it happened.")
    noted: str = Field(description="Since when it is to be told.")
    message: str | None = None


class Told(Model):
    """What became of telling an address."""

    transition: Transition
    address: str = Field(description="SECRET/KEY")
    result: Literal["Sent", "Refused", "GivenUp"]
    message: str | None = Field(None, description="What the address answered, where it has refused.")


class NotificationStatus(Model):
    """Transitions that are to be told, and what became of it."""

    pending: list[Pending] = []
    told: list[Told] = []
