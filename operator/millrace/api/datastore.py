"""DataStore: where data is, and with which credentials it is reached."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.api.base import Conditions, Metadata, Model, Name, Reference, exactly_one, rule, validated

DEFAULT_ANNOTATION = "millrace.dev/is-default"
OBJECT_STORES = ("s3", "azureBlob", "gcs")
KINDS = (*OBJECT_STORES, "http", "volume")

SecretKey = Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]
Prefix = Annotated[str, Field(max_length=512, pattern=r"^[^/\x00-\x1f]([^\x00-\x1f]*[^/\x00-\x1f])?$")]

GEN1 = ".azuredatalakestore.net"
GEN1_RETIRED = "Azure Data Lake Storage Gen1 was retired in 2024; move the data to Gen2, which is azureBlob"
NO_HADOOP = "Hadoop is not supported; copy the data to an object store"

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


KeyPrefix = Annotated[
    Prefix,
    Field(
        description="All keys are below it.",
        json_schema_extra={
            "x-kubernetes-validations": [rule(NO_PARENT_SEGMENTS, "prefix must not have the segments . or ..")]
        },
    ),
]


class WebIdentity(Model):
    """How the run's ServiceAccount gets keys: a token of it, for that audience, is exchanged at a security token service."""

    audience: Annotated[str, Field(min_length=1, max_length=256)] | None = Field(
        None, description="Whom the token is for. sts.amazonaws.com if absent."
    )
    role_arn: Annotated[str, Field(min_length=1, max_length=2048)] | None = Field(
        None, description="The role that is assumed; Amazon wants one."
    )
    endpoint: (
        Annotated[
            str,
            Field(
                pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/?$",
                max_length=512,
                description="Address of the service. Absent: the store's own endpoint, else Amazon's of the region.",
            ),
        ]
        | None
    ) = None


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
    prefix: KeyPrefix | None = None
    path_style: bool | None = Field(None, description="Bucket in the path (the default) or in the host name.")
    web_identity: WebIdentity | None = Field(None, description="Runs reach the bucket as their own ServiceAccount.")


class AzureBlob(Model):
    """A container of Azure Blob Storage, or of ADLS Gen2 through its blob endpoint."""

    model_config = validated(
        rule(
            "!has(self.endpoint) || !self.endpoint.contains('.dfs.')",
            "endpoint must be the account's blob endpoint, which ADLS Gen2 has, too: https://ACCOUNT.blob.core.windows.net",
            field=".endpoint",
        ),
        rule(f"!has(self.endpoint) || !self.endpoint.contains('{GEN1}')", GEN1_RETIRED, field=".endpoint"),
    )

    account: Annotated[str, Field(pattern=r"^[a-z0-9]{3,24}$", max_length=24)]
    container: Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9])+$", min_length=3, max_length=63)]
    endpoint: (
        Annotated[
            str,
            Field(
                pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[a-z0-9]+)?/?$",
                max_length=512,
                description="Blob endpoint of the account, as in a connection string: an emulator's ends with the account. "
                "Absent: https://ACCOUNT.blob.core.windows.net.",
            ),
        ]
        | None
    ) = None
    prefix: KeyPrefix | None = None


class Gcs(Model):
    """A bucket of Google Cloud Storage."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$", min_length=3, max_length=222)]
    prefix: KeyPrefix | None = None
    endpoint: (
        Annotated[
            str,
            Field(
                pattern=r"^https?://[A-Za-z0-9.:\[\]-]+/?$",
                max_length=512,
                description="Address of the service. Absent: https://storage.googleapis.com.",
            ),
        ]
        | None
    ) = None


class Http(Model):
    """A web server whose files are read by https. It lists no folders, and nothing is written to it."""

    model_config = validated(
        rule(f"!self.baseUrl.contains('{GEN1}')", GEN1_RETIRED, field=".baseUrl"),
        rule("!self.baseUrl.contains('/webhdfs')", NO_HADOOP, field=".baseUrl"),
    )

    base_url: Annotated[
        str,
        Field(
            pattern=r"^https://[!-\"$->A-\[\]-~]+$",
            max_length=1024,
            description="What all paths are below, without a query.",
        ),
    ]


class Volume(Model):
    """A PersistentVolumeClaim of the same namespace, read and written as the user that the run's pod has."""

    claim_name: Name
    sub_path: KeyPrefix | None = Field(None, description="The folder of the claim that is the store; made where absent.")
    read_only: bool | None = Field(None, description="Mounted read-only; no output goes there.")


class CredentialKeys(Model):
    """Which keys of the Secret are the credentials."""

    access_key: Annotated[SecretKey, Field(description="Of s3 alone.")] = "access_key"
    secret_key: Annotated[
        SecretKey,
        Field(
            description="s3: the secret key; azureBlob: the account's key or a shared access signature; "
            "gcs: a service account's key, as JSON; http: what the header Authorization is to have, such as Bearer TOKEN."
        ),
    ] = "secret_key"  # noqa: S105 - the name of a key


class Credentials(Model):
    """Credentials in a Secret of the same namespace."""

    secret_ref: Reference
    keys: CredentialKeys | None = None


class CaBundleReference(Model):
    """A PEM certificate bundle in a ConfigMap of the same namespace."""

    config_map: Name
    key: SecretKey | None = None


Place = S3 | AzureBlob | Gcs | Http | Volume


class DataStoreSpec(Model):
    """Where data is."""

    model_config = validated(
        exactly_one(*KINDS),
        rule(
            "!has(self.volume) || !(has(self.credentials) || has(self.caBundleRef))",
            "credentials and caBundleRef do not go with volume: the pod's user reads and writes it",
            field=".volume",
        ),
        rule(
            "!has(self.s3) || !has(self.s3.webIdentity) || !has(self.credentials)",
            "credentials and s3.webIdentity exclude each other: runs are the store's user, or themselves",
            field=".s3",
        ),
    )

    s3: S3 | None = None
    azure_blob: AzureBlob | None = None
    gcs: Gcs | None = None
    http: Http | None = None
    volume: Volume | None = None
    credentials: Credentials | None = Field(
        None,
        description="Absent: s3: webIdentity, else requests are not signed; http: nor are they; "
        "azureBlob, gcs: the identity of the run, if it has one.",
    )
    ca_bundle_ref: CaBundleReference | None = None

    @property
    def kind(self) -> str | None:
        """Which of KINDS it is; None for a folder of a local run."""
        return next((kind for kind, place in zip(KINDS, self._places(), strict=True) if place), None)

    @property
    def place(self) -> Place | None:
        """What stands under that kind."""
        return next((place for place in self._places() if place), None)

    @property
    def writable(self) -> bool:
        """Whether an output can go there."""
        return not (self.http or (self.volume and self.volume.read_only))

    def _places(self) -> tuple[Place | None, ...]:
        return (self.s3, self.azure_blob, self.gcs, self.http, self.volume)


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
