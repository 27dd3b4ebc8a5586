"""The step `plan` of a parallel run: lists the input that its shards share out, once, and writes down whose each file is."""

from __future__ import annotations

import time

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, limit, load_plan, open_stores
from millrace.inpod.report import write_failure, write_termination
from millrace.inpod.stage import give_up_on_sigterm, give_up_when_late


def main() -> int:
    """Slice the input; the exit code."""
    from millrace.data.errors import DataError

    give_up_on_sigterm()
    plan = load_plan()
    deadline = time.monotonic() + limit(plan, "staging")
    give_up_when_late(deadline)
    name = plan["shards"]["slices"]["input"]
    try:
        entry = _slice(plan, name, deadline)
    except DataError as error:
        fault = Fault(protocol.EXIT_STAGE_FAILED, str(error), reason=error.reason, about=name)
        return write_failure(protocol.STAGE, fault, "input")
    except Fault as fault:
        return write_failure(protocol.STAGE, fault, "input")
    write_termination(protocol.STAGE, {"inputs": [entry] if name else [], "seconds": entry["seconds"]})
    return 0


def _slice(plan: Json, name: str | None, deadline: float) -> Json:
    """Lists and slices the input `name`; what is to be reported of it. Without one there are only shards to take over."""
    from millrace.data.download import list_input
    from millrace.data.slices import write_again, write_slices

    began = time.monotonic()
    shards, run = plan["shards"], plan["run"]["uid"]
    items = [item for item in plan["inputs"] if item["name"] == name]
    stores = open_stores(plan, [shards["slices"]["store"], *(item["store"] for item in items)])
    home = stores[shards["slices"]["store"]]
    files = [found for item in items for found in list_input(stores[item["store"]], item, deadline=deadline)]
    key, count = home.full_key(protocol.slices_key(run)), shards["count"]
    if earlier := shards.get("of"):
        known = (earlier, home.full_key(protocol.slices_key(earlier)))
        files = write_again(home, key, known, files, count, shards["only"], deadline=deadline)
    else:
        write_slices(home, key, str(name), files, count, deadline=deadline)
    return {
        "name": name,
        "bytes": sum(entry.size for _, entry in files),
        "files": len(files),
        "seconds": round(time.monotonic() - began, 3),
        "identityUsed": home.identity,
    }
