"""The step `merge` of a parallel run: lists the parts of its shards in one manifest for each output, and commits."""

from __future__ import annotations

import os
import signal
import time

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, limit, load_plan, open_stores, timestamp
from millrace.inpod.report import write_failure, write_termination
from millrace.inpod.worker import published_entry


def main() -> int:
    """Merge; the exit code."""
    from millrace.data.errors import DataError

    signal.signal(signal.SIGTERM, lambda *_: os._exit(protocol.EXIT_TERMINATED))
    plan = load_plan()
    try:
        body = _merge(plan, time.monotonic() + limit(plan, "uploading"))
    except DataError as error:
        reason = error.reason if error.reason == "Superseded" else None
        fault = Fault(protocol.EXIT_UPLOAD_FAILED, f"{error.reason}: {error}", reason=reason)
        return write_failure(protocol.COLLECT, fault, "output")
    except Fault as fault:
        return write_failure(protocol.COLLECT, fault, "output")
    write_termination(protocol.COLLECT, body, ("outputs",))
    return 0


def _merge(plan: Json, deadline: float) -> Json:
    from millrace.data.merge import settle_shards, upload_manifest
    from millrace.data.publish import Attempt, abort, abort_left, commit, take_over
    from millrace.data.slices import read_others

    run, shards, logs = plan["run"], plan["shards"], plan.get("logs")
    outputs = [output for output in plan["outputs"] if not output.get("void") and output["when"] != "OnFailure"]
    stores = open_stores(plan, [output["store"] for output in plan["outputs"]] + ([logs["store"]] if logs else []))
    record = plan["outputs"][0]["store"]
    attempt = Attempt(run_uid=run["uid"], number=run["attempt"], stores=stores, record=record)
    try:
        abort_left(attempt, deadline=deadline)
        published = take_over(attempt, deadline=deadline)
        if published is None:
            slices = stores[shards["slices"]["store"]] if shards["slices"] else None
            key = protocol.slices_key(run["uid"])
            others = read_others(slices, slices.full_key(key), deadline=deadline) if slices else {}
            parts = settle_shards(run["uid"], others, shards["count"], stores, record, deadline=deadline)
            _check(shards["count"] - len(parts), shards)
            pending = [upload_manifest(attempt, each, shards["count"], parts, deadline=deadline) for each in outputs]
            published = commit(attempt, "success", pending, deadline=deadline)
    except BaseException:
        abort(attempt)
        raise
    where = {"logs": stores[logs["store"]].uri(stores[logs["store"]].full_key(f"logs/{run['name']}/"))} if logs else {}
    return {"outputs": [published_entry(output) for output in published], **where, "uploaded": timestamp()}


def _check(missing: int, shards: Json) -> None:
    """The operator has seen that enough have succeeded; what they say they have published must be there too."""
    if missing > shards["tolerated"]:
        what = f"{missing} of {shards['count']} shards have no commit record; {shards['tolerated']} may have none"
        raise Fault(protocol.EXIT_UPLOAD_FAILED, what)
