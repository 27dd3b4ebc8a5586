"""The data of a run: where its inputs are, and where its outputs go."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.base import Label, Model, Name, exactly_one, rule, validated
from millrace.api.datastore import DataPath

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
        rule(
            "!has(self.stage) || self.stage != 'Mount' || has(self.asset) || has(self.dataStore)",
            "stage Mount is for a DataStore of kind volume only",
            field=".stage",
        ),
        rule(
            "!has(self.stage) || self.stage != 'Mount' || !(has(self.glob) || has(self.optional))",
            "glob and optional do not go with stage Mount: what is mounted is the place as it is",
        ),
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
    stage: Literal["Auto", "Download", "Mount", "Never"] | None = Field(
        None,
        description="Auto, the default: what is in the namespace's default store is downloaded, "
        "what is in another one is left to the script, by its reference. Mount: the claim of a volume itself, read-only.",
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
