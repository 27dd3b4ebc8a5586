"""How a file or folder of the plan comes into the pod: from a store, or by https."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from millrace import protocol
from millrace.inpod.podplan import Json, web_access
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.model import Progress, Staged
    from millrace.data.stores import Store

Fetch = Callable[..., "Staged"]
"""Fetches one item; it takes the progress. Raises DataError."""


def fetching(plan: Json, item: Json, stores: Mapping[int, Store], deadline: float) -> Fetch:
    """How an item is fetched into its `path`. Raises Fault where the pod lacks a key."""
    placed = {**item, "path": here(item["path"])}
    if "uri" in item:
        from millrace.data.web import stage_web

        return functools.partial(stage_web, placed, deadline=deadline, **web_access(plan, item.get("store")))
    from millrace.data.download import stage_input

    slices = (plan.get("shards") or {}).get("slices")
    if slices and slices["input"] == item["name"]:
        return functools.partial(_stage_slice, plan, stores, placed, deadline)
    return functools.partial(stage_input, stores[item["store"]], placed, deadline=deadline)


def _stage_slice(plan: Json, stores: Mapping[int, Store], item: Json, deadline: float, *, progress: Progress) -> Staged:
    """The files of this pod's shard alone."""
    from millrace.data.download import stage_input
    from millrace.data.slices import read_slice

    home = stores[plan["shards"]["slices"]["store"]]
    key = home.full_key(protocol.slices_key(plan["run"]["uid"]))
    files = read_slice(home, key, plan["shards"]["index"], deadline=deadline)
    return stage_input(stores[item["store"]], item, deadline=deadline, progress=progress, files=files)


def in_stores(items: list[Json]) -> list[int]:
    """Numbers of the stores that items are fetched from otherwise than by https."""
    return [item["store"] for item in items if "store" in item and "uri" not in item]
