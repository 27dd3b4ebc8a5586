"""A namespace with a hundred runs is deleted, and another one does not notice (F21)."""

from __future__ import annotations

import secrets

from support.cluster import Namespace, function, job_run, kubectl
from support.recovery import Recovery
from support.waiting import wait_for

GONE = 60  # seconds
SLEEP = "import time\ndef main():\n    time.sleep(600)\n"
HELLO = "def main():\n    print('hello')\n"
RUNNING, WAITING = 4, 96  # the others' pods wait for a node: all those of a hundred runs have no room on one


def test_a_namespace_with_a_hundred_runs_is_gone_within_a_minute(namespace: Namespace, recovery: Recovery) -> None:
    doomed = Namespace(f"e2e-{secrets.token_hex(4)}")
    kubectl("create", "namespace", doomed.name)
    light = {"requests": {"cpu": "10m"}}
    nowhere = {"nodeSelector": {"example.com/node": "none"}}
    doomed.apply(
        function("sleep", SLEEP),
        *(job_run(f"runs-{n}", "sleep", resources=light) for n in range(RUNNING)),
        *(job_run(f"waits-{n}", "sleep", resources=light, **nowhere) for n in range(WAITING)),
    )
    for n in range(RUNNING):
        doomed.main_running(f"runs-{n}")
    wait_for("all pods are there", lambda: len(doomed.list("pods", "millrace.dev/jobrun")) == RUNNING + WAITING)
    with recovery(within=GONE):
        kubectl("delete", "namespace", doomed.name, "--wait=false")
        namespace.apply(function("hello", HELLO), job_run("hello", "hello"))
        assert namespace.finished("hello", seconds=GONE)["phase"] == "Succeeded"
        kubectl("wait", "--for=delete", f"namespace/{doomed.name}", f"--timeout={GONE}s", seconds=GONE + 10)
