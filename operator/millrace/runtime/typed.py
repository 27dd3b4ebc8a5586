"""Typed values of trimmed objects that several snapshots are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TypeVar

from pydantic import ValidationError

from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.observe.pod import PodFacts, read_pod
from millrace.runtime.store import Store
from millrace.runtime.trim import Object

Found = TypeVar("Found", DataAsset, DataStore)


def newest_pod(store: Store, job_uid: str) -> PodFacts | None:
    pods = [read_pod(pod) for pod in store.owned(job_uid, "Pod")]
    return max(pods, key=lambda pod: (pod.created, pod.name), default=None)


def valid(model: type[Found], objects: Iterable[Object]) -> list[Found]:
    """Those that fit the schema; one that was stored before it was narrowed only stops who names it."""
    found = []
    for obj in objects:
        with contextlib.suppress(ValidationError):
            found.append(model.model_validate(obj))
    return found


def stores_of(store: Store, namespace: str) -> dict[str, DataStore]:
    return {found.metadata.name: found for found in valid(DataStore, store.within("DataStore", namespace))}
