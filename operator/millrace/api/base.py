"""What all kinds share: the model class, references, conditions, durations, and how a field becomes schema."""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "millrace.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DURATION = r"^([0-9]{1,9}(d|h|m|s))+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"

_UNIT = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class Model(BaseModel):
    """Base of all models: camelCase on the wire, unknown fields ignored (the API server has pruned them)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def dump(self) -> dict[str, Any]:
        """Returns the wire form: camelCase, JSON types, without what is not set."""
        return self.model_dump(by_alias=True, exclude_none=True, mode="json")


def rule(expression: str, message: str, *, field: str | None = None) -> dict[str, str]:
    """One CEL rule (x-kubernetes-validations). A message that has quotes or `+` in it is an expression itself."""
    found = {"rule": expression}
    found["messageExpression" if message.startswith("'") else "message"] = message
    if field is not None:
        found["fieldPath"] = field
    return found


_RESERVED_BY_CEL = {"void", "function", "namespace", "package", "import", "const", "var", "for", "if", "in", "as"}


def exactly_one(*fields: str) -> dict[str, str]:
    """The rule that one and only one of the fields is set."""
    names = [f"__{field}__" if field in _RESERVED_BY_CEL else field for field in fields]
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return rule(f"{count} == 1", f"exactly one of {', '.join(fields)} must be set")


def immutable(model: type[BaseModel], advice: str, *, but: frozenset[str] = frozenset()) -> list[dict[str, str]]:
    """The rules that no field of a spec changes, is added or goes; `but` are those that may, `advice` says what to do."""
    names = [field.alias or name for name, field in model.model_fields.items() if name not in but]
    return [
        rule(
            f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
            f"{name} is immutable; {advice}",
            field=f".{name}",
        )
        for name in names
    ]


def validated(*rules: dict[str, str], **extra: Any) -> ConfigDict:
    """Model configuration that carries CEL rules into the schema."""
    return ConfigDict(json_schema_extra={"x-kubernetes-validations": list[Any](rules), **extra})


# Passed through to the pod as it is; the API server checks it when the pod is made. Atomic: else managedFields has its
# fields, some levels deeper than they are, and of nearly 10,000 levels the API server stores what it cannot read again.
Opaque = Annotated[
    dict[str, Any],
    Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True, "x-kubernetes-map-type": "atomic"}),
]
Duration = Annotated[str, Field(pattern=DURATION, max_length=32)]
Quantity = Annotated[
    str, Field(pattern=QUANTITY, max_length=32, coerce_numbers_to_str=True, json_schema_extra={"x-quantity": True})
]
Name = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
Label = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]


def opaque_list(max_items: int) -> Any:
    """A list of objects that are passed through."""
    return Annotated[list[Opaque], Field(max_length=max_items)]


LONGEST = 20 * 365 * 86400  # seconds; whoever writes more means for ever, and dates have an end


def seconds(duration: str) -> int:
    """Seconds of a duration such as `72h` or `1h30m`, at most 20 years."""
    return min(sum(int(number) * _UNIT[unit] for number, unit in re.findall(r"([0-9]+)(d|h|m|s)", duration)), LONGEST)


def delta(duration: str) -> timedelta:
    """The duration as a timedelta."""
    return timedelta(seconds=seconds(duration))


class Reference(Model):
    """A reference by name to an object of the same namespace; there are none to another namespace."""

    name: Name


class Status(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model):
    """A condition as Kubernetes' API conventions describe it."""

    type: Annotated[str, Field(max_length=64)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=128)]
    message: Annotated[str, Field(max_length=4096)] = ""
    observed_generation: int | None = None
    last_transition_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}, max_length=16),
]


class Metadata(Model):
    """The part of an object's metadata that decisions need."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str
    deletion_timestamp: str | None = None
    annotations: dict[str, str] = {}
