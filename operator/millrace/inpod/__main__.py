"""python -m millrace.inpod stage|collect|probe: the program of a container.

No command-line library and no import before the choice: each program starts in milliseconds.
"""

from __future__ import annotations

import os
import sys

PROGRAMS = ("stage", "collect", "probe")


def main(arguments: list[str]) -> int:
    """The program's exit code; 2 for wrong usage."""
    if len(arguments) != 1 or arguments[0] not in PROGRAMS:
        print(f"usage: python -m millrace.inpod {'|'.join(PROGRAMS)}", file=sys.stderr)
        return 2
    if arguments[0] == "stage":
        from millrace.inpod.stage import main as program
    elif arguments[0] == "collect":
        from millrace.inpod.collect import main as program
    else:
        from millrace.inpod.probe import main as program
    return program()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that still wait for a store hold nobody up
