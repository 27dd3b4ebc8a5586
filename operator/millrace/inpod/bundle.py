"""Copies the runtime, and nothing else, into a folder: for our images, and by stage for images that are not ours.

    python -m millrace.inpod.bundle FOLDER [--compile]

    FOLDER/__main__.py  FOLDER/millrace/__init__.py  FOLDER/millrace/protocol.py
    FOLDER/millrace/inpod/__init__.py  FOLDER/millrace/inpod/runtime/*.py

Started as `python3 -I -S FOLDER/__main__.py`: naming the file saves the 12 ms that Python takes to import runpy for a
folder, and -S those that it takes to look at site-packages. `python3 -I FOLDER` works too.
"""

from __future__ import annotations

import os
import sys

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILES = ("__init__.py", "protocol.py", "inpod/__init__.py")
RUNTIME = "inpod/runtime"

MAIN = """\
import _signal  # the part of signal that is there without an import: enum and re take 20 ms
# Process 1 does not get a signal that it has no handler for. One that is blocked waits until there is one (Signals).
_signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTERM, _signal.SIGINT))
import os
import sys

folder = os.path.dirname(os.path.abspath(__file__))
if folder not in sys.path:  # isolated mode leaves it out when this file is started by name
    sys.path.insert(0, folder)

from millrace.inpod.runtime.process import main

code = main()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


def sources() -> list[str]:
    """The package's files that make the runtime, relative to the package."""
    names = sorted(name for name in os.listdir(os.path.join(PACKAGE, RUNTIME)) if name.endswith(".py"))
    return [*FILES, *(f"{RUNTIME}/{name}" for name in names)]


def write_bundle(target: str, *, compiled: bool = False) -> None:
    """Make the runtime in `target`, which may be there already.

    compiled: for this Python only, so in an image that holds it. Raises OSError.
    """
    for name in sources():
        with open(os.path.join(PACKAGE, name), "rb") as file:
            _write(os.path.join(target, "millrace", name), file.read())
    _write(os.path.join(target, "__main__.py"), MAIN.encode())
    if compiled:
        import compileall
        from py_compile import PycInvalidationMode

        # By hash and unchecked: the files of an image never change, and layers carry times of their own.
        mode = PycInvalidationMode.UNCHECKED_HASH
        if not compileall.compile_dir(target, quiet=1, invalidation_mode=mode):
            raise OSError(f"{target} cannot be compiled")


def _write(path: str, data: bytes) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--compile"]
    if len(arguments) != 1:
        sys.exit("usage: python -m millrace.inpod.bundle FOLDER [--compile]")
    write_bundle(arguments[0], compiled="--compile" in sys.argv)
