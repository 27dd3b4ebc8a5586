"""The plan, the stores and the clock as stage and collect see them. Shapes: docs/protocol.md."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.runtime.files import read_file
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from collections.abc import Iterable

    from millrace.data.stores import Store

Json = dict[str, Any]
PLAN_LIMIT = 1024 * 1024
FOREVER = 10.0 * 365 * 86400  # a limit that is absent


def load_plan() -> Json:
    """The pod's plan; Fault RuntimeError where there is none that can be read."""
    path = here(protocol.PLAN_FILE)
    try:
        plan = json.loads(read_file(path, PLAN_LIMIT))
    except (OSError, ValueError) as error:
        raise Fault(protocol.EXIT_RUNTIME_ERROR, f"{path} cannot be read: {error}") from error
    if not isinstance(plan, dict):
        raise Fault(protocol.EXIT_RUNTIME_ERROR, f"{path} is no JSON object")
    position = os.environ.get(protocol.COMPLETION_INDEX)
    return _of_shard(plan, int(position)) if plan.get("shards") and position is not None else plan


def _of_shard(plan: Json, position: int) -> Json:
    """The plan of the shard that this pod works on: its parts of the outputs, its logs."""
    shard = protocol.shard_at(plan["shards"]["only"], position)
    outputs = [
        output if output.get("void") else {**output, "key": protocol.part_key(output["key"], shard)}
        for output in plan.get("outputs") or []
    ]
    logs = plan.get("logs")
    return {
        **plan,
        "shards": {**plan["shards"], "index": shard},
        "outputs": outputs,
        "logs": {**logs, "prefix": f"{logs['prefix']}{shard}/"} if logs else None,
    }


def whose(plan: Json) -> str:
    """Whose pod it is, for the first line of a log: archived logs are found by these."""
    run = plan["run"]
    ids = [f"job id {run['uid']}", *([f"deployment id {run['deploymentId']}"] if run.get("deploymentId") else [])]
    return f"run {run['name']}, attempt {run['attempt']}, {', '.join(ids)}"


def limit(plan: Json, name: str) -> float:
    """One of the plan's limits in seconds or bytes; an absent one is as good as none."""
    value = (plan.get("limits") or {}).get(name)
    return FOREVER if value is None else float(value)


def open_stores(plan: Json, indexes: Iterable[int], **options: float) -> dict[int, Store]:
    """The stores of those numbers; `options` are `open_store`'s.

    Raises Fault where the pod lacks a key, DataError where a store is not to be opened.
    """
    from millrace.data.stores import open_store

    opened = {}
    for index in sorted(set(indexes)):
        entry = dict(plan["stores"][index])
        for key in ("ca", "folder", "token"):
            if entry.get(key):
                entry[key] = here(entry[key])
        opened[index] = open_store(entry, _credentials(entry, index), **options)
    return opened


def web_access(plan: Json, index: int | None) -> Json:
    """How stage and probe may ask a web address, of store number `index` or of none: `limits`, `authority` and
    `authorization` of millrace.data.web. Raises Fault where the pod lacks a key.
    """
    entry = {} if index is None else plan["stores"][index]
    authority = entry.get("ca") or (plan.get("index") or {}).get("ca")
    limits = plan["httpsInputs"]
    if cluster := os.environ.get("KUBERNETES_SERVICE_HOST"):  # some clusters have Services at addresses of the internet
        limits = {**limits, "deny": [*limits["deny"], cluster]}
    keys = None if index is None else _credentials(entry, index)
    return {
        "limits": limits,
        "authority": here(authority) if authority else None,
        "authorization": keys.secret_key.strip() if keys else None,
    }


def _credentials(entry: Json, index: int) -> Any:
    if not entry.get("credentials"):
        return None
    from millrace.data.model import Credentials

    kind = next(kind for kind in protocol.STORE_KEYS if kind in entry)
    keys = {}
    for key in protocol.STORE_KEYS[kind]:
        name = protocol.store_variable(index, key)
        if not os.environ.get(name):
            what = f"store {entry.get('name')}: its Secret has no {key.lower()}, or an empty one"
            raise Fault(protocol.EXIT_STAGE_FAILED, what, reason="CredentialsMissing")
        keys[key] = os.environ[name]
    return Credentials(keys.get("ACCESS_KEY", ""), keys["SECRET_KEY"])


def timestamp() -> str:
    """Now, as RFC 3339 in UTC with milliseconds."""
    from millrace.inpod.runtime.record import timestamp as rfc3339

    return rfc3339(time.time())
