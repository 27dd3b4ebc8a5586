"""plan.json: what the containers of a run's pod have to do (docs/protocol.md)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import Any

from millrace.api.base import seconds
from millrace.api.datastore import DataStore
from millrace.build.payload import reference
from millrace.domain.resolved import Resolved, ResolvedInput
from millrace.domain.settings import Settings
from millrace.domain.web import below, file_name
from millrace.protocol import CA_DIR, IN_DIR, OUT_DIR, SOURCE_DIR, STOP_SECONDS, STORES_DIR, TOKEN_FILE, TOKENS_DIR

LOG_BYTES = 64 * 1024 * 1024
INDEX_CA_FILE = CA_DIR + "/index/ca.crt"

_SUFFIX = {"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", start=1)
}


def quantity(text: str | int) -> int:
    """Bytes of a Kubernetes quantity such as 10Gi."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert found, text
    return int(float(found[1]) * _SUFFIX[found[2]])


def store_entry(store: DataStore, index: int) -> dict[str, Any]:
    """One store of the plan; its place in the list names its credentials' variables. A claim is a folder in the pod, and
    so is one of a local run."""
    place: dict[str, Any] = {"folder": f"{STORES_DIR}/{index}"}
    if volume := store.spec.volume:
        place["claim"] = "/".join(part for part in (volume.claim_name, volume.sub_path) if part)
    elif store.spec.kind and store.spec.place:
        place = {store.spec.kind: store.spec.place.dump()}
    if store.spec.s3:
        place["s3"].setdefault("pathStyle", True)
        if store.spec.s3.web_identity:
            place["token"] = f"{TOKENS_DIR}/{index}/{TOKEN_FILE}"
    return {
        "name": store.metadata.name,
        **place,
        "credentials": store.spec.credentials is not None,
        "ca": f"{CA_DIR}/{index}/ca.crt" if store.spec.ca_bundle_ref else None,
    }


def _folder(name: str, *, alone: bool) -> str:
    return IN_DIR if alone else f"{IN_DIR}/{name}"


def _alone(resolved: Resolved) -> bool:
    """Whether one input is staged: it lies right in the folder of inputs."""
    return sum(found.staged for found in resolved.inputs) == 1


def staged_path(found: ResolvedInput, resolved: Resolved) -> str:
    """Where user code finds a staged input: the file of a uri_file, else the folder."""
    folder = _folder(found.input.name, alone=_alone(resolved))
    return f"{folder}/{posixpath.basename(found.path.strip('/'))}" if found.type == "uri_file" else folder


def _in_store(store: DataStore, path: str, index: dict[str, int]) -> dict[str, Any]:
    """Where a path of a store is; a web server's is fetched by its address."""
    web = {"uri": below(store.spec.http.base_url, path), "sha256": None} if store.spec.http else {}
    return {"store": index[store.metadata.name], "key": path.strip("/"), **web}


def _archive(resolved: Resolved, index: dict[str, int]) -> dict[str, Any]:
    """The zip that stage makes the source of; none where it stands in the revision."""
    found, named = resolved.source, resolved.function.spec.source.zip
    if found is None or named is None:
        return {}
    where = {"uri": named.uri, "key": file_name(named.uri, "source.zip")}
    if found.store:
        where = _in_store(found.store, found.path, index)
    return {"zip": {**where, "sha256": named.sha256}}


def _input(found: ResolvedInput, index: dict[str, int], *, alone: bool) -> dict[str, Any]:
    name = found.input.name
    if not found.staged:
        return {"name": name, "type": found.type, "stage": False, "reference": reference(found)}
    where: dict[str, Any] = {"inline": True, "key": f"{name}.csv"}
    if found.store:
        where = {**_in_store(found.store, found.path, index), **({"mount": True} if found.mounted else {})}
    elif uri := found.input.uri:
        where = {"uri": uri, "key": file_name(uri, name), "sha256": found.input.sha256}
    return {
        "name": name,
        "type": found.type,
        **where,
        "path": _folder(name, alone=alone),
        "glob": found.input.glob,
        "optional": bool(found.input.optional),
        "stage": True,
    }


