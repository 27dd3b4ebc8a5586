"""DataAsset: one immutable version of a data asset."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.base import Conditions, Label, Metadata, Model, Name, immutable, rule, validated
from millrace.api.datastore import DataPath

AssetVersion = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._]*[A-Za-z0-9])?$",
        min_length=1,
        max_length=63,
        json_schema_extra={
            "x-kubernetes-validations": [rule("self != 'latest'", "latest is no version: it means the newest")]
        },
    ),
]
LATEST = "latest"


class DataAssetSpec(Model):
    """Which data it is."""

    asset: Label | None = Field(None, description="Name of the asset that this is a version of; metadata.name if absent.")
    version: AssetVersion | None = Field(None, description="The next whole number if absent; it stands in status.version.")
    type: Literal["uri_folder", "uri_file", "table", "model"] | None = Field(None, description="uri_folder if absent.")
    data_store: Name | None = Field(None, description="The namespace's default store if absent.")
    path: Annotated[DataPath, Field(description="The folder or file in the store.")]
    description: Annotated[str, Field(max_length=1024)] | None = None
    reclaim: Literal["Retain", "Delete"] | None = Field(
        None, description="What becomes of the data when the DataAsset is deleted: Retain, the default, or Delete."
    )


DataAssetSpec.model_config.update(
    validated(
        rule(
            "!has(self.reclaim) || self.reclaim != 'Delete' || has(self.dataStore)",
            "reclaim Delete needs dataStore: which data is deleted must not depend on which store is the default",
            field=".reclaim",
        ),
        # A deletion may be noticed late, when nobody can tell any more what was changed just before it.
        rule(
            "!has(oldSelf.reclaim) || oldSelf.reclaim != 'Delete' || has(self.reclaim) && self.reclaim == 'Delete'",
            "reclaim Delete cannot be taken back; to keep the data create another DataAsset that names it",
            field=".reclaim",
        ),
        *immutable(
            DataAssetSpec,
            "a version of an asset stays what it is: create another DataAsset instead",
            but=frozenset({"description", "reclaim"}),
        ),
    )
)


class Source(Model):
    """An input of the run that made it: a version of an asset, or a place."""

    name: str
    asset: str | None = None
    version: str | None = None
    asset_uid: str | None = None
    reference: str | None = Field(None, description="STORE/paths/PATH or a web address, where no asset was named.")
    sha256: str | None = None


class Producer(Model):
    """The run that made it, and what that has read: kept here, since runs are deleted."""

    job_run: str
    uid: str
    function: str
    function_revision: str | None = None
    inputs: list[Source] = []


class Column(Model):
    """A column of a table."""

    name: str
    type: str


class DataAssetStatus(Model):
    """Which version it is, and what is known of its data."""

    observed_generation: int | None = None
    conditions: Conditions = []
    version: str | None = None
    bytes: int | None = None
    files: int | None = None
    sha256: str | None = None
    content_digest: str | None = None
    rows: int | None = Field(None, description="Of a table that a handler returned.")
    columns: list[Column] = []
    produced_by: Producer | None = None


class DataAsset(Model):
    """One immutable version of a data asset."""

    metadata: Metadata
    spec: DataAssetSpec
    status: DataAssetStatus = DataAssetStatus()

    @property
    def asset(self) -> str:
        """Name of the asset that this is a version of."""
        return self.spec.asset or self.metadata.name

    @property
    def version(self) -> str | None:
        """Its version, None while it has none."""
        return self.spec.version or self.status.version
