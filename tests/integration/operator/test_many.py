"""The whole cluster, and many objects in it."""

from __future__ import annotations

import secrets
import time
from concurrent.futures import ThreadPoolExecutor

from integration.operator.rig import PATIENCE, operator, patiently
from support import cluster
from support.apiserver import Object, running
from support.waiting import wait_for

MANY = 2000


def test_many_objects_at_the_start_in_all_namespaces() -> None:
    with running() as server, operator(server, start=False, namespaces=[]) as rig:
        spaces = [f"many-{number}" for number in range(4)]
        for space in spaces:
            server.namespace(space)

        def create(number: int) -> None:
            run = cluster.job_run(f"run-{number}", "absent")
            run["metadata"]["namespace"] = spaces[number % len(spaces)]
            rig.api.create("jobruns", run)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(create, range(MANY)))
        rig.function()
        rig.run("one")
        began = time.monotonic()
        rig.start()
        ready = time.monotonic() - began
        rig.job("one", seconds=PATIENCE)
        acted = time.monotonic() - began

        def blocked() -> bool:
            runs = [run for space in spaces for run in rig.api.list("jobruns", space)]
            return len(runs) == MANY and all(_reason(run) == "FunctionNotFound" for run in runs)

        wait_for("each run says why it waits", blocked, seconds=120, poll=2)
        said = time.monotonic() - began
        late = f"late-{secrets.token_hex(4)}"
        server.namespace(late)
        for obj in (cluster.function("f", "def main(): pass"), cluster.job_run("late", "f")):
            resource = f"{obj['kind'].lower()}s"
            rig.api.create(resource, {**obj, "metadata": {**obj["metadata"], "namespace": late}})
        patiently("a run in a new namespace", lambda: rig.api.find("jobs", late, "late"))
        assert sorted(name for _, name in rig.made()) == ["late", "one"]
        print(f"{MANY} runs: ready after {ready:.1f}s, acts after {acted:.1f}s, all statuses after {said:.1f}s")


def _reason(run: Object) -> str | None:
    found: str | None = run.get("status", {}).get("reason")
    return found
