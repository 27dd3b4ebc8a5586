"""The ConfigMaps that we make: revisions of Functions and Deployments, and the installation's certificate authorities."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from millrace.api.base import Metadata
from millrace.api.deployment import Deployment
from millrace.api.function import Function, FunctionSpec
from millrace.build.job import owner
from millrace.build.pod import AUTHORITIES, compact
from millrace.domain.labels import BUNDLE, COMPONENT, DEPLOYMENT, FUNCTION, MANAGED_BY
from millrace.domain.names import label_value, revision_name
from millrace.domain.template import deployment_revision, shape


def revision(function: Function) -> dict[str, Any]:
    """One immutable state of a Function: its spec, and beside it an inline source."""
    spec = function.spec.dump()
    name = revision_name(function.metadata.name, spec)
    code = {}
    if inline := function.spec.source.inline:
        del spec["source"]
        code = {"main.py": inline}
    return _revision("Function", function.metadata, name, FUNCTION, {"spec.json": compact(spec), **code})


def function_at(function: Function, data: Mapping[str, str]) -> Function:
    """The Function as it was when the ConfigMap with that data was made."""
    inline = {"source": {"inline": data["main.py"]}} if "main.py" in data else {}
    spec = {**json.loads(data["spec.json"]), **inline}
    return function.model_copy(update={"spec": FunctionSpec.model_validate(spec)})


def revision_of_deployment(deployment: Deployment) -> dict[str, Any]:
    """What runs of a Deployment are made of, in one immutable state."""
    meta = deployment.metadata
    name = deployment_revision(meta.name, deployment.spec)
    return _revision("Deployment", meta, name, DEPLOYMENT, {"spec.json": compact(shape(deployment.spec))})


def _revision(kind: str, meta: Metadata, name: str, label: str, data: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {**MANAGED_BY, COMPONENT: "revision", label: label_value(meta.name)},
            "ownerReferences": [owner(kind, meta)],
        },
        "immutable": True,
        "data": data,
    }


def bundle_digest(bundle: str) -> str:
    """What tells one state of the installation's authorities from another."""
    return hashlib.sha256(bundle.encode()).hexdigest()


def authorities(namespace: str, bundle: str) -> dict[str, Any]:
    """The installation's certificate authorities for runs that install requirements or fetch inputs by https, as
    kube-root-ca.crt is for pods.
    """
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": AUTHORITIES,
            "namespace": namespace,
            "labels": {**MANAGED_BY, COMPONENT: "authorities"},
            "annotations": {BUNDLE: bundle_digest(bundle)},
        },
        "data": {"ca.crt": bundle},
    }
