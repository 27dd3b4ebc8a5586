"""The payload of a watsonx batch job (the JSON body of its REST call) as a JobRun."""

from __future__ import annotations

import json
import re
from typing import Any

from millrace.api.jobrun import JobRunSpec
from millrace.api.rundata import InputData
from millrace.api.template import VARIABLE
from millrace.domain.convert.fields import Converted, Field, Object, Options, manifest
from millrace.domain.convert.locations import Locations
from millrace.domain.names import dns_name
from millrace.protocol import PAYLOAD_LIMIT, is_reserved

_NONE_YET = "has no counterpart; leave it out"
_LATER = (
    "belongs to a Deployment, which there is none of in this version; leave it out, and create the JobRun when it is due"
)
_WITHOUT = {
    "project_id": "only jobs of a space are converted: a space is a namespace",
    "tags": _NONE_YET,
    "custom": _NONE_YET,
    "schedule": _LATER,
    "schedule_info": _LATER,
    "retention_policy": _LATER,
}
_INPUTS, _OUTPUT, _OUTPUTS = "input_data_references", "output_data_reference", "output_data_references"


def convert_watsonx(payload: Any, options: Options) -> Converted:
    """A JobRun. Raises ConversionRefused."""
    root = Field("", payload)
    top = root.members(("deployment", "space_id", "name", "description", "hardware_spec", "scoring"), _WITHOUT)
    locations = Locations(options, top["space_id"].text() if "space_id" in top else None)
    spec: Object = {"functionRef": {"name": _function(root.member("deployment"), options)}}
    if "description" in top:
        spec["description"] = top["description"].text()
    if "hardware_spec" in top:
        spec["profile"] = _profile(top["hardware_spec"], locations)
    if "scoring" in top:
        spec |= _scoring(top["scoring"], locations)
    name = locations.named(top["name"]) if "name" in top else dns_name(spec["functionRef"]["name"])
    if "space_id" in top and not options.namespace:
        locations.notes.append(
            "space_id: a space is a namespace: -n NAMESPACE, else the one that the manifest is applied to"
        )
    manifests = [manifest("JobRun", name, options.namespace, root.checked(JobRunSpec, spec))]
    return Converted(manifests, list(dict.fromkeys(locations.notes)))


def _function(deployment: Field, options: Options) -> str:
    if deployment.value is not None:
        deployment.members(("id",))
    if not options.deployment:
        deployment.member("id").refuse(
            "an id of watsonx means nothing here", "--deployment NAME says which Function is the deployment"
        )
    return options.deployment


def _profile(hardware: Field, locations: Locations) -> str:
    found = hardware.members(
        ("name", "num_nodes"), {"id": "an id of watsonx means nothing here; give the name of a profile"}
    )
    if "num_nodes" in found and found["num_nodes"].value != 1:
        found["num_nodes"].refuse("a run has one pod")
    return locations.named(hardware.member("name"))


def _scoring(scoring: Field, locations: Locations) -> Object:
    """The fields of the run's spec that stand under scoring."""
    found = scoring.members(("input_data", "environment_variables", _INPUTS, _OUTPUT, _OUTPUTS))
    spec: Object = {}
    if _INPUTS in found:
        inputs = found[_INPUTS].items()
        spec["inputs"] = _unique(inputs, [locations.input(each, number) for number, each in enumerate(inputs, 1)])
    if "input_data" in found:
        spec["inputData"] = [_rows(each) for each in found["input_data"].items()]
    outputs = _outputs(found.get(_OUTPUT), found.get(_OUTPUTS))
    if outputs:
        spec["outputs"] = _unique(outputs, [locations.output(each, number) for number, each in enumerate(outputs, 1)])
    if "environment_variables" in found:
        spec["environmentVariables"] = _variables(found["environment_variables"])
    inline = {key: value for key, value in spec.items() if key in {"inputData", "environmentVariables"}}
    size = len(json.dumps(inline, ensure_ascii=False, separators=(",", ":")).encode())
    if size > PAYLOAD_LIMIT:
        scoring.refuse(f"{size} bytes inline; a run takes {PAYLOAD_LIMIT}", "put the data into a store and name its place")
    return spec


def _outputs(one: Field | None, several: Field | None) -> list[Field]:
    """Both names are in use; where both are given, as in our own payload, the single one is the first of the list."""
    if several is None:
        return [one] if one else []
    if one and one.value != several.items()[0].value:
        one.refuse(f"it is not the first of {_OUTPUTS}", "give one of the two")
    return several.items()


def _unique(fields: list[Field], entries: list[Object]) -> list[Object]:
    names = [entry["name"] for entry in entries]
    for of, name in zip(fields, names, strict=True):
        if names.count(name) > 1:
            of.member("id").refuse(f"two are named {name}")
    return entries


def _rows(data: Field) -> Object:
    """Inline data: each row has a value for each field."""
    found = data.members(
        ("fields", "values"), {"id": "inline data has no name; it is in the payload file in the same order"}
    )
    fields = [each.text() for each in found["fields"].items()] if "fields" in found else None
    rows = data.member("values").items()
    for row in rows if fields else ():
        if len(row.items()) != len(fields or ()):
            row.refuse(f"{len(row.value)} values, but {len(fields or ())} fields")
    entry = {"values": [row.value for row in rows]}
    return data.checked(InputData, {"fields": fields, **entry} if fields else entry)


def _variables(variables: Field) -> Object:
    if not isinstance(variables.value, dict):
        variables.refuse("an object is expected: names of variables and their values")
    for name, value in variables.value.items():
        of = variables.member(name)
        if not re.fullmatch(VARIABLE, name):
            of.refuse("not a name of an environment variable")
        if is_reserved(name):
            of.refuse("reserved for millrace")
        if not isinstance(value, str):
            of.refuse("the value of a variable is a text; write it in quotes")
    return dict(variables.value)
