"""Function: what is run. Source, handler or script, requirements, image."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.base import DNS_LABEL, Conditions, Metadata, Model, exactly_one, rule, validated

INLINE_LIMIT = 128 * 1024

Requirement = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^-\s].*$")]


class ZipSource(Model):
    """A zip archive of code, unpacked in the run's pod."""

    model_config = validated(
        rule(
            "!self.uri.startsWith('https://') || has(self.sha256)",
            "sha256 must be set for code from a web address: whoever serves it could change what runs",
        ),
        rule("!self.uri.startsWith('http://')", "uri must not be http, which anybody on the way can change; use https"),
    )

    uri: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            pattern=r"^[^\x00-\x20]+$",
            description="STORE/paths/PATH, a version of an asset (NAME:3, NAME@latest), an https address, or the s3, "
            "gs, az or abfss address of a bucket that is a DataStore here.",
        ),
    ]
    sha256: (
        Annotated[
            str,
            Field(
                pattern=r"^[0-9a-f]{64}$",
                max_length=64,
                description="What the archive must have; a must for https. Without it each run takes what is there when it "
                "starts, whatever the Function's revision.",
            ),
        ]
        | None
    ) = None


class Source(Model):
    """Where the code comes from."""

    model_config = validated(exactly_one("inline", "zip"))

    inline: (
        Annotated[
            str,
            Field(
                min_length=1,
                max_length=INLINE_LIMIT,
                description="Python source, at most 128 KiB; it is the module `main` (the file main.py).",
            ),
        ]
        | None
    ) = None
    zip: ZipSource | None = None


ParameterName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_-]*$", min_length=1, max_length=63)]
# Rules cannot see a field of any type, so check_function looks whether it goes with the others.
Json = Annotated[Any, Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
DATA_NAME = rule(
    f"has(self.type) && self.type == 'value' || self.name.matches('{DNS_LABEL}')",
    "the name of data must be lower case letters, digits and hyphens; that of a value may be any of Python",
    field=".name",
)


class DeclaredInput(Model):
    """What a run must be given, or may be."""

    model_config = validated(DATA_NAME)

    name: ParameterName
    type: Literal["uri_file", "uri_folder", "table", "value"] | None = Field(
        None,
        description="A file (if absent), a folder, data with columns, or a JSON value, which a run has under parameters.",
    )
    required: bool | None = Field(None, description="True if absent, unless there is a default.")
    default: Json = Field(None, description="The value of a run that has none; with type value only.")

    @property
    def is_value(self) -> bool:
        """Whether it is a parameter of a run, not an input with data."""
        return self.type == "value"

    @property
    def must_be_given(self) -> bool:
        """Whether a run without it cannot be."""
        return self.required is not False and self.default is None


class DeclaredOutput(Model):
    """What a run makes."""

    model_config = validated(DATA_NAME)

    name: ParameterName
    type: Literal["uri_file", "uri_folder", "table", "value"] | None = None


def _declared(description: str) -> Any:
    keyed: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    return Field(None, max_length=64, json_schema_extra=keyed, description=description)


class FunctionSpec(Model):
    """What is run."""

    model_config = validated(
        exactly_one("handler", "script"),
        rule(
            "!has(self.script) || self.script == 'main.py' || !has(self.source.inline)",
            "script must be main.py: that is the file of an inline source",
        ),
        rule("!has(self.init) || has(self.handler)", "init goes with handler: a script is no service"),
        rule(
            "!(has(self.image) && has(self.baseImage))",
            "image and baseImage exclude each other: nothing is installed on a prebuilt image",
        ),
        rule(
            "!(has(self.image) && has(self.requirements) && self.requirements.size() > 0)",
            "requirements cannot be installed on a prebuilt image; use baseImage",
        ),
    )

    description: Annotated[str, Field(max_length=1024)] | None = None
    source: Source
    handler: (
        Annotated[
            str,
            Field(
                pattern=r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:)?[A-Za-z_][A-Za-z0-9_]*$",
                max_length=256,
                description="module:function; a bare function name is one of the module main.",
            ),
        ]
        | None
    ) = None
    init: (
        Annotated[
            str,
            Field(
                pattern=r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:)?[A-Za-z_][A-Za-z0-9_]*$",
                max_length=256,
                description="Of a service: called once by each of its pods before it is ready, as handler names a function.",
            ),
        ]
        | None
    ) = None
    script: (
        Annotated[
            str,
            Field(
                pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*\.py$",
                max_length=256,
                description="A script of the source, run as __main__.",
            ),
        ]
        | None
    ) = None
    python_version: (
        Annotated[
            str,
            Field(pattern=r"^3\.[0-9]{1,2}$", max_length=8, description="One that the installation offers; 3.13 if absent."),
        ]
        | None
    ) = None
    requirements: Annotated[
        list[Requirement], Field(max_length=256, description="PEP 508 requirements, installed as wheels.")
    ] = []
    base_image: (
        Annotated[str, Field(min_length=1, max_length=512, description="Run on this image; it needs Python 3.9 or later.")]
        | None
    ) = None
    image: (
        Annotated[str, Field(min_length=1, max_length=512, description="Run on this image as it is; nothing is installed.")]
        | None
    ) = None
    inputs: list[DeclaredInput] | None = _declared("If there are any, a run has these and no others, parameters included.")
    outputs: list[DeclaredOutput] | None = _declared("If there are any, a run has no others.")


class CodeStatus(Model):
    """Which code it is, as far as that is known without reading it."""

    sha256: str | None = Field(None, description="Of the inline source, or what the archive must have.")


class FunctionStatus(Model):
    """What became of it."""

    observed_generation: int | None = None
    conditions: Conditions = []
    revision: str | None = Field(None, description="The ConfigMap that holds this state of the Function.")
    source: CodeStatus | None = None


class Function(Model):
    """A Python function or script."""

    metadata: Metadata
    spec: FunctionSpec
    status: FunctionStatus = FunctionStatus()
