"""Deletes what runs have left in stores and their Deployment does not keep. A small Job of the operator runs it.

MILLRACE_KEEP holds {"stores": [entry], "items": [{"run": UID, "kind": "logs" | "artifacts", "store": number, "path",
"uri", "until": RFC 3339}]} with entries as in plan.json; the keys come as in a run's pod. Exit code 0 with {"deleted",
"kept"} (objects) in the termination message, or 1 with {"reason", "message"}: the kubelet starts it again.
"""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, open_stores
from millrace.inpod.report import write_failure, write_termination

if TYPE_CHECKING:
    from millrace.data.left import Removed
    from millrace.data.stores import Store

CONTAINER = "keep"
SECONDS = 3600.0
FAILED = 1


def main() -> int:
    """Delete it; the exit code."""
    from millrace.data.errors import DataError
    from millrace.data.left import Removed

    signal.signal(signal.SIGTERM, lambda *_: os._exit(protocol.EXIT_TERMINATED))
    done, deadline = Removed(), time.monotonic() + SECONDS
    try:
        plan = json.loads(os.environ[protocol.KEEP_VARIABLE])
        stores = open_stores(plan, range(len(plan["stores"])))
        for item in plan["items"]:
            done |= _remove(stores, item, deadline)
    except DataError as error:
        return write_failure(CONTAINER, Fault(FAILED, str(error), reason=error.reason), "store")
    except Fault as fault:
        return write_failure(CONTAINER, Fault(FAILED, fault.message, reason=fault.reason), "store")
    write_termination(CONTAINER, {"deleted": done.deleted, "kept": done.kept})
    return 0


def _remove(stores: dict[int, Store], item: Json, deadline: float) -> Removed:
    from millrace.data.left import Removed, leads_to, remove_logs, remove_output

    store, path, until = stores[item["store"]], item["path"], datetime.fromisoformat(item["until"])
    if not leads_to(store, path, item["uri"]):
        return Removed(kept=1)
    if item["kind"] == "logs":
        return remove_logs(store, path, until=until, deadline=deadline)
    return remove_output(store, stores.values(), item["run"], path, until=until, deadline=deadline)
