"""The plan's part for main. Shapes: docs/protocol.md."""

from __future__ import annotations

import json
import os

from millrace import protocol
from millrace.inpod.runtime.errors import RuntimeFault
from millrace.inpod.runtime.files import read_file
from millrace.inpod.runtime.paths import here

TYPE_CHECKING = False  # typing itself takes milliseconds to import; type checkers know this name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

PLAN_LIMIT = 1024 * 1024  # bytes; annotations hold 256 KiB at most
LOG_BYTES = 64 * 1024 * 1024


class Plan:
    """What main has to do, checked.

    Raises RuntimeFault where a part is missing or of another kind.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        code = document.get("code") or {}
        limits = document.get("limits") or {}
        self.handler: str | None = code.get("handler")
        self.script: str | None = code.get("script")
        if bool(self.handler) == bool(self.script):
            raise RuntimeFault("plan.json: exactly one of code.handler and code.script is needed")
        self.source: str | None = here(code["source"]) if code.get("source") else None
        self.parameters: dict[str, Any] = document.get("parameters") or {}
        self.parameters_from: dict[str, str] = document.get("parametersFrom") or {}
        self.inputs: list[dict[str, Any]] = document.get("inputs") or []
        self.outputs: list[dict[str, Any]] = document.get("outputs") or []
        self.shards: dict[str, Any] = document.get("shards") or {}
        self.running = _seconds(limits, "running", None)
        self.stop = _seconds(limits, "stop", protocol.STOP_SECONDS) or 0.0
        self.scratch_bytes = _seconds(limits, "scratchBytes", None)
        self.log_bytes = int(_seconds(limits, "logBytes", LOG_BYTES) or 0)

    @property
    def staged_inputs(self) -> list[dict[str, Any]]:
        """The inputs that stage has put into the input folder."""
        return [item for item in self.inputs if item.get("stage")]

    def missing_script(self) -> str | None:
        """Why the script cannot be run: it is not there. None when it is, and for a handler."""
        folder = self.source or "."
        if not self.script or os.path.isfile(os.path.join(folder, self.script)):
            return None
        try:
            names = sorted(name for name in os.listdir(folder) if not name.startswith(".."))  # a ConfigMap's own links
        except OSError as error:
            return f"no script {self.script}: the source cannot be listed: {error}"
        return f"no script {self.script}: the source has {', '.join(names[:20]) or 'nothing'}"

    @property
    def output_folders(self) -> list[str]:
        """The folders of the outputs as this process reaches them."""
        return [here(item["path"]) for item in self.outputs]


def load() -> Plan:
    """The plan of this pod; RuntimeFault where there is none that can be read."""
    path = here(protocol.PLAN_FILE)
    try:
        document = json.loads(read_file(path, PLAN_LIMIT))
    except (OSError, ValueError) as error:
        raise RuntimeFault(f"{path} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise RuntimeFault(f"{path} is no JSON object")
    return Plan(document)


def parameters(plan: Plan, variables: Mapping[str, str]) -> dict[str, Any]:
    """What the handler gets by name from the run's parameters, those too whose value is in a variable of the container.

    Where that is not there (a Secret's optional key), it is as if nobody had named it.
    """
    brought = {name: variables[variable] for name, variable in plan.parameters_from.items() if variable in variables}
    return {**plan.parameters, **brought}


def arguments(plan: Plan) -> dict[str, Any]:
    """What the handler gets by name from its inputs: a path, a value or a reference.

    An optional input that stage did not find is None.
    """
    return {item["name"]: _argument(item) for item in plan.inputs}


def _argument(item: dict[str, Any]) -> Any:
    if item.get("type") == "value":
        return item.get("value")
    if not item.get("stage"):
        return item.get("reference")
    path = here(item["path"])
    if item.get("type") == "uri_file":
        path = os.path.join(path, os.path.basename(item["key"]))
    if item.get("optional") and not _is_there(path):
        return None
    return path


def _is_there(path: str) -> bool:
    """A file, or a folder that is not empty."""
    try:
        return bool(os.listdir(path))
    except NotADirectoryError:
        return True
    except OSError:
        return False


def _seconds(limits: dict[str, Any], name: str, default: float | None) -> float | None:
    value = limits.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise RuntimeFault(f"plan.json: limits.{name} is no number: {value!r}")
    return float(value)
