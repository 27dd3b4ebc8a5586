"""Models that are not a kind of their own, as the spec of one: what their schema takes and refuses."""

from __future__ import annotations

from typing import Any

from integration.api.objects import NAMESPACE
from millrace.api.base import Model
from millrace.api.crd import structural
from support.apiserver import ApiServer, Object
from support.waiting import wait_for

GROUP = "test.millrace.dev"


class Scratch:
    """A kind whose spec is the model. Nothing is kept of what is tried."""

    def __init__(self, api: ApiServer, model: type[Model]) -> None:
        self._api = api
        self._kind = model.__name__
        self._plural = f"{self._kind.lower()}s"
        raw = model.model_json_schema(by_alias=True)
        names = {"kind": self._kind, "plural": self._plural, "singular": self._kind.lower()}
        schema = {"type": "object", "required": ["spec"], "properties": {"spec": structural(raw, raw.get("$defs", {}))}}
        version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
        name = f"{self._plural}.{GROUP}"
        api.admin.create(
            "customresourcedefinitions",
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": name},
                "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
            },
        )

        def established() -> bool:
            found = api.admin.get("customresourcedefinitions", None, name).get("status", {})
            return any(each["type"] == "Established" and each["status"] == "True" for each in found.get("conditions") or [])

        wait_for(f"the kind {self._kind}", established)

    def take(self, **spec: Any) -> Object:
        """What the API server makes of the spec; raises Refused."""
        body = {"apiVersion": f"{GROUP}/v1", "kind": self._kind, "metadata": {"name": "x"}, "spec": spec}
        path = f"/apis/{GROUP}/v1/namespaces/{NAMESPACE}/{self._plural}"
        found: Object = self._api.admin.request("POST", path, body, dryRun="All", fieldValidation="Strict")["spec"]
        return found
