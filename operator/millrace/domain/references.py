"""References to data: every form of design part 2b, read by one parser into one of three kinds."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from millrace.domain.names import dns_name

LATEST = "latest"


class ReferenceRejected(ValueError):
    """The text is no reference that can be followed; the message says why and what would be one."""


@dataclass(frozen=True)
class AssetReference:
    """A version of a data asset; "latest" is pinned when a run is admitted. `namespace` is None for the run's own."""

    asset: str
    version: str = LATEST
    namespace: str | None = None


@dataclass(frozen=True)
class StoreReference:
    """A place in a DataStore of the run's namespace."""

    store: str
    path: str


@dataclass(frozen=True)
class AddressReference:
    """A place on a service, whether or not a DataStore knows it.

    `host` is S3's endpoint or that of a web address, "" for the service's own; `account` is Azure's; `container` is the
    bucket, None where a web address is no object store's. `path` is decoded, but a web address's is as it was written.
    """

    service: str  # s3 | gcs | azureBlob | https | http
    path: str
    container: str | None = None
    account: str | None = None
    host: str = ""


Reference = AssetReference | StoreReference | AddressReference

_LABEL = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_NAME = r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?"
_VERSION = r"[A-Za-z0-9](?:[-A-Za-z0-9._]*[A-Za-z0-9])?"
_THEIRS = r"[A-Za-z0-9][-A-Za-z0-9_.]{0,254}"  # a name of Azure ML, where My_Data is one: ours is my-data
_AT_VERSION = rf"(?:@(?P<label>{_VERSION})|:(?P<version>{_VERSION}))"
_ASSET = re.compile(rf"(?P<asset>{_LABEL}){_AT_VERSION}")
_AZURE_ASSET = re.compile(rf"azureml:/{{0,2}}(?P<theirs>{_THEIRS}){_AT_VERSION}")
_IN_NAMESPACE = re.compile(
    rf"store://(?P<namespace>{_LABEL})/(?P<kind>[a-z-]+)/(?P<asset>{_LABEL})(?::(?P<version>{_VERSION}))?"
)
_STORE = re.compile(rf"(?P<store>{_NAME})/paths/(?P<path>.+)")
_AZURE_STORE = re.compile(rf"azureml://datastores/(?P<theirs>{_THEIRS})/paths/(?P<path>.+)")
_WORKSPACE = (
    r"(?:azureml:/)?/subscriptions/[^/]+/resourcegroups/[^/]+/"
    r"(?:providers/Microsoft\.MachineLearningServices/)?workspaces/[^/]+"
)
_LONG_ASSET = re.compile(rf"{_WORKSPACE}/data/(?P<theirs>{_THEIRS})/versions/(?P<version>{_VERSION})", re.IGNORECASE)
_LONG_STORE = re.compile(rf"{_WORKSPACE}/datastores/(?P<theirs>{_THEIRS})/paths/(?P<path>.+)", re.IGNORECASE)
_ASSET_KINDS = {"artifact", "dataasset", "dataitem", "dataset", "model"}
_BUCKET = re.compile(r"[a-z0-9][-a-z0-9._]{1,61}[a-z0-9]")
_AZURE_HOST = re.compile(r"(?P<account>[a-z0-9]{3,24})\.(?:blob|dfs)\.core\.windows\.net")
_S3_HOST = re.compile(r"(?:(?P<container>[a-z0-9][-a-z0-9.]*)\.)?(?P<host>s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com)")
_GOOGLE_HOST = re.compile(r"(?:(?P<container>[a-z0-9][-a-z0-9._]*)\.)?storage\.googleapis\.com")
_HOSTS = {"s3": _S3_HOST, "gcs": _GOOGLE_HOST, "azureBlob": _AZURE_HOST}
# What a signed address carries: whoever reads the manifest could use it.
_SIGNATURES = {"sig", "x-amz-signature", "x-goog-signature", "signature", "awsaccesskeyid"}
_RETIRED = {
    "adl": "Azure Data Lake Storage Gen1 was retired in 2024; move the data to Gen2 and name it as abfss://",
    "hdfs": "Hadoop is not supported; copy the data to an object store",
    "webhdfs": "Hadoop is not supported; copy the data to an object store",
    "wasb": "the driver for wasb:// is retired; name the same container as abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH",
    "file": "a path of a machine means nothing in a cluster; upload the data, or use a DataStore of a volume",
}
_RETIRED |= {"wasbs": _RETIRED["wasb"]}
FORMS = "NAME@latest, NAME:VERSION, STORE/paths/PATH, s3://, gs://, az://, abfss://, https://"


