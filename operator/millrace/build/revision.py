"""The ConfigMaps that we make: a Function's revision, and the installation's certificate authorities."""

from __future__ import annotations

import hashlib
from typing import Any

from millrace.api.function import Function
from millrace.build.job import owner
from millrace.build.pod import AUTHORITIES, compact
from millrace.domain.labels import BUNDLE, COMPONENT, FUNCTION, MANAGED_BY
from millrace.domain.names import label_value, revision_name


def revision(function: Function) -> dict[str, Any]:
    """One immutable state of a Function: its spec and its inline source."""
    spec = function.spec.dump()
    source = spec.pop("source")["inline"]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": revision_name(function.metadata.name, function.spec.dump()),
            "namespace": function.metadata.namespace,
            "labels": {
                **MANAGED_BY,
                COMPONENT: "revision",
                FUNCTION: label_value(function.metadata.name),
            },
            "ownerReferences": [owner("Function", function.metadata)],
        },
        "immutable": True,
        "data": {"spec.json": compact(spec), "main.py": source},
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
