"""Objects that are accepted, for tests to spoil."""

from __future__ import annotations

from typing import Any

from support import cluster
from support.apiserver import Object

NAMESPACE = "api"


def function(name: str = "f", **spec: Any) -> Object:
    """A Function; None takes a field away."""
    return _changed(cluster.function(name, "def main(): pass"), spec)


def run(name: str = "r", **spec: Any) -> Object:
    """A JobRun; None takes a field away."""
    return _changed(cluster.job_run(name, "f"), spec)


def deployment(name: str = "d", **spec: Any) -> Object:
    """A Deployment; None takes a field away."""
    return _changed(cluster.deployment(name, "f"), spec)


def store(name: str = "s", **s3: Any) -> Object:
    """A DataStore with those fields of s3."""
    obj = {"apiVersion": cluster.API_VERSION, "kind": "DataStore", "metadata": {"name": name}}
    fields = {"endpoint": "http://minio:9000", "bucket": "data", **s3}
    return _changed(obj, {"s3": {key: value for key, value in fields.items() if value is not None}})


def store_spec(name: str = "s", **spec: Any) -> Object:
    """A DataStore whose spec has those fields besides s3."""
    return _changed(store(name), spec)


def azure(name: str = "s", **fields: Any) -> Object:
    """A DataStore with those fields of azureBlob."""
    return store_spec(name, s3=None, azureBlob={"account": "lakes", "container": "data", **fields})


def gcs(name: str = "s", **fields: Any) -> Object:
    """A DataStore with those fields of gcs."""
    return store_spec(name, s3=None, gcs={"bucket": "data", **fields})


def http(name: str = "s", **fields: Any) -> Object:
    """A DataStore with those fields of http."""
    return store_spec(name, s3=None, http={"baseUrl": "https://files.example.com/", **fields})


def volume(name: str = "s", **fields: Any) -> Object:
    """A DataStore with those fields of volume."""
    return store_spec(name, s3=None, volume={"claimName": "data", **fields})


def _changed(obj: Object, spec: Object) -> Object:
    found = {key: value for key, value in {**obj.get("spec", {}), **spec}.items() if value is not None}
    return {**obj, "metadata": {**obj["metadata"], "namespace": NAMESPACE}, "spec": found}


def resource(obj: Object) -> str:
    """The plural of its kind."""
    return f"{obj['kind'].lower()}s"