def parse(text: str) -> Reference:
    """The reference that the text is. Raises ReferenceRejected."""
    if not text or re.search(r"[\x00-\x20\x7f]", text):
        raise ReferenceRejected(
            f"{text!r}: empty, or with blanks or control characters in it; write a blank as %20 in an address"
        )
    for pattern in (_LONG_ASSET, _AZURE_ASSET, _ASSET, _IN_NAMESPACE):
        if found := pattern.fullmatch(text):
            return _asset(text, found.groupdict())
    for pattern in (_LONG_STORE, _AZURE_STORE, _STORE):
        if found := pattern.fullmatch(text):
            names = found.groupdict()
            store = names.get("store") or ".".join(map(dns_name, names["theirs"].split(".")))
            return StoreReference(store, _path(text, names["path"]))
    scheme, separator, _ = text.partition("://")
    if scheme.lower() in _RETIRED and separator:
        raise ReferenceRejected(f"{text}: {_RETIRED[scheme.lower()]}")
    if separator and (read := _SCHEMES.get(scheme.lower())):
        return read(text, _split(text))
    raise ReferenceRejected(f"{text}: not a reference; one of {FORMS} is expected")


def parse_asset(text: str) -> Reference:
    """The same where an asset is expected: a name alone is its latest version. Raises ReferenceRejected."""
    return parse(text if {"@", ":", "/"} & set(text) else f"{text}@{LATEST}")


def _asset(text: str, found: dict[str, str | None]) -> AssetReference:
    kind = found.get("kind")
    if kind and kind not in _ASSET_KINDS:
        raise ReferenceRejected(f"{text}: a {kind} is no data; one of {', '.join(sorted(_ASSET_KINDS))} is expected")
    version = found.get("label") or found.get("version") or LATEST
    name = found.get("asset") or dns_name(str(found["theirs"]))
    if len(name) > 63:
        raise ReferenceRejected(f"{text}: the name of an asset has at most 63 characters")
    return AssetReference(name, version, found.get("namespace"))


def _path(text: str, path: str, *, empty: bool = False) -> str:
    path = path.lstrip("/")
    if not path and not empty:
        raise ReferenceRejected(f"{text}: it names no path")
    if any(part in {".", ".."} for part in path.split("/")) or re.search(r"[\x00-\x1f]", path):
        raise ReferenceRejected(f"{text}: the path must not have the segments . or .., nor control characters")
    return path


def _split(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise ReferenceRejected(f"{text}: {error}") from None
    if not parts.hostname:
        raise ReferenceRejected(f"{text}: it names no host or bucket")
    if parts.fragment:
        raise ReferenceRejected(f"{text}: a fragment (#) is not part of an address of data; write # as %23")
    if parts.password or (parts.username and parts.scheme in {"http", "https"}):
        raise ReferenceRejected(f"{parts.scheme}://...@{parts.hostname}: {_KEEP}")
    if _SIGNATURES & {key.lower() for key, _ in parse_qsl(parts.query, keep_blank_values=True)}:
        raise ReferenceRejected(f"{parts.scheme}://{parts.hostname}{parts.path}?...: {_KEEP}")
    return parts


_KEEP = (
    "a credential in an address can be read by whoever reads the manifest; make a DataStore whose credentials are a Secret"
)


def _bucket(text: str, name: str) -> str:
    if not _BUCKET.fullmatch(name):
        raise ReferenceRejected(f"{text}: {name!r} is no name of a bucket or container")
    return name


def _object_store(service: str, text: str, parts: SplitResult) -> AddressReference:
    if parts.query or parts.port or parts.username:
        raise ReferenceRejected(f"{text}: {parts.scheme}://BUCKET/PATH is expected; an endpoint is a DataStore's")
    return AddressReference(service, _path(text, unquote(parts.path)), _bucket(text, str(parts.hostname)))


def _s3(text: str, parts: SplitResult) -> AddressReference:
    return _object_store("s3", text, parts)


def _gcs(text: str, parts: SplitResult) -> AddressReference:
    return _object_store("gcs", text, parts)


def _azure(text: str, parts: SplitResult) -> AddressReference:
    """az://CONTAINER/PATH, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH (Azure's ABFS driver)."""
    if not parts.username:
        return _object_store("azureBlob", text, parts)
    host = _AZURE_HOST.fullmatch(str(parts.hostname))
    if not host:
        raise ReferenceRejected(f"{text}: the host must be ACCOUNT.dfs.core.windows.net")
    container = _bucket(text, unquote(parts.username))
    return AddressReference("azureBlob", _path(text, unquote(parts.path), empty=True), container, host["account"])


def _web(text: str, parts: SplitResult) -> AddressReference:
    """An address of a known store's host is that store's, so that its folders can be listed; others have files only."""
    found = None
    if parts.scheme == "https" and not parts.query and not parts.port:
        known = ((service, pattern.fullmatch(str(parts.hostname))) for service, pattern in _HOSTS.items())
        found = next(((service, match.groupdict()) for service, match in known if match), None)
    if found:
        service, fields = found
        container, path = fields.get("container"), unquote(parts.path).lstrip("/")
        if not container:
            container, _, path = path.partition("/")
        place = _path(text, path, empty=True)
        return AddressReference(service, place, _bucket(text, container), fields.get("account"), fields.get("host") or "")
    _path(text, unquote(parts.path))
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return AddressReference(parts.scheme, path, host=parts.netloc.lower())


_SCHEMES = {"s3": _s3, "gs": _gcs, "az": _azure, "abfs": _azure, "abfss": _azure, "https": _web, "http": _web}
