"""Manifests as the API server would hold them, for a run without one: checked, with what it would fill in. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from millrace.api.base import API_VERSION, GROUP, Condition, Metadata, Model
from millrace.api.datastore import (
    DEFAULT_ANNOTATION,
    GEN1,
    GEN1_RETIRED,
    KINDS,
    NO_HADOOP,
    DataStore,
    DataStoreSpec,
    DataStoreStatus,
)
from millrace.api.deployment import DeploymentSpec
from millrace.api.function import Function, FunctionSpec
from millrace.api.jobrun import JobRun, JobRunSpec
from millrace.api.mapping import DESTINATIONS, SOURCES
from millrace.api.rundata import Input
from millrace.api.template import VARIABLE, RunTemplate
from millrace.domain.clock import render
from millrace.domain.making import make
from millrace.domain.resolved import Mapped
from millrace.domain.template import shape
from millrace.protocol import is_reserved

Object = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""
Spec = TypeVar("Spec", bound=Model)


class Invalid(Exception):
    """A manifest that the API server would refuse."""


@dataclass
class Catalog:
    """The objects by namespace and name. `folders` are the paths of those stores that are folders."""

    runs: list[JobRun] = field(default_factory=list)
    functions: dict[Key, Function] = field(default_factory=dict)
    deployments: dict[Key, DeploymentSpec] = field(default_factory=dict)
    mapped: dict[str, Mapped] = field(default_factory=dict)  # by UID of the run
    stores: dict[Key, DataStore] = field(default_factory=dict)
    secrets: dict[Key, dict[str, str]] = field(default_factory=dict)
    config_maps: dict[Key, dict[str, str]] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def stores_of(self, namespace: str) -> dict[str, DataStore]:
        """The stores of a namespace by name."""
        return {name: store for (place, name), store in self.stores.items() if place == namespace}


def read_catalog(
    manifests: Sequence[Object], folders: Mapping[str, Path], *, now: datetime, new_id: Callable[[], str]
) -> Catalog:
    """Reads manifests that all have a namespace. A store named in `folders` is that folder, in every namespace.

    Where no DataStore is marked as the default, the first of `folders` is it. Raises Invalid.
    """
    found = Catalog(folders=dict(folders))
    for manifest in manifests:
        _add(found, manifest, now, new_id)
    found.runs = [_made(run, found) for run in found.runs]
    for namespace in {run.metadata.namespace for run in found.runs}:
        has_default = any(store.is_default for store in found.stores_of(namespace).values())
        for number, name in enumerate(folders):
            known = found.stores.get((namespace, name))
            first = {DEFAULT_ANNOTATION: "true"} if number == 0 and not has_default else {}
            notes = {**(known.metadata.annotations if known else {}), **first}
            metadata = _metadata({"name": name, "namespace": namespace, "annotations": notes}, now, new_id)
            found.stores[namespace, name] = _ready(metadata, DataStoreSpec(), now)
    return found


def _add(found: Catalog, manifest: Object, now: datetime, new_id: Callable[[], str]) -> None:
    version, kind = manifest["apiVersion"], manifest["kind"]
    if version.partition("/")[0] == GROUP and version != API_VERSION:
        raise Invalid(f"{kind} {manifest['metadata'].get('name')}: apiVersion {version} is not known, {API_VERSION} is")
    metadata = _metadata(manifest["metadata"], now, new_id)
    key = (metadata.namespace, metadata.name)
    what = f"{kind} {metadata.name}"
    match version, kind:
        case _, "Function" if version == API_VERSION:
            spec = _spec(FunctionSpec, manifest, what)
            _check(what, _of_function(manifest["spec"]))
            found.functions[key] = Function(metadata=metadata, spec=spec)
        case _, "Deployment" if version == API_VERSION:
            deployment = _spec(DeploymentSpec, manifest, what)
            template = deployment.template
            _check(what, chain(_of_data(template), _of_variables(template), _of_mappings(manifest["spec"])))
            found.deployments[key] = deployment
        case _, "DataStore" if version == API_VERSION:
            store = _spec(DataStoreSpec, manifest, what)
            _check(what, _of_store(store))
            found.stores[key] = _ready(metadata, store, now)
        case _, "JobRun" if version == API_VERSION:
            run = _spec(JobRunSpec, manifest, what)
            _check(what, chain(_of_run(run), _of_data(run), _of_variables(run)))
            found.runs.append(JobRun(metadata=metadata, spec=run))
        case "v1", "Secret":
            found.secrets[key] = {**_decoded(manifest, what), **(manifest.get("stringData") or {})}
        case "v1", "ConfigMap":
            found.config_maps[key] = dict(manifest.get("data") or {})
        case "v1", "Namespace":
            pass
        case _:
            found.unused.append(what)


def _made(run: JobRun, found: Catalog) -> JobRun:
    """The run with the defaults of its Deployment's template and what is mapped."""
    named, namespace = run.spec.deployment_ref, run.metadata.namespace
    if named is None:
        return run
    deployment = found.deployments.get((namespace, named.name))
    if deployment is None:
        raise Invalid(f"JobRun {run.metadata.name}: Deployment {named.name} is not among the manifests")
    own = run.spec.model_dump(by_alias=True, exclude_unset=True, mode="json")
    made = make(shape(deployment), own, found.functions.get((namespace, deployment.function_ref.name)))
    what = f"JobRun {run.metadata.name} of Deployment {named.name}"
    if made.obstacle:
        raise Invalid(f"{what}: {made.obstacle.reason}: {made.obstacle.message}")
    found.mapped[run.metadata.uid] = made.mapped
    spec = _spec(JobRunSpec, {"spec": made.spec}, what)
    _check(what, _of_data(spec))
    return run.model_copy(update={"spec": spec})


