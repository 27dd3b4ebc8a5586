"""Where no PID namespace ends with process 1 (a local run), process 1 ends what user code has left behind."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from integration.inpod.support import Pod


def test_a_daemon_of_user_code_is_dead_when_process_1_ends(pod: Pod, bundle: Path) -> None:
    found = pod.path("/tmp/daemon")
    pod.source(f"""
import os, time
def predict():
    if os.fork() == 0:
        os.setsid()
        daemon = os.fork()
        if daemon == 0:
            time.sleep(600)
        open({str(found)!r}, "w").write(str(daemon))
        os._exit(0)
    os.wait()
""")
    assert pod.start(bundle).wait().code == 0
    daemon = int(found.read_text())
    alive = Path(f"/proc/{daemon}").exists()
    if alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGKILL)
    assert not alive
