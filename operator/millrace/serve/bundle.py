"""Makes the folder that a service is started from: `python3 -u FOLDER/__main__.py`.

    python -m millrace.serve.bundle FOLDER

    FOLDER/__main__.py  FOLDER/millrace/{protocol.py,inpod/runtime,serve}  FOLDER/{uvicorn,httptools,uvloop,...}

The packages are those of `millrace[serve]`, as they are installed beside this one, for this Python. For another Python they
are installed into FOLDER instead (an image's build), and `--own` writes the rest.
"""

from __future__ import annotations

import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

from millrace.inpod import bundle

PACKAGES = ("httptools", "python-multipart", "uvicorn", "uvloop")  # millrace[serve]; what else these need is not imported
SERVE = "serve"

MAIN = """\
import os
import sys

folder = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [folder] + [path for path in sys.path if path != folder]  # PYTHONSAFEPATH leaves it out

from millrace.serve.process import main

code = main(folder)
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # threads of handlers hold nobody up
"""


def write_own(target: str) -> None:
    """Make all but the packages in `target`, which may be there already. Raises OSError."""
    package = Path(bundle.PACKAGE)
    names = sorted(path.name for path in (package / SERVE).glob("*.py") if path.name != "bundle.py")
    for name in [*bundle.sources(), *(f"{SERVE}/{name}" for name in names)]:
        to = Path(target, "millrace", name)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / name, to)
    Path(target, "__main__.py").write_text(MAIN)
    # uvicorn's own imports its command line, and with it click: half of a start.
    Path(target, "uvicorn").mkdir(exist_ok=True)
    Path(target, "uvicorn", "__init__.py").write_text("from uvicorn.config import Config as Config\n")


def write_packages(target: str) -> None:
    """Copy the packages that this Python has. Raises PackageNotFoundError where millrace[serve] is not installed."""
    for name in PACKAGES:
        for file in distribution(name).files or ():
            parts = file.parts
            if parts[0] == ".." or parts[-1].endswith(".pyc"):  # programs; what another path has compiled
                continue
            to = Path(target, *parts)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), to)


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--own"]
    if len(arguments) != 1:
        sys.exit("usage: python -m millrace.serve.bundle FOLDER [--own]")
    if "--own" not in sys.argv:
        write_packages(arguments[0])
    write_own(arguments[0])
