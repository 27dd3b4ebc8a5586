"""What a run may say of itself besides what it is a run of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.base import Duration, Label, Model, Name, Opaque, Quantity, Reference, opaque_list, rule, validated
from millrace.api.parallel import Parallel
from millrace.api.rundata import Input, InputData, Output
from millrace.protocol import RESERVED_PREFIX, RESERVED_VARIABLES

VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
VALUE_LIMIT = 32_000  # the kernel takes 131,071 bytes for one string of the environment, four bytes a character at most
Value = Annotated[str, Field(max_length=VALUE_LIMIT, pattern=r"^[^\x00]*$")]  # NUL ends strings there


def _reserved(name: str) -> str:
    names = ", ".join(f"'{variable}'" for variable in RESERVED_VARIABLES)
    return f"{name} in [{names}] || {name}.startsWith('{RESERVED_PREFIX}')"


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


class RunTemplate(Model):
    """On what a run works, with what, how, and where the results go."""

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
    parallel: Parallel | None = None
    retries: Annotated[int, Field(ge=0, le=100)] = Field(
        0, description="Attempts after the first, when user code fails. Evictions and other disruptions are not charged."
    )
