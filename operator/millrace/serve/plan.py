"""The plan's part for a service. Shapes: docs/protocol.md."""

from __future__ import annotations

from typing import Any

from millrace import protocol
from millrace.inpod.runtime.errors import RuntimeFault
from millrace.inpod.runtime.plan import Plan
from millrace.serve.context import Service


class ServePlan(Plan):
    """What a service has to do, checked. `parameters` and `inputs` are those of init.

    Raises RuntimeFault where a part is missing or of another kind.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__(document)
        if not self.handler:
            raise RuntimeFault("plan.json: a service needs code.handler")
        serve = document.get("serve") or {}
        self.init: str | None = serve.get("init")
        self.public: bool = serve.get("public") is True
        self.concurrency_limit = _whole(serve, "concurrencyLimit", 0)
        self.host: str | None = serve.get("host")  # None: all addresses
        self.port = _whole(serve, "port", protocol.SERVE_PORT)
        self.operations_port = _whole(serve, "operationsPort", protocol.OPERATIONS_PORT)
        self.drain = _whole(serve, "drain", protocol.DRAIN_SECONDS)
        self.timeout: float | None = serve.get("timeout")
        who = document.get("service") or {}
        self.service = Service(
            namespace=str(who.get("namespace", "")),
            deployment=str(who.get("deployment", "")),
            deployment_id=str(who.get("deploymentId", "")),
            revision=str(who.get("revision", "")),
            function=str(who.get("function", "")),
            function_revision=str(who.get("functionRevision", "")),
        )
        if self.timeout is not None and (not isinstance(self.timeout, (int, float)) or self.timeout <= 0):
            raise RuntimeFault(f"plan.json: serve.timeout is no number of seconds: {self.timeout!r}")


def _whole(serve: dict[str, Any], name: str, default: int) -> int:
    value = serve.get(name, default)
    if type(value) is not int or value < 0:
        raise RuntimeFault(f"plan.json: serve.{name} is no whole number: {value!r}")
    return value
