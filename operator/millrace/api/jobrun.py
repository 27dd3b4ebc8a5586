"""JobRun: one run of a Function."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.base import (
    Conditions,
    Duration,
    Label,
    Metadata,
    Model,
    Name,
    Opaque,
    Quantity,
    Reference,
    exactly_one,
    immutable,
    opaque_list,
    rule,
    validated,
)
from millrace.api.datastore import DataPath
from millrace.protocol import RESERVED_PREFIX, RESERVED_VARIABLES

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
VALUE_LIMIT = 32_000  # the kernel takes 131,071 bytes for one string of the environment, four bytes a character at most
Value = Annotated[str, Field(max_length=VALUE_LIMIT, pattern=r"^[^\x00]*$")]  # NUL ends strings there


def _reserved(name: str) -> str:
    names = ", ".join(f"'{variable}'" for variable in RESERVED_VARIABLES)
    return f"{name} in [{names}] || {name}.startsWith('{RESERVED_PREFIX}')"


class Phase(StrEnum):
    """Where a run is. The last three are final: a terminal phase never changes."""

    PENDING = "Pending"
    BLOCKED = "Blocked"
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


# Its forms are those of domain/references.py; what is none of them is refused there with its reason.
AssetReference = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\x00-\x20]+$")]


class DataStorePath(Model):
    """A place in a DataStore."""

    name: Name
    path: DataPath


class InputData(Model):
    """Inline data: rows of values under the names of their fields (watsonx: scoring.input_data)."""

    fields: Annotated[list[Annotated[str, Field(max_length=256)]], Field(max_length=1024)] | None = None
    # A row is opaque: kubectl's own validation takes no null in a list whose items have a schema, even an open one.
    values: Annotated[
        list[Annotated[Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]],
        Field(max_length=100_000),
    ]


class Input(Model):
    """One input of a run."""

    model_config = validated(
        exactly_one("asset", "uri", "dataStore", "inline"),
        rule(
            "!has(self.uri) || has(self.type) && self.type == 'uri_file'",
            "a web address has files only: set type: uri_file, or make a DataStore for a folder",
        ),
        rule("!has(self.sha256) || has(self.uri)", "sha256 goes with uri only"),
        rule(
            "!has(self.inline) || !(has(self.optional) || has(self.stage) && self.stage == 'Never')",
            "optional and stage Never do not go with inline; a JSON value for the handler goes under parameters",
        ),
        rule("!has(self.glob) || !has(self.type) || self.type != 'uri_file'", "glob goes with type uri_folder only"),
    )

    name: Label
    asset: AssetReference | None = Field(
        None, description="NAME, NAME@latest or NAME:VERSION; the latest version is the one when the run is admitted."
    )
    uri: (
        Annotated[
            str,
            Field(
                pattern=r"^https://[!-\[\]-~]+$",
                max_length=2048,
                description="A file at an https address, fetched without credentials unless stage is Never.",
            ),
        ]
        | None
    ) = None
    sha256: (
        Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64, description="What the file at uri must have.")] | None
    ) = None
    data_store: DataStorePath | None = None
    inline: InputData | None = Field(
        None, description="Written as NAME.csv and NAME.json; in the payload as scoring.input_data."
    )
    type: Literal["uri_folder", "uri_file"] | None = Field(None, description="The asset's type, else uri_folder, if absent.")
    stage: Literal["Auto", "Download", "Never"] | None = Field(
        None,
        description="Auto, the default: what is in the namespace's default store is downloaded, "
        "what is in another one is left to the script, by its reference.",
    )
    optional: bool | None = Field(None, description="Nothing there is no failure.")
    glob: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Only files of the folder whose path matches, such as *.csv"
    )


class Output(Model):
    """One output of a run."""

    model_config = validated(
        exactly_one("asset", "dataStore", "href"),
        rule(
            "!has(self.href) || !(has(self.archive) || has(self.format) || has(self.when))",
            "archive, format and when do not go with href: the script uploads by itself",
        ),
    )

    name: Label
    asset: Label | None = Field(None, description="A new version of this asset, in the namespace's default store.")
    data_store: DataStorePath | None = Field(None, description="Uploaded below this path of a store.")
    href: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="The script uploads by itself; this is only announced in the payload."
    )
    format: Literal["Parquet", "CSV"] | None = Field(
        None, description="Of a DataFrame that the handler returns. Parquet if absent, CSV where pandas has no pyarrow."
    )
    archive: Literal["Zip", "None"] | None = Field(None, description="Zip if absent; None uploads the files as they are.")
    when: Literal["OnSuccess", "OnFailure", "Always"] | None = Field(None, description="OnSuccess if absent.")


class EnvVar(Model):
    """A variable as in a pod: name and value, or valueFrom (passed through)."""

    model_config = validated(
        rule(f"!({_reserved('self.name')})", "'reserved for millrace: ' + self.name"),
        rule("!(has(self.value) && has(self.valueFrom))", "value and valueFrom exclude each other"),
    )

    name: Annotated[str, Field(pattern=VARIABLE, max_length=256)]
    value: Value | None = None
    value_from: Opaque | None = None


class Scratch(Model):
    """Disk that a run may use, over its outputs and temporary files together."""

    size: Quantity


class Timeouts(Model):
    """How long each phase may last."""

    queued: Duration = Field("24h", description="Until it can be started. 24h if absent.")
    scheduling: Duration = Field("1h", description="Until the pod's first container runs. 1h if absent.")
    staging: Duration = Field("2h", description="Inputs and requirements. 2h if absent.")
    running: Duration = Field("72h", description="User code. 72h if absent.")
    uploading: Duration = Field("2h", description="Outputs and logs. 2h if absent.")


MUTABLE = ("cancel",)


class JobRunSpec(Model):
    """One run: what, on what, with what, and where the results go."""

    function_ref: Reference
    description: Annotated[str, Field(max_length=1024)] | None = None
    parameters: Annotated[Opaque, Field(description="Keyword arguments of the handler; JSON types are kept.")] = {}
    inputs: Annotated[
        list[Input],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    input_data: Annotated[
        list[InputData], Field(max_length=64, description="Inline data, in the payload as scoring.input_data.")
    ] = []
    outputs: Annotated[
        list[Output],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    environment_variables: Annotated[
        dict[str, Value],
        Field(
            max_length=256,
            json_schema_extra={
                "x-kubernetes-validations": [
                    rule(
                        f"self.all(name, name.matches('{VARIABLE}'))",
                        f"'not a name of an environment variable: ' + self.filter(name, !name.matches('{VARIABLE}'))[0]",
                    ),
                    rule(
                        f"self.all(name, !({_reserved('name')}))",
                        f"'reserved for millrace: ' + self.filter(name, {_reserved('name')})[0]",
                    ),
                ]
            },
        ),
    ] = {}
    env: Annotated[list[EnvVar], Field(max_length=256)] = []
    profile: Label | None = Field(None, description="A profile of the installation; what it says wins over the run's own.")
    resources: Opaque | None = None
    node_selector: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = {}
    tolerations: opaque_list(64) = []  # type: ignore[valid-type]
    affinity: Opaque | None = None
    priority_class_name: Name | None = None
    runtime_class_name: Name | None = None
    service_account_name: Name | None = None
    image_pull_secrets: Annotated[list[Reference], Field(max_length=16)] = []
    volumes: opaque_list(64) = []  # type: ignore[valid-type]
    volume_mounts: opaque_list(64) = []  # type: ignore[valid-type]
    pod_security_context: Opaque | None = None
    scratch: Scratch | None = None
    logs: Literal["Archive", "None"] | None = Field(
        None, description="With inputs or outputs logs are archived to the default store, else not, unless said here."
    )
    timeouts: Timeouts = Timeouts()
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="Attempts after the first, when user code fails. Evictions and other disruptions are not charged."
    )
    cancel: bool = Field(False, description="Ends the run. It cannot be taken back.")


JobRunSpec.model_config.update(
    validated(
        *immutable(JobRunSpec, "a JobRun runs once: create a new one instead", but=frozenset(MUTABLE)),
        rule(
            "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            "cancel cannot be taken back; create a new JobRun instead",
            field=".cancel",
        ),
    )
)


class InputStatus(Model):
    """What was staged."""

    name: str
    asset: str | None = None
    version: str | None = None
    asset_uid: str | None = Field(None, description="UID of the DataAsset.")
    bytes: int | None = None
    files: int | None = None
    sha256: str | None = None
    seconds: float | None = None
    identity_used: Literal["Store", "Job", "Anonymous"] | None = None


class OutputStatus(Model):
    """What was published."""

    name: str
    asset: str | None = None
    version: str | None = None
    uri: str | None = None
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


class JobRunStatus(Model):
    """What became of a run."""

    observed_generation: int | None = None
    phase: Phase | None = None
    reason: str | None = Field(None, description="Why it is where it is, in one word.")
    duration: str | None = Field(None, description="From creation to the end.")
    conditions: Conditions = []
    attempt: int | None = None
    job_name: str | None = None
    job_id: str | None = Field(None, description="UID of this JobRun.")
    function_revision: str | None = None
    profile: ProfileStatus | None = None
    inputs: list[InputStatus] = []
    outputs: list[OutputStatus] = []
    warnings: list[str] = []
    failure: FailureStatus | None = None
    logs: str | None = Field(None, description="Where the logs are archived.")
    times: Times | None = None


class JobRun(Model):
    """One run of a Function."""

    metadata: Metadata
    spec: JobRunSpec
    status: JobRunStatus = JobRunStatus()
