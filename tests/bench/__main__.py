"""All benchmarks, one after the other; each prints its figures and its ratio. `python -m bench [NAME...]`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCHES = {
    "latency": "run_latency.py",
    "memory": "run_memory.py",
    "start": "run_start.py",
    "outage": "run_outage.py",
    "faults": "run_faults.py",
    "requirements": "run_requirements.py",
    "many": "run_many.py",
    "queue": "run_queue.py",
    "stage": "data/bench_stage.py",
    "serve": "run_serve.py",
    "zip": "data/bench_zip.py",
    "limits": "data/bench_memory.py",
}


def main() -> int:
    """Runs those named, or all; ends with 1 where one of them could not run."""
    failed = 0
    for name in sys.argv[1:] or BENCHES:
        print(f"\n== {name}", flush=True)
        environment = {**os.environ, "PYTHONPATH": f"{HERE.parent}:{HERE.parents[1] / 'hack'}"}
        command = [sys.executable, str(HERE / BENCHES[name])]
        failed |= subprocess.run(command, env=environment, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
