"""payload.json: the job's payload as watsonx writes it (seed 000), without any secret."""

from __future__ import annotations

from typing import Any

from millrace.api.datastore import DataStore
from millrace.domain.resolve import substitute
from millrace.domain.resolved import Resolved, ResolvedInput

_CONNECTED = {"volume": "fs"}  # a storage volume, in the words of watsonx; what is not here is a connection_asset


def _connection(store: DataStore) -> dict[str, Any]:
    fields = store.spec.place.dump() if store.spec.place else {}
    found = {"name": store.metadata.name, "endpoint_url": fields.get("endpoint") or fields.get("baseUrl")}
    found |= {key: fields.get(key) for key in ("account", "container", "bucket", "region", "claimName")}
    return {key: value for key, value in found.items() if value is not None}


def _location(store: DataStore, path: str) -> dict[str, Any]:
    fields = store.spec.place.dump() if store.spec.place else {}
    above = fields.get("prefix") or fields.get("subPath")
    return {
        **{key: fields[key] for key in ("bucket", "container") if key in fields},
        "path": f"{above}/{path}" if above else path,
    }


def reference(found: ResolvedInput) -> dict[str, Any]:
    """The reference of an input in a store or at a web address, as in scoring.input_data_references."""
    if found.store is None:
        return {"id": found.input.name, "type": "url", "location": {"href": found.input.uri}}
    return {
        "id": found.input.name,
        "type": "data_asset" if found.staged else _CONNECTED.get(found.store.spec.kind or "", "connection_asset"),
        "connection": _connection(found.store),
        "location": _location(found.store, found.path),
    }


def _output_references(resolved: Resolved) -> list[dict[str, Any]]:
    uploaded = {output.output.name: output for output in resolved.outputs}
    references: list[dict[str, Any]] = []
    for output in resolved.run.spec.outputs:
        if output.href:
            references.append({"id": output.name, "type": "url", "location": {"href": output.href}})
        elif output.asset:
            references.append({"id": output.name, "type": "data_asset", "location": {"name": output.asset}})
        else:
            found = uploaded[output.name]
            references.append(
                {
                    "id": output.name,
                    "type": _CONNECTED.get(found.store.spec.kind or "", "connection_asset"),
                    "connection": _connection(found.store),
                    "location": _location(found.store, substitute(found.key, resolved.run)),
                }
            )
    return references


def payload(resolved: Resolved) -> dict[str, Any]:
    """The payload of a run. What was not asked for is absent (seed 000, last but one note)."""
    run = resolved.run
    scoring: dict[str, Any] = {}
    data = [found.dump() for found in run.spec.input_data]
    data += [{"id": found.name, **found.inline.dump()} for found in run.spec.inputs if found.inline]
    if data:
        scoring["input_data"] = data
    if references := [reference(found) for found in resolved.inputs if not found.input.inline]:
        scoring["input_data_references"] = references
    if outputs := _output_references(resolved):
        scoring["output_data_reference"] = outputs[0]
        if len(outputs) > 1:
            scoring["output_data_references"] = outputs
    if run.spec.environment_variables:
        scoring["environment_variables"] = run.spec.environment_variables
    return {
        "deployment": {"id": resolved.origin.uid if resolved.origin else resolved.function.metadata.uid},
        "job": {"id": run.metadata.uid},
        "space_id": run.metadata.namespace,
        "name": run.metadata.name,
        "scoring": scoring,
    }
