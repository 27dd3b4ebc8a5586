"""Azure ML's YAML of a data asset (CLI v2), and a run that reads it."""

from __future__ import annotations

import re
from typing import Any

from millrace.api.dataasset import LATEST, DataAssetSpec
from millrace.api.jobrun import JobRunSpec
from millrace.domain.convert.fields import Converted, Field, Object, Options, excluded, manifest, place
from millrace.domain.names import dns_name
from millrace.domain.references import AddressReference, AssetReference, ReferenceRejected, parse

_SCHEMA = re.compile(r"https?://azuremlschemas[a-z]*\.azureedge\.net/(?:[^/]+/)+(?P<kind>[A-Za-z0-9]+)\.schema\.json")
_STORE = "a DataStore is written by hand, since its keys are in a Secret: kubectl explain datastore.spec"
_SCHEMAS = {
    "azureDataLakeGen1": "Azure Data Lake Storage Gen1 was retired in 2024; move the data to Gen2",
    "azureBlob": _STORE,
    "azureDataLakeGen2": _STORE,
    "azureFile": _STORE,
}
_TYPES = ("uri_folder", "uri_file")
_KNOWN = ("$schema", "name", "version", "description", "type", "path")
_NONE_YET = "has no counterpart; leave it out"
INPUT = "data"
OUTPUT = "score"  # what Azure's batch endpoints call theirs


def convert_azureml(document: Any, options: Options) -> Converted:
    """A DataAsset; with a deployment also a JobRun that reads it. Raises ConversionRefused."""
    root = Field("", document)
    _check_schema(root.member("$schema"))  # first: of another kind all fields would be unknown
    found = root.members(_KNOWN, {"tags": _NONE_YET, "properties": _NONE_YET})
    name = root.member("name")
    asset, version = dns_name(name.text()), _version(found.get("version"))
    name.checked(DataAssetSpec, {"path": "-", "asset": asset})
    spec: Object = {"asset": asset}
    if version:
        found["version"].checked(DataAssetSpec, {"path": "-", "version": version})
        spec["version"] = version
    spec["type"] = found["type"].value if "type" in found else _TYPES[0]
    if spec["type"] not in _TYPES:
        found["type"].refuse(excluded(spec["type"]) or f"one of {', '.join(_TYPES)} is expected")
    where, notes = _where(root.member("path"), options)
    spec |= root.member("path").checked(DataAssetSpec, where)
    if "description" in found:
        spec["description"] = found["description"].text()
        found["description"].checked(DataAssetSpec, spec)
    if asset != name.value:
        notes.insert(0, f"name: {name.value} is named {asset}")
    object_name = dns_name(f"{asset}-{version}") if version else asset
    manifests = [manifest("DataAsset", object_name, options.namespace, spec)]
    if options.deployment:
        manifests.append(_run(asset, version, options.deployment, options.namespace))
    return Converted(manifests, notes)


def _check_schema(schema: Field) -> None:
    found = _SCHEMA.fullmatch(schema.text())
    kind = found["kind"] if found else ""
    if kind != "data":
        why = excluded(kind) or _SCHEMAS.get(kind) or "is not known here"
        schema.refuse(why, "only data assets are converted: https://azuremlschemas.azureedge.net/latest/data.schema.json")


def _version(version: Field | None) -> str | None:
    if version is None:
        return None
    if isinstance(version.value, bool | float):
        version.refuse('write it in quotes, such as "1.10": as it stands it is no text')
    text = str(version.value) if isinstance(version.value, int) else version.text()
    if text == LATEST:
        version.refuse("latest is no version: it means the newest")
    return text


def _where(path: Field, options: Options) -> tuple[Object, list[str]]:
    """The place of the data, and what is to be done so that it is there."""
    text = path.text()
    if not re.match(r"azureml:|/subscriptions/|[A-Za-z][-+.A-Za-z0-9]*://", text):
        if text.startswith(("/", "~")) or "\\" in text:
            path.refuse("a path of a machine means nothing in a cluster", "upload the data, and name its place in a store")
        found = place(path)
        return {"path": found}, [f"path: nothing is uploaded: copy the data to {found} of the namespace's default DataStore"]
    try:
        reference = parse(text)
    except ReferenceRejected as error:
        path.refuse(str(error))
    if isinstance(reference, AddressReference):
        hint = "make a DataStore for it and name the place as azureml://datastores/STORE/paths/PATH"
        path.refuse("an address is no place of an asset in this version", hint)
    if isinstance(reference, AssetReference):
        path.refuse("it names another asset; the place of the data is expected")
    stores = {dns_name(name): store for name, store in options.stores.items()}
    store = stores.get(dns_name(reference.store), reference.store)
    return {"dataStore": store, "path": place(Field(path.path, reference.path))}, []


def _run(asset: str, version: str | None, deployment: str, namespace: str | None) -> Object:
    spec: Object = {
        "functionRef": {"name": deployment},
        "inputs": [{"name": INPUT, "asset": f"{asset}:{version}" if version else f"{asset}@{LATEST}", "stage": "Download"}],
        "outputs": [{"name": OUTPUT, "asset": f"{dns_name(deployment)}-{OUTPUT}"}],
    }
    name = dns_name(f"{deployment}-{asset}-{version}" if version else f"{deployment}-{asset}")
    return manifest("JobRun", name, namespace, Field("--deployment", deployment).checked(JobRunSpec, spec))