def _folder_of(output: str, resolved: Resolved) -> dict[str, Any]:
    """An output, and where user code writes it."""
    return {"name": output, "path": OUT_DIR if len(resolved.written) == 1 else f"{OUT_DIR}/{output}"}


def https_inputs(settings: Settings) -> dict[str, Any]:
    """What may be asked by https."""
    found = settings.https_inputs
    return {"allow": found.allow, "deny": found.deny, "maxBytes": quantity(found.max_size)}


def _shards(resolved: Resolved, index: dict[str, int]) -> dict[str, Any]:
    """How many there are, and which input they share out by what is in which store."""
    parallel, sliced, store = resolved.run.spec.parallel, resolved.sliced, resolved.plan_store
    if parallel is None:
        return {}
    slices = {"store": index[store.metadata.name], "input": sliced.input.name if sliced else None} if store else None
    found = {"count": parallel.shards, "tolerated": parallel.max_failed_shards, "only": parallel.only, "slices": slices}
    return {"shards": {**found, **({"of": resolved.earlier} if resolved.earlier else {})}}


def plan(resolved: Resolved, settings: Settings) -> dict[str, Any]:
    """The plan of a run, without its attempt (for_attempt adds it). It holds no secret."""
    run, function = resolved.run, resolved.function
    index = {store.metadata.name: number for number, store in enumerate(resolved.stores)}
    alone = _alone(resolved)
    timeouts = run.spec.timeouts
    return {
        "run": {
            "namespace": run.metadata.namespace,
            "name": run.metadata.name,
            "uid": run.metadata.uid,
            "function": function.metadata.name,
            "functionRevision": resolved.revision,
            **({"deploymentId": resolved.origin.uid} if resolved.origin else {}),
        },
        "code": {
            "handler": function.spec.handler,
            "script": function.spec.script,
            "source": SOURCE_DIR,
            **_archive(resolved, index),
            "requirements": function.spec.requirements,
            "pythonVersion": resolved.python_version,
            "bringRuntime": not resolved.image_is_ours,
        },
        "parameters": run.spec.parameters,
        **({"parametersFrom": resolved.mapped.from_environment} if resolved.mapped.from_environment else {}),
        "inputs": [_input(found, index, alone=alone) for found in resolved.inputs],
        "outputs": [
            {
                **_folder_of(found.output.name, resolved),
                "store": index[found.store.metadata.name],
                "key": found.key,
                "archive": found.output.archive or "Zip",
                "format": found.output.format,
                "when": found.output.when or "OnSuccess",
            }
            for found in resolved.outputs
        ]
        + [{**_folder_of(name, resolved), "void": True} for name in resolved.mapped.void],
        "stores": [store_entry(store, number) for number, store in enumerate(resolved.stores)],
        "limits": {
            "running": seconds(timeouts.running),
            "staging": seconds(timeouts.staging),
            "uploading": seconds(timeouts.uploading),
            "stop": STOP_SECONDS,
            "scratchBytes": quantity(run.spec.scratch.size) if run.spec.scratch else None,
            "logBytes": LOG_BYTES,
        },
        **_shards(resolved, index),
        "cache": {"store": index[resolved.cache_store.metadata.name]} if resolved.cache_store else None,
        "index": {"url": settings.index_url, "ca": INDEX_CA_FILE if settings.ca_bundle_file else None},
        **({"httpsInputs": https_inputs(settings)} if resolved.fetches else {}),
        "logs": {"store": index[resolved.logs_store.metadata.name], "prefix": f"logs/{run.metadata.name}/"}
        if resolved.logs_store
        else None,
    }


def for_attempt(base: dict[str, Any], attempt: int, only: Sequence[int] = ()) -> dict[str, Any]:
    """The plan of one attempt: its number, a folder of its own for its logs, and which shards it is at, if not at all."""
    found = {**base, "run": {**base["run"], "attempt": attempt}}
    if only:
        found["shards"] = {**base["shards"], "only": list(only)}
    if base["logs"]:
        run = base["run"]["name"]
        found["logs"] = {**base["logs"], "prefix": f"logs/{run}/{attempt}/"}
    return found
