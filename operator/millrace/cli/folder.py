"""A folder of code of this machine as the source of a Function: packed, the same bytes for the same files."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.errors import Refused
from millrace.cli.scaffold import ENTRY, Object
from millrace.cli.upload import Local
from millrace.data.archive import write_zip
from millrace.data.deflate import Chunk
from millrace.data.errors import DataError
from millrace.data.tree import Tree
from millrace.data.upload import content
from millrace.domain.names import dns_name
from millrace.inpod.source import ARCHIVE_BYTES, MEMBERS, UNPACKED_BYTES

# What is no code: history, what Python and its tools make of it, environments, and where secrets of a machine are.
LEFT_OUT = frozenset(
    {".git", ".hg", ".svn", ".venv", "venv", ".env", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
    | {".tox", ".nox", ".ipynb_checkpoints", ".DS_Store"}
)
REQUIREMENTS = "requirements.txt"


@dataclass(frozen=True)
class Code:
    """What of a folder is run: the file that it begins with (its path below the folder), the function of a handler, and
    how a Function says both.
    """

    file: str
    function: str | None
    entry: Object


def entry_of(folder: Path, handler: str | None, script: str | None) -> Code:
    """What is run: a handler MODULE:FUNCTION (FUNCTION alone: of main), or a script, main.py if none is named."""
    if handler is None:
        file = script or ENTRY
        if not (folder / file).is_file() or Path(file).is_absolute() or ".." in Path(file).parts:
            hint = "name a function with --handler MODULE:FUNCTION, or a script of the folder with --script FILE"
            raise Refused(f"{folder} has no {file}", hint)
        return Code(file, None, {"script": file})
    module, _, function = handler.rpartition(":")
    path = (module or "main").replace(".", "/")
    for file in (f"{path}.py", f"{path}/__init__.py"):
        if (folder / file).is_file():
            return Code(file, function, {"handler": f"{module or 'main'}:{function}"})
    raise Refused(f"--handler {handler}: {folder} has no module {module or 'main'} (it would be {path}.py)")


def packed(folder: Path, name: str) -> tuple[Local, list[str]]:
    """The folder's zip, as the version of the asset NAME-source that it becomes, and warnings. It is there until the command
    ends.
    """
    workshop = Path(tempfile.mkdtemp(prefix="millrace-"))
    atexit.register(shutil.rmtree, workshop, ignore_errors=True)
    path = workshop / f"{name}.zip"
    try:
        with path.open("wb") as file, Tree(folder, LEFT_OUT) as tree:
            size, entries = tree.measure()
            _check_size(folder, [(entries, MEMBERS, "files"), (size, UNPACKED_BYTES, "bytes")])

            def sink(chunk: Chunk, /) -> None:
                file.write(chunk)

            write_zip(tree, sink)
            warnings = list(tree.warnings)
        _check_size(folder, [(path.stat().st_size, ARCHIVE_BYTES, "bytes as a zip")])
        return Local(dns_name(f"{name[:56]}-source"), content(path)), warnings
    except DataError as error:
        raise Refused(f"{folder}: {error}") from None


def _check_size(folder: Path, found: list[tuple[int, int, str]]) -> None:
    for count, most, what in found:
        if count > most:
            hint = "keep data out of it: it is an input (--input data=FOLDER)"
            raise Refused(f"{folder} has {count} {what}; {most} are possible", hint)
