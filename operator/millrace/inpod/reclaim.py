"""Deletes the data of an asset whose DataAsset is gone. A small Job of the operator runs it beside no tenant code.

MILLRACE_RECLAIM holds {"stores": [entry], "item": {"type", "key"}} with entries as in plan.json; the keys come as in a
run's pod. Exit code 0 with {"files", "bytes"} in the termination message, or 1 with {"reason", "message"}: the kubelet
starts it again.
"""

from __future__ import annotations

import json
import os
import signal
import time

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import open_stores
from millrace.inpod.report import write_failure, write_termination

CONTAINER = "reclaim"
SECONDS = 3600.0
FAILED = 1


def main() -> int:
    """Delete it; the exit code."""
    from millrace.data.errors import DataError
    from millrace.data.remove import remove

    signal.signal(signal.SIGTERM, lambda *_: os._exit(protocol.EXIT_TERMINATED))
    try:
        plan = json.loads(os.environ[protocol.RECLAIM_VARIABLE])
        store = open_stores(plan, [0])[0]
        files, size = remove(store, plan["item"], deadline=time.monotonic() + SECONDS)
    except DataError as error:
        return write_failure(CONTAINER, Fault(FAILED, str(error), reason=error.reason), "store")
    except Fault as fault:
        return write_failure(CONTAINER, Fault(FAILED, fault.message, reason=fault.reason), "store")
    write_termination(CONTAINER, {"files": files, "bytes": size})
    return 0
