"""Mappings: what holds for a Deployment's runs, and what becomes of one run's inputs and outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from millrace.api.base import DNS_LABEL
from millrace.api.function import DeclaredInput, Function
from millrace.api.mapping import EffectiveInput, EffectiveMapping, EffectiveOutput, InputMapping, OutputMapping
from millrace.domain.declared import listed
from millrace.domain.obstacle import Obstacle
from millrace.domain.reasons import Reason
from millrace.protocol import parameter_variable

Rule = Literal["manual", "endpoint", "periodic"]
Object = dict[str, Any]

OF_VALUES = {"constant", "endpointInput", "env", "secretRef"}
OF_DATA = {"dataStore", "asset", "endpointInput"}
WITH_DEFAULT = {"endpointInput", "env"}
NO_LABEL = "the name of data must be lower case letters, digits and hyphens"


@dataclass
class RunFields:
    """What a mapping makes of one run: fields of a JobRun's spec in their wire form.

    `from_environment`: the variables of parameters whose value only the pod knows. `void`: outputs that are not kept.
    `endpoint_outputs`: outputs that are part of the endpoint's answer, by their name there.
    """

    parameters: Object = field(default_factory=dict)
    inputs: list[Object] = field(default_factory=list)
    outputs: list[Object] = field(default_factory=list)
    env: list[Object] = field(default_factory=list)
    from_environment: dict[str, str] = field(default_factory=dict)
    void: list[str] = field(default_factory=list)
    endpoint_outputs: dict[str, str] = field(default_factory=dict)


def effective_mapping(
    rule: Rule, inputs: Sequence[InputMapping], outputs: Sequence[OutputMapping], function: Function
) -> EffectiveMapping | Obstacle:
    """What holds for the runs of a Function under a rule, or why it cannot be.

    Endpoint: what is not mapped is mapped to the same name. Periodic: all that is declared must be mapped. Manual: a run
    says the rest itself.
    """
    declared_inputs = {found.name: found for found in function.spec.inputs or ()}
    declared_outputs = [found.name for found in function.spec.outputs or ()]
    mapped_inputs, mapped_outputs = {found.input for found in inputs}, {found.output for found in outputs}
    for field_name, mapped, declared in (
        ("inputsMapping", mapped_inputs, set(declared_inputs)),
        ("outputsMapping", mapped_outputs, set(declared_outputs)),
    ):
        if declared and (unknown := mapped - declared):
            return _rejected(
                f"{field_name} {listed(unknown)}: Function {function.metadata.name} declares {listed(declared)}"
            )
    for each in inputs:
        if why := _wrong_input(each, rule, declared_inputs.get(each.input)):
            return _rejected(f"inputsMapping {each.input}: {why}")
    for found in outputs:
        if why := _wrong_output(found, rule):
            return _rejected(f"outputsMapping {found.output}: {why}")
    answer = [found.endpoint_output for found in outputs if found.endpoint_output]
    if twice := {name for name in answer if answer.count(name) > 1}:
        return _rejected(f"outputsMapping: more than one output goes to endpointOutput {listed(twice)}")
    rest_in = [name for name in declared_inputs if name not in mapped_inputs]
    rest_out = [name for name in declared_outputs if name not in mapped_outputs]
    if rule == "periodic" and rest_in:
        return Obstacle(
            Reason.INPUTS_NOT_MAPPED, f"inputs {', '.join(rest_in)}: a periodic Deployment maps all under inputsMapping"
        )
    if rule == "periodic" and rest_out:
        return Obstacle(
            Reason.OUTPUTS_NOT_MAPPED, f"outputs {', '.join(rest_out)}: a periodic Deployment maps all under outputsMapping"
        )
    auto = rule == "endpoint"
    return EffectiveMapping(
        inputs=[
            *(EffectiveInput.model_validate(found.dump()) for found in inputs),
            *(EffectiveInput(input=name, endpoint_input=name, auto=True) for name in rest_in if auto),
        ],
        outputs=[
            *(EffectiveOutput.model_validate(found.dump()) for found in outputs),
            *(EffectiveOutput(output=name, endpoint_output=name, auto=True) for name in rest_out if auto),
        ],
    )


def _wrong_input(mapping: InputMapping, rule: Rule, declared: DeclaredInput | None) -> str | None:
    source = mapping.source
    if source == "constant" and mapping.constant is None:
        return "constant must not be null"
    if source == "endpointInput" and rule != "endpoint":
        return "endpointInput goes with executionRule endpoint only"
    if mapping.default is not None and source not in WITH_DEFAULT:
        return f"default does not go with {source}"
    if source in ("dataStore", "asset") and not re.fullmatch(DNS_LABEL, mapping.input):
        return NO_LABEL
    if declared and source not in (OF_VALUES if declared.is_value else OF_DATA):
        kind = declared.type or "uri_file"
        return f"{source} is for {'data' if declared.is_value else 'values'}, and the Function declares {kind}"
    return None


def _wrong_output(mapping: OutputMapping, rule: Rule) -> str | None:
    if mapping.endpoint_output and rule != "endpoint":
        return "endpointOutput goes with executionRule endpoint only"
    if (mapping.data_store or mapping.asset) and not re.fullmatch(DNS_LABEL, mapping.output):
        return NO_LABEL
    return None


def run_fields(
    mapping: EffectiveMapping,
    function: Function,
    *,
    variables: Mapping[str, str | None] | None = None,
    body: Mapping[str, Any] | None = None,
) -> RunFields | Obstacle:
    """What one run is made with. `variables`: its own and the template's, None for a value that only the pod knows;
    `body`: what the endpoint was given.
    """
    found = RunFields()
    given = dict(body or {})
    declared = {each.name: each for each in function.spec.inputs or ()}
    named = {each.endpoint_input for each in mapping.inputs if each.endpoint_input}
    if unknown := set(given) - named:
        if declared:
            return _mismatch(f"the endpoint has no inputs {listed(unknown)}; it has {listed(named)}")
        found.parameters.update({name: given[name] for name in unknown})
    missing: list[str] = []
    for number, each in enumerate(mapping.inputs):
        kind = declared.get(each.input)
        match each.source:
            case "constant":
                found.parameters[each.input] = each.constant
            case "dataStore" | "asset":
                found.inputs.append(_data(each, kind))
            case "secretRef":
                variable = parameter_variable(number)
                found.env.append({"name": variable, "valueFrom": {"secretKeyRef": each.secret_ref.dump()}})  # type: ignore[union-attr]
                found.from_environment[each.input] = variable
            case "env":
                missing += _from_variable(found, each, kind, variables or {})
            case _:
                name = str(each.endpoint_input)
                if name not in given and each.default is None:
                    missing += _must(f"endpointInput {name}", kind)
                elif why := _give(found, each.input, kind, given.get(name, each.default)):
                    return _mismatch(f"endpointInput {name}: {why}")
    if missing:
        return _mismatch(f"not given: {', '.join(missing)}")
    for output in mapping.outputs:
        _put_output(found, output)
    return found


def _put_output(found: RunFields, mapping: OutputMapping) -> None:
    if mapping.endpoint_output:
        found.endpoint_outputs[mapping.endpoint_output] = mapping.output
    elif mapping.void:
        found.void.append(mapping.output)
    else:
        said = mapping.dump()
        found.outputs.append({"name": mapping.output, **{key: said[key] for key in ("dataStore", "asset") if key in said}})


def _from_variable(
    found: RunFields, mapping: InputMapping, declared: DeclaredInput | None, variables: Mapping[str, str | None]
) -> list[str]:
    """Puts a variable's value where the run has it; what is missing, if it is."""
    name, value = str(mapping.env), variables.get(str(mapping.env), mapping.default)
    if name in variables and value is None:
        found.from_environment[mapping.input] = name
        value = mapping.default  # for a Secret's key that is optional, and not there
    elif value is None:
        return _must(f"env {name}", declared)
    if value is not None:
        found.parameters[mapping.input] = value
    return []


