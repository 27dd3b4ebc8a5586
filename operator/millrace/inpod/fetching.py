"""How a file or folder of the plan comes into the pod: from a store, or by https."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from millrace.inpod.podplan import Json, web_access
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.model import Staged
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

    return functools.partial(stage_input, stores[item["store"]], placed, deadline=deadline)


def in_stores(items: list[Json]) -> list[int]:
    """Numbers of the stores that items are fetched from otherwise than by https."""
    return [item["store"] for item in items if "store" in item and "uri" not in item]
