"""Deployment: a Function made repeatable. The defaults of its runs, and how many of them go on at a time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.base import Conditions, Label, Metadata, Model, Reference, rule, validated
from millrace.api.mapping import EffectiveMapping, InputMapping, OutputMapping
from millrace.api.notification import Notification, NotificationStatus
from millrace.api.retention import Retention
from millrace.api.schedule import Schedule, ScheduleStatus
from millrace.api.template import RunTemplate

CONCURRENCY = 2


class Queue(Model):
    """What becomes of a run while all slots are taken."""

    model_config = validated(
        rule(
            "!(has(self.whenFull) && self.whenFull == 'CancelOldest' && has(self.maxLength) && self.maxLength == 0)",
            "maxLength must be 1 or more with whenFull CancelOldest: the newest run waits",
            field=".maxLength",
        )
    )

    when_full: Literal["Queue", "SkipNew", "CancelOldest"] | None = Field(
        None,
        description="Queue, the default: a run waits, and fails where maxLength runs wait. SkipNew: it is cancelled where "
        "maxLength (0 if absent) wait. CancelOldest: it waits; the oldest of more than maxLength (1 if absent) goes.",
    )
    max_length: Annotated[int, Field(ge=0, le=1_000_000, description="How many runs may wait.")] | None = None
    kueue_queue: Label | None = Field(
        None, description="A LocalQueue of Kueue: a run that has a slot starts when Kueue has admitted its Job."
    )

    @property
    def limit(self) -> int | None:
        """How many runs may wait; None: any number."""
        if self.max_length is not None:
            return self.max_length
        return {"SkipNew": 0, "CancelOldest": 1}.get(self.when_full or "Queue")


class DeploymentSpec(Model):
    """A Function and how it is run."""

    model_config = validated(
        rule(
            "has(self.schedule) == (has(self.executionRule) && self.executionRule == 'periodic')",
            "schedule goes with executionRule periodic, and periodic needs a schedule",
            field=".schedule",
        ),
        rule(
            "!(has(self.queue) && has(self.queue.kueueQueue) && has(self.template) && has(self.template.parallel))",
            "queue.kueueQueue and template.parallel exclude each other: Kueue does not admit runs in shards",
            field=".queue",
        ),
    )

    function_ref: Reference
    description: Annotated[str, Field(max_length=1024)] | None = None
    deployment_mode: Literal["elastic"] | None = Field(None, description="elastic: capacity comes and goes with the runs.")
    action: Literal["job"] | None = Field(None, description="job: each run is a batch job.")
    execution_rule: Literal["manual", "periodic"] | None = Field(
        None, description="manual: whoever makes a JobRun starts a run. periodic: the schedule does as well."
    )
    schedule: Schedule | None = None
    inputs_mapping: Annotated[
        list[InputMapping],
        Field(
            max_length=64,
            description="Where the Function's inputs come from.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["input"]},
        ),
    ] = []
    outputs_mapping: Annotated[
        list[OutputMapping],
        Field(
            max_length=16,
            description="Where the Function's outputs go.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["output"]},
        ),
    ] = []
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        CONCURRENCY, description="Runs that go on at a time. 2 if absent."
    )
    queue: Queue = Queue()
    retention: Retention | None = None
    notifications: Annotated[list[Notification], Field(max_length=8)] = []
    template: RunTemplate = Field(RunTemplate(), description="Defaults of the runs; what a run says itself wins.")


class DeploymentStatus(Model):
    """What became of it."""

    observed_generation: int | None = None
    conditions: Conditions = []
    deployment_id: str | None = Field(None, description="UID of this Deployment.")
    revision: str | None = Field(None, description="The ConfigMap that holds what runs are made of now.")
    running: int | None = Field(None, description="Runs that hold a slot.")
    queued: int | None = Field(None, description="Runs that wait for one.")
    effective_mapping: EffectiveMapping | None = None
    schedule: ScheduleStatus | None = None
    notifications: NotificationStatus | None = Field(None, description="Of its queue; those of runs are in their statuses.")


class Deployment(Model):
    """A Function made repeatable: defaults for its runs, and a queue."""

    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()
