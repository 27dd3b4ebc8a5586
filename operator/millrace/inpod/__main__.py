"""python -m millrace.inpod stage|collect|plan|merge|probe|reclaim|keep|notify: the program of a container.

No command-line library and no import before the choice: each program starts in milliseconds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

PROGRAMS = ("stage", "collect", "plan", "merge", "probe", "reclaim", "keep", "notify")


def main(arguments: list[str]) -> int:
    """The program's exit code; 2 for wrong usage."""
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"usage: python -m millrace.inpod {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    try:
        return _program(arguments[0])()
    except Exception as error:  # noqa: BLE001 - whatever it is, the run shall tell it from user code's faults
        from millrace.inpod.report import write_bug

        return write_bug(arguments[0], error)


def _program(name: str) -> Callable[[], int]:
    if name == "stage":
        from millrace.inpod.stage import main as program
    elif name == "collect":
        from millrace.inpod.collect import main as program
    elif name == "plan":
        from millrace.inpod.slicing import main as program
    elif name == "merge":
        from millrace.inpod.merge import main as program
    elif name == "reclaim":
        from millrace.inpod.reclaim import main as program
    elif name == "keep":
        from millrace.inpod.keep import main as program
    elif name == "notify":
        from millrace.inpod.notify import main as program
    else:
        from millrace.inpod.probe import main as program
    return program


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that still wait for a store hold nobody up
