"""What is started as process 1 of main."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.inpod.bundle import write_bundle

SLOW = """
import sys
print("imported", flush=True)
sys.stdin.readline()

def main():
    from millrace.inpod.runtime.supervise import Signals
    print(Signals().stops)
    return 0
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_while_it_starts_is_not_lost(tmp_path: Path, number: signal.Signals) -> None:
    """A pod that is deleted as main starts: else nothing would end before the whole grace is over."""
    write_bundle(str(tmp_path))
    (tmp_path / "millrace/inpod/runtime/process.py").write_text(SLOW)
    command = [sys.executable, "-I", "-S", str(tmp_path / "__main__.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "imported\n"
        process.send_signal(number)
        out, _ = process.communicate("go on\n", timeout=30)
    assert (process.returncode, out) == (0, f"[{int(number)}]\n")
