"""Objects that somebody named."""

from __future__ import annotations

from typing import Any

from millrace.cli.cluster import Cluster
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.cli.names import similar
from millrace.kube.api import ApiError, Resource


async def existing(cluster: Cluster, kind: Resource, name: str) -> dict[str, Any]:
    """The object. Refused where there is none, with the name that was probably meant."""
    try:
        found = await cluster.get(kind, cluster.namespace, name)
        if found is not None:
            return found
        names = await cluster.names(kind, cluster.namespace)  # tells a cluster without our kinds from a missing object
    except ApiError as error:
        raise explain(error, f"read {kind.kind} {name}") from None
    meant = similar(name, names)
    group = kind.api_version.partition("/")[0]
    hints = [f"did you mean {meant}?"] if meant else [f"kubectl get {kind.plural}.{group} -n {cluster.namespace}"]
    raise Refused(f"there is no {kind.kind} {name} in namespace {cluster.namespace}", *hints)
