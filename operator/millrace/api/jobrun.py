"""JobRun: one run of a Function, or of a Deployment of one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from millrace.api.base import Conditions, Label, Metadata, Model, Opaque, Reference, exactly_one, immutable, rule, validated
from millrace.api.notification import NotificationStatus
from millrace.api.template import RunTemplate


class Phase(StrEnum):
    """Where a run is. The last three are final: a terminal phase never changes."""

    PENDING = "Pending"
    BLOCKED = "Blocked"
    QUEUED = "Queued"
    STAGING = "Staging"
    RUNNING = "Running"
    UPLOADING = "Uploading"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def terminal(self) -> bool:
        """Whether nothing follows."""
        return self in {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


MUTABLE = ("cancel", "suspend", "priority")


class JobRunSpec(RunTemplate):
    """One run: what, on what, with what, and where the results go."""

    deployment_ref: Reference | None = Field(None, description="The Deployment that this is a run of.")
    function_ref: Reference | None = Field(None, description="The Function, where no Deployment is named.")
    priority: Annotated[
        int,
        Field(ge=-1_000_000, le=1_000_000, description="Of the queued runs the highest is next. 0 if absent."),
    ] = 0
    kueue_queue: Label | None = Field(
        None, description="A LocalQueue of Kueue, which admits the run's Job; if absent its Deployment's."
    )
    suspend: bool = Field(False, description="While true it is not started; a run that has started goes on.")
    cancel: bool = Field(False, description="Ends the run. It cannot be taken back.")

    @property
    def function(self) -> str:
        """Name of the Function; empty where the Deployment that says it is not known."""
        return self.function_ref.name if self.function_ref else ""


JobRunSpec.model_config.update(
    validated(
        exactly_one("deploymentRef", "functionRef"),
        *immutable(JobRunSpec, "a JobRun runs once: create a new one instead", but=frozenset(MUTABLE)),
        rule(
            "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            "cancel cannot be taken back; create a new JobRun instead",
            field=".cancel",
        ),
        rule(
            "!(has(self.parallel) && has(self.kueueQueue))",
            "kueueQueue and parallel exclude each other: Kueue does not admit runs in shards",
            field=".kueueQueue",
        ),
    )
)


class SourceStatus(Model):
    """The archive that the code was unpacked from."""

    asset: str | None = None
    version: str | None = None
    asset_uid: str | None = Field(None, description="UID of the DataAsset.")
    bytes: int | None = None
    files: int | None = None
    sha256: str | None = None
    seconds: float | None = None
    identity_used: Literal["Store", "Job", "Anonymous"] | None = None


class Placed(Model):
    """A place in a DataStore, as it was."""

    name: str
    path: str


class InputStatus(SourceStatus):
    """What was staged."""

    name: str


class OutputStatus(Model):
    """What was published."""

    name: str
    asset: str | None = None
    version: str | None = None
    uri: str | None = None
    data_store: Placed | None = Field(None, description="Where that is, where the run says so itself.")
    bytes: int | None = None
    files: int | None = None
    sha256: str | None = None
    content_digest: str | None = None


class FailureStatus(Model):
    """Why a run failed."""

    reason: str
    message: str = ""
    container: str | None = None
    exit_code: int | None = None
    log_tail: str | None = None


class Times(Model):
    """When what happened, RFC 3339."""

    queued: str | None = None
    admitted: str | None = None
    staged: str | None = None
    started: str | None = None
    exited: str | None = None
    uploaded: str | None = None
    finished: str | None = None


class ProfileStatus(Model):
    """What the run got by its profile."""

    name: str
    resources: Annotated[
        Opaque, Field(description="Requests and limits of main: the profile's and, beside them, the run's.")
    ]


class ShardsStatus(Model):
    """What became of the shards."""

    count: int
    failed: Annotated[list[int], Field(description="Those without a part in the outputs, by their index.")] = []


class JobRunStatus(Model):
    """What became of a run."""

    observed_generation: int | None = None
    function: str | None = Field(None, description="The Function that is run, also where a Deployment says which.")
    phase: Phase | None = None
    reason: str | None = Field(None, description="Why it is where it is, in one word.")
    duration: str | None = Field(None, description="From creation to the end.")
    conditions: Conditions = []
    queue_position: int | None = Field(None, description="Place among the queued runs of its Deployment; 1 is next.")
    attempt: int | None = None
    job_name: str | None = None
    job_id: str | None = Field(None, description="UID of this JobRun.")
    deployment_id: str | None = Field(None, description="UID of its Deployment.")
    function_revision: str | None = Field(None, description="The ConfigMap of the Function's state that is run.")
    deployment_revision: str | None = Field(None, description="The ConfigMap of the defaults that the run was made with.")
    profile: ProfileStatus | None = None
    shards: ShardsStatus | None = Field(None, description="Of a parallel run, once they are over.")
    source: SourceStatus | None = Field(None, description="The code, where it is a zip.")
    inputs: list[InputStatus] = []
    outputs: list[OutputStatus] = []
    warnings: list[str] = []
    failure: FailureStatus | None = None
    logs: str | None = Field(None, description="Where the logs are archived.")
    logs_store: str | None = Field(None, description="The DataStore of the logs.")
    deleted: Annotated[
        list[Literal["logs", "artifacts"]], Field(description="What its Deployment's retention has deleted of it.")
    ] = []
    times: Times | None = None
    notifications: NotificationStatus | None = Field(None, description="Whom its Deployment's notifications have told what.")


class JobRun(Model):
    """One run of a Function, by itself or as one of a Deployment's."""

    metadata: Metadata
    spec: JobRunSpec
    status: JobRunStatus = JobRunStatus()
