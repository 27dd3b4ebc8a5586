"""A store's probe: can the store be reached with its keys? A small Job of the operator runs it beside no tenant code.

MILLRACE_PROBE holds {"stores": [entry, ...]} with entries as in plan.json; the keys come as in a run's pod. Exit code 0,
or 1 with {"reason", "message"} in the termination message, after some 10 seconds at most.
"""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, open_stores, web_access
from millrace.inpod.report import write_failure

CONTAINER = "probe"
SECONDS = 10.0
FAILED = 1


def main() -> int:
    """Probe every store; the exit code."""
    from millrace.data.errors import DataError

    signal.signal(signal.SIGTERM, lambda *_: os._exit(protocol.EXIT_TERMINATED))
    signal.signal(signal.SIGALRM, _late)
    signal.alarm(int(SECONDS) + 2)  # the data plane keeps its own time; this is for a call that does not
    try:
        _probe()
    except DataError as error:
        return write_failure(CONTAINER, Fault(FAILED, str(error), reason=error.reason), "store")
    except Fault as fault:
        return write_failure(CONTAINER, Fault(FAILED, fault.message, reason=fault.reason), "store")
    return 0


def _probe() -> None:
    try:
        plan = json.loads(os.environ[protocol.PROBE_VARIABLE])
        stores = list(plan["stores"])
    except (KeyError, TypeError, ValueError) as error:
        raise Fault(protocol.EXIT_RUNTIME_ERROR, f"{protocol.PROBE_VARIABLE} is no list of stores: {error!r}") from error
    for index, entry in enumerate(stores):
        if "http" in entry:
            from millrace.data.web import probe_web

            probe_web(entry["http"]["baseUrl"], **web_access(plan, index), seconds=SECONDS)
        else:
            _probe_store(plan, index)


def _probe_store(plan: Json, index: int) -> None:
    from millrace.data.errors import DataError

    entry = plan["stores"][index]
    try:
        open_stores(plan, [index])[index].probe(seconds=SECONDS)
    except DataError as error:
        # It is there. Whether a run may read it depends on the identity of that run, which is not the probe's.
        own = not entry.get("credentials") and any(kind in entry for kind in protocol.BY_IDENTITY)
        if error.reason != "AccessDenied" or not own:
            raise


def _late(*_: Any) -> None:
    fault = Fault(FAILED, f"no answer within {SECONDS:g} s", reason="Unreachable")
    os._exit(write_failure(CONTAINER, fault, "store"))