def _metadata(given: Object, now: datetime, new_id: Callable[[], str]) -> Metadata:
    uid = new_id()
    return Metadata(
        name=given.get("name") or f"{given['generateName']}{uid[-5:]}",
        namespace=given["namespace"],
        uid=uid,
        creation_timestamp=render(now),
        annotations=given.get("annotations") or {},
    )


def _ready(metadata: Metadata, spec: DataStoreSpec, now: datetime) -> DataStore:
    """A store as one that was probed: the runner probes it itself, before it starts anything."""
    seen, when = metadata.generation, render(now)
    condition = Condition(type="Ready", status="True", reason="Local", observed_generation=seen, last_transition_time=when)
    return DataStore(metadata=metadata, spec=spec, status=DataStoreStatus(conditions=[condition]))


def _spec(model: type[Spec], manifest: Object, what: str) -> Spec:
    try:
        return model.model_validate(manifest.get("spec") or {}, extra="forbid", by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        why = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
        raise Invalid(f"{what}: spec{path}: {why}") from None


def _decoded(manifest: Object, what: str) -> dict[str, str]:
    try:
        return {key: base64.b64decode(value, validate=True).decode() for key, value in (manifest.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError, TypeError):
        raise Invalid(f"{what}: a value under data is no text in base64; stringData takes it as it is") from None


def _check(what: str, faults: Iterable[str]) -> None:
    for fault in faults:
        raise Invalid(f"{what}: {fault}")


# What the schema's CEL rules refuse; there is no interpreter of CEL here.


def _of_function(spec: Object) -> Iterator[str]:
    if ("handler" in spec) == ("script" in spec):
        yield "spec: exactly one of handler, script must be set"
    source = spec.get("source") or {}
    if ("inline" in source) == ("zip" in source):
        yield "spec.source: exactly one of inline, zip must be set"
    if "zip" in source and source["zip"]["uri"].startswith("http://"):
        yield "spec.source.zip: uri must not be http, which anybody on the way can change; use https"
    if "zip" in source and source["zip"]["uri"].startswith("https://") and "sha256" not in source["zip"]:
        yield "spec.source.zip: sha256 must be set for code from a web address"
    if "inline" in source and spec.get("script", "main.py") != "main.py":
        yield "spec.script must be main.py: that is the file of an inline source"
    if "image" in spec and "baseImage" in spec:
        yield "spec: image and baseImage exclude each other: nothing is installed on a prebuilt image"
    if "image" in spec and spec.get("requirements"):
        yield "spec: requirements cannot be installed on a prebuilt image; use baseImage"


def _of_store(spec: DataStoreSpec) -> Iterator[str]:
    place = spec.place.dump() if spec.place else {}
    if len(spec.dump().keys() & set(KINDS)) != 1:
        yield f"spec: exactly one of {', '.join(KINDS)} must be set"
    for name in {"prefix", "subPath"} & place.keys():
        if _leaves(place[name]):
            yield f"spec.{spec.kind}: {name} must not have the segments . or .."
    if spec.azure_blob and ".dfs." in (spec.azure_blob.endpoint or ""):
        yield "spec.azureBlob.endpoint: the account's blob endpoint is expected, https://ACCOUNT.blob.core.windows.net"
    for address in ("endpoint", "baseUrl"):
        if GEN1 in place.get(address, ""):
            yield f"spec.{spec.kind}.{address}: {GEN1_RETIRED}"
    if spec.http and "/webhdfs" in spec.http.base_url:
        yield f"spec.http.baseUrl: {NO_HADOOP}"
    if spec.s3 and spec.s3.web_identity and spec.credentials:
        yield "spec.s3: credentials and s3.webIdentity exclude each other"
    if spec.volume and (spec.credentials or spec.ca_bundle_ref):
        yield "spec.volume: credentials and caBundleRef do not go with volume"


def _leaves(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))


def _of_run(spec: JobRunSpec) -> Iterator[str]:
    if (spec.deployment_ref is None) == (spec.function_ref is None):
        yield "spec: exactly one of deploymentRef, functionRef must be set"


def _of_mappings(spec: Object) -> Iterator[str]:
    for mapping, of, kinds in (("inputsMapping", "input", SOURCES), ("outputsMapping", "output", DESTINATIONS)):
        entries = spec.get(mapping) or []
        if len({entry[of] for entry in entries}) < len(entries):
            yield f"spec.{mapping}: two have one name"
        for entry in entries:
            if len(entry.keys() & {*kinds}) != 1:
                yield f"spec.{mapping} {entry[of]}: exactly one of {', '.join(kinds)} must be set"
            if entry.get("void") is False:
                yield f"spec.{mapping} {entry[of]}: void must be true, or absent"


def _of_data(spec: RunTemplate) -> Iterator[str]:
    for name, items in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        names = [item.name for item in items]
        if len(set(names)) < len(names):
            yield f"spec.{name}: two have one name"
    for number, item in enumerate(spec.inputs):
        yield from (f"spec.inputs[{number}]{fault}" for fault in _of_input(item))
    for number, output in enumerate(spec.outputs):
        if sum(value is not None for value in (output.asset, output.data_store, output.href)) != 1:
            yield f"spec.outputs[{number}]: exactly one of asset, dataStore, href must be set"
        if output.href and (output.archive or output.format or output.when):
            yield f"spec.outputs[{number}]: archive, format and when do not go with href: the script uploads by itself"
    places = [(item.name, item.data_store) for item in spec.inputs]
    places += [(output.name, output.data_store) for output in spec.outputs]
    for name, place in places:
        if place and _leaves(place.path):
            yield f"{name}: path must not have the segments . or .."


def _of_input(item: Input) -> Iterator[str]:
    if sum(value is not None for value in (item.asset, item.uri, item.data_store, item.inline)) != 1:
        yield ": exactly one of asset, uri, dataStore, inline must be set"
    elif item.asset:
        yield ".asset: a local run knows no assets; name the place under dataStore"
    if item.uri and item.type != "uri_file":
        yield ": a web address has files only: set type: uri_file"
    if item.sha256 and not item.uri:
        yield ": sha256 goes with uri only"
    if item.inline and (item.optional is not None or item.stage == "Never"):
        yield ": optional and stage Never do not go with inline"
    if item.glob and item.type == "uri_file":
        yield ": glob goes with type uri_folder only"
    if item.stage == "Mount" and not item.data_store:
        yield ".stage: Mount is for a DataStore of kind volume only"
    if item.stage == "Mount" and (item.glob or item.optional is not None):
        yield ": glob and optional do not go with stage Mount"


def _of_variables(spec: RunTemplate) -> Iterator[str]:
    for name in (*spec.environment_variables, *(variable.name for variable in spec.env)):
        if is_reserved(name):
            yield f"reserved for millrace: {name}"
        if not re.fullmatch(VARIABLE, name):
            yield f"not a name of an environment variable: {name}"
    for variable in spec.env:
        if variable.value is not None and variable.value_from is not None:
            yield f"variable {variable.name}: value and valueFrom exclude each other"
