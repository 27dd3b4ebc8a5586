"""Mappings of a Deployment: where its runs have their inputs from, and where their outputs go."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from millrace.api.base import Label, Model, Name, exactly_one, rule, validated
from millrace.api.function import Json, ParameterName
from millrace.api.rundata import AssetReference, DataStorePath
from millrace.api.template import VARIABLE

SOURCES = ("constant", "endpointInput", "env", "dataStore", "asset", "secretRef")
DESTINATIONS = ("endpointOutput", "dataStore", "asset", "void")


class SecretKeyReference(Model):
    """A key of a Secret of the namespace."""

    name: Name
    key: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]


class InputMapping(Model):
    """Where an input of the Function comes from: exactly one of the sources."""

    # A constant may be of any type, and rules do not see such a field.
    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [source]} for source in SOURCES]})

    input: ParameterName
    constant: Json = Field(None, description="The same value in each run.")
    endpoint_input: ParameterName | None = Field(None, description="What a call of the endpoint gives under this name.")
    env: Annotated[str, Field(pattern=VARIABLE, max_length=256)] | None = Field(
        None, description="The value of this environment variable of the template, as text."
    )
    data_store: DataStorePath | None = None
    asset: AssetReference | None = None
    secret_ref: SecretKeyReference | None = Field(None, description="The value of a Secret's key, as text.")
    default: Json = Field(
        None, description="Where the endpoint is not given the input, or the template has no such variable."
    )

    @property
    def source(self) -> str:
        """The source that is set."""
        said = self.dump()
        return next((source for source in SOURCES if source in said), "constant")


class OutputMapping(Model):
    """Where an output of the Function goes: exactly one of the destinations."""

    model_config = validated(
        exactly_one(*DESTINATIONS),
        rule("!has(self.__void__) || self.__void__", "void must be true, or absent", field=".void"),
    )

    output: ParameterName
    endpoint_output: ParameterName | None = Field(None, description="Part of the endpoint's answer, under this name.")
    data_store: DataStorePath | None = None
    asset: Label | None = None
    void: bool | None = Field(None, description="It is not kept.")


class EffectiveInput(InputMapping):
    """The same, also where nobody has said it."""

    auto: bool | None = None


class EffectiveOutput(OutputMapping):
    """The same, also where nobody has said it."""

    auto: bool | None = None


class EffectiveMapping(Model):
    """What holds for the runs: the mappings of the spec, and those that follow from the rule."""

    inputs: Annotated[list[EffectiveInput], Field(max_length=64)] = []
    outputs: Annotated[list[EffectiveOutput], Field(max_length=16)] = []