def _must(what: str, declared: DeclaredInput | None) -> list[str]:
    return [what] if declared is None or declared.must_be_given else []


def _data(mapping: InputMapping, declared: DeclaredInput | None) -> Object:
    said = mapping.dump()
    return {"name": mapping.input, **{key: said[key] for key in ("dataStore", "asset") if key in said}, **_type(declared)}


def _type(declared: DeclaredInput | None) -> Object:
    """A run's inputs are folders unless they say otherwise; a table may be either."""
    if declared is None or declared.type == "table":
        return {}
    return {"type": declared.type or "uri_file"}


def _give(found: RunFields, name: str, declared: DeclaredInput | None, value: Any) -> str | None:
    """Puts what was given where the run has it; why not, where it is no data."""
    if declared is None or declared.is_value:
        found.parameters[name] = value
        return None
    where = _reference(value)
    if where is None:
        return "data is a reference (a text), or rows: {fields: [...], values: [[...], ...]}"
    if "inline" not in where:
        where |= _type(declared)
    found.inputs.append({"name": name, **where})
    return None


def _reference(value: Any) -> Object | None:
    if isinstance(value, str) and value:
        return {"uri": value} if value.startswith("https://") else {"asset": value}
    if isinstance(value, dict) and isinstance(value.get("values"), list):
        return {"inline": value}
    return None


def _rejected(message: str) -> Obstacle:
    return Obstacle(Reason.MAPPING_REJECTED, message, heals=False)


def _mismatch(message: str) -> Obstacle:
    return Obstacle(Reason.PARAMETER_MISMATCH, message, heals=False)


def variables_of(spec: Mapping[str, Any]) -> dict[str, str | None]:
    """The variables of a run's spec in its wire form, None for one that has its value from elsewhere; later ones win, as in
    a pod.
    """
    listed_ones = {entry["name"]: None if "valueFrom" in entry else entry.get("value", "") for entry in spec.get("env", ())}
    return {**spec.get("environmentVariables", {}), **listed_ones}
