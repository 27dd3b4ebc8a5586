"""Where the inputs of a Deployment's runs come from, and where their outputs go: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millrace.cli.errors import Refused
from millrace.domain.references import ReferenceRejected, StoreReference, parse
from millrace.sdk.names import Object, said


@dataclass(frozen=True, kw_only=True)
class InputSource:
    """Where an input of the Function comes from: exactly one of the sources.

    `datastore_path`: STORE/paths/PATH, or a path in the namespace's default store. `default_value` is for a variable that is
    not set. Whether an input must be given says the Function.
    """

    pipeline_input_name: str
    constant_value: Any = None
    environment_variable_name: str | None = None
    endpoint_input_name: str | None = None
    datastore_path: str | None = None
    default_value: Any = None

    def manifest(self, default: str | None) -> Object:
        """The entry of `inputsMapping`; `default` is the default store's name."""
        return said(
            input=self.pipeline_input_name,
            constant=self.constant_value,
            env=self.environment_variable_name,
            endpointInput=self.endpoint_input_name,
            dataStore=self.datastore_path and _place(self.datastore_path, default),
            default=self.default_value,
        )


@dataclass(frozen=True, kw_only=True)
class OutputDestination:
    """Where an output of the Function goes: exactly one of the destinations; `is_null`: it is not kept."""

    pipeline_output_name: str
    endpoint_output_name: str | None = None
    datastore_path: str | None = None
    is_null: bool = False

    def manifest(self, default: str | None) -> Object:
        """The entry of `outputsMapping`; `default` is the default store's name."""
        return said(
            output=self.pipeline_output_name,
            endpointOutput=self.endpoint_output_name,
            dataStore=self.datastore_path and _place(self.datastore_path, default),
            void=self.is_null or None,
        )


def _place(path: str, default: str | None) -> Object:
    """A path in a store as `dataStore`."""
    try:
        found = parse(path)
    except ReferenceRejected:
        found = None
    if isinstance(found, StoreReference):
        return {"name": found.store, "path": found.path}
    if default is None:
        raise Refused(
            f"datastore_path {path}: the namespace has no default store", "name the store as well: STORE/paths/PATH"
        )
    return {"name": default, "path": path}
