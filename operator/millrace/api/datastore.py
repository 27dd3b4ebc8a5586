"""DataStore: where data is, and with which credentials it is reached."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.api.base import Conditions, Metadata, Model, Name, Reference, exactly_one, rule, validated

DEFAULT_ANNOTATION = "millrace.dev/is-default"

SecretKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]
Prefix = Annotated[str, Field(max_length=512, pattern=r"^[^/\x00-\x1f]([^\x00-\x1f]*[^/\x00-\x1f])?$")]

NO_PARENT_SEGMENTS = "!self.split('/').exists(part, part == '..' || part == '.')"


DataPath = Annotated[
    str,
    Field(
        max_length=900,
        pattern=r"^[^/\x00-\x1f][^\x00-\x1f]*$",
        json_schema_extra={
            "x-kubernetes-validations": [
                rule(NO_PARENT_SEGMENTS, "path must not have the segments . or .."),
                # Commit records, and requirements that are installed without asking the index.
                rule("!self.split('/').exists(part, part == '.millrace')", "path must not have the segment .millrace"),
            ]
        },
    ),
]


class S3(Model):
    """A bucket of an S3 store."""

    endpoint: (
        Annotated[
            str,
            Field(
                pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/?$",
                max_length=512,
                description="Address of the service. Absent: Amazon S3 of the region.",
            ),
        ]
        | None
    ) = None
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", max_length=63)]
    region: Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=64)] | None = None
    prefix: (
        Annotated[
            Prefix,
            Field(
                description="All keys are below it.",
                json_schema_extra={
                    "x-kubernetes-validations": [rule(NO_PARENT_SEGMENTS, "prefix must not have the segments . or ..")]
                },
            ),
        ]
        | None
    ) = None
    path_style: bool | None = Field(None, description="Bucket in the path (the default) or in the host name.")


class CredentialKeys(Model):
    """Which keys of the Secret are the credentials."""

    access_key: SecretKey = "access_key"
    secret_key: SecretKey = "secret_key"  # noqa: S105 - the name of a key


class Credentials(Model):
    """HMAC credentials in a Secret of the same namespace."""

    secret_ref: Reference
    keys: CredentialKeys | None = None


class CaBundleReference(Model):
    """A PEM certificate bundle in a ConfigMap of the same namespace."""

    config_map: Name
    key: SecretKey | None = None


class DataStoreSpec(Model):
    """Where data is."""

    model_config = validated(exactly_one("s3"))

    s3: S3 | None = None
    credentials: Credentials | None = Field(None, description="Absent: requests are not signed.")
    ca_bundle_ref: CaBundleReference | None = None


class DataStoreStatus(Model):
    """Whether it can be reached."""

    observed_generation: int | None = None
    conditions: Conditions = []
    checked: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = None


class DataStore(Model):
    """A place for data. One with the annotation millrace.dev/is-default: "true" is its namespace's default."""

    metadata: Metadata
    spec: DataStoreSpec
    status: DataStoreStatus = DataStoreStatus()

    @property
    def is_default(self) -> bool:
        """Whether it is marked as the namespace's default (managed) store."""
        return self.metadata.annotations.get(DEFAULT_ANNOTATION) == "true"
