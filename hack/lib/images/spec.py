"""What the images are made of."""

import re
from dataclasses import dataclass
from pathlib import Path

from cluster.context import CACHE, REPO

HOME = CACHE / "images" / "oci"
PREFIX = "localhost/millrace"
USER = 65532

# The date of every file that we write. Files of Debian's packages keep theirs.
EPOCH = 1767225600  # 2026-01-01
CREATED = "2026-01-01T00:00:00Z"

PACKAGE = REPO / "operator" / "millrace"
SITE = "usr/local/lib/python3.13/dist-packages"
RUNTIME = "opt/millrace/runtime"


@dataclass(frozen=True)
class Base:
    suite: str  # of Debian
    python: str  # the one that Debian gives it
    packages: tuple[str, ...] = (
        "python3",
        "ca-certificates",
        "libgomp1",  # wheels of numeric libraries expect it of the system
    )
    options: tuple[str, ...] = ()  # of mmdebstrap


TRIXIE = Base("trixie", "3.13")
# Without the hook bookworm gets usrmerge, and with it all of Perl.
BOOKWORM = Base("bookworm", "3.11", options=("--hook-dir=/usr/share/mmdebstrap/hooks/maybe-merged-usr",))


@dataclass(frozen=True)
class Image:
    name: str
    title: str
    base: Base
    entrypoint: tuple[str, ...]
    export: tuple[str, ...] = ()  # of `uv export`: the dependencies; none without
    source: tuple[str, ...] | None = None  # of PACKAGE, to SITE; None: the runtime's bundle
    environment: tuple[str, ...] = ()


# What the command line needs and the operator does not.
_NOT_IN_OPERATOR = ("isal", "minio", "obstore", "rich", "typer", "uv")
_OURS = ("PYTHONUNBUFFERED=1", "PYTHONDONTWRITEBYTECODE=1")

IMAGES = {
    image.name: image
    for image in (
        Image(
            "operator",
            "The operator of millrace",
            TRIXIE,
            ("/usr/bin/python3", "-m", "millrace.app"),
            ("--no-dev", "--extra=operator", *(f"--prune={name}" for name in _NOT_IN_OPERATOR)),
            (".",),
            _OURS,
        ),
        Image(
            "stage",
            "Stages the inputs of a run of millrace and collects its outputs",
            TRIXIE,
            ("/usr/bin/python3", "-m", "millrace.inpod"),
            ("--only-group=stage",),
            ("__init__.py", "protocol.py", "inpod", "data"),
            (*_OURS, "MALLOC_ARENA_MAX=2"),  # an arena for each thread that transfers would be memory of nobody's use
        ),
        # The environment of user code is the user's: none of ours.
        *(
            Image(
                f"runtime-{base.python}",
                f"Runs Python {base.python} functions of millrace",
                base,
                ("/usr/bin/python3", "-I", "-S", f"/{RUNTIME}/__main__.py"),
            )
            for base in (TRIXIE, BOOKWORM)
        ),
    )
}


def version() -> str:
    """The version of the package, of pyproject.toml."""
    return re.search(r'^version = "(.+)"$', (REPO / "pyproject.toml").read_text(), re.MULTILINE)[1]


def sources(below: tuple[str, ...]) -> list[Path]:
    """The files of the package at or below these places, sorted."""
    found = set()
    for place in below:
        path = PACKAGE / place
        found.update(path.rglob("*") if path.is_dir() else [path])
    return sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc")
