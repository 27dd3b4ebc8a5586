"""The code of a run, where it is a zip: fetched, checked, and unpacked where an inline source would lie."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.fetching import fetching, in_stores
from millrace.inpod.podplan import Json, open_stores
from millrace.inpod.report import Log
from millrace.inpod.runtime.paths import here

FOLDER = protocol.TMP_DIR + "/source"  # of the archive
ARCHIVE_BYTES = 256 << 20
MEMBERS = 20_000
UNPACKED_BYTES = 1 << 30
RATIO = 100  # code packs to a quarter or so
FREE_BYTES = 64 << 20  # so much may unpack from nearly nothing
DIRECTORY_BYTES = 4 << 20  # stage has 96 MiB


def unpack_source(plan: Json, deadline: float, log: Log) -> Json:
    """Makes the folder of the source; what the termination message says of the archive. Raises Fault."""
    from millrace.data.errors import DataError
    from millrace.data.unzip import Caps, Rejected, unzip

    code = plan["code"]
    item = {**code["zip"], "type": "uri_file", "path": FOLDER, "maxBytes": ARCHIVE_BYTES, "sha256": None}
    name = os.path.basename(item["key"])
    began = time.monotonic()
    try:
        staged = fetching(plan, item, open_stores(plan, in_stores([item])), deadline)()
    except DataError as error:
        raise Fault(protocol.EXIT_STAGE_FAILED, f"source {name}: {error}", reason=error.reason) from error
    if code["zip"].get("sha256") not in (None, staged.sha256):
        why = f"source {name}: its SHA-256 is {staged.sha256}, not the {code['zip']['sha256']} of spec.source.zip.sha256"
        raise Fault(protocol.EXIT_STAGE_FAILED, why, reason="ChecksumMismatch")
    caps = Caps(members=MEMBERS, bytes=UNPACKED_BYTES, ratio=RATIO, free_bytes=FREE_BYTES, directory_bytes=DIRECTORY_BYTES)
    target = Path(here(code["source"]))
    try:
        _clear(target)
        files = unzip(
            Path(here(FOLDER), name),
            target,
            caps=caps,
            root=lambda files: root_of(files, code.get("handler"), code.get("script")),
        )
        shutil.rmtree(here(FOLDER))
    except Rejected as error:
        raise Fault(protocol.EXIT_STAGE_FAILED, f"source {name}: {error}", reason="SourceRejected") from error
    except OSError as error:
        reason = "NoSpace" if error.errno == errno.ENOSPC else "DiskError"
        raise Fault(protocol.EXIT_STAGE_FAILED, f"source {name} cannot be unpacked: {error}", reason=reason) from error
    log(f"source {name}: {staged.bytes} bytes, {files} files, {time.monotonic() - began:.2f} s")
    return {
        "bytes": staged.bytes,
        "files": files,
        "sha256": staged.sha256,
        "seconds": round(time.monotonic() - began, 3),
        "identityUsed": staged.identity,
    }


def root_of(files: frozenset[str], handler: str | None, script: str | None) -> str:
    """The folder of an archive that is the source: its top, or where the code is not there but in the one folder at its
    top, that folder: archives of GitHub have one of the repository's name. Pure.
    """
    if script:
        wanted = {script}
    else:
        module = ((handler or "").rpartition(":")[0] or "main").replace(".", "/")
        wanted = {f"{module}.py", f"{module}/__init__.py"}
    tops = {path.partition("/")[0] for path in files}
    top = next(iter(tops)) if len(tops) == 1 else ""
    return top if not wanted & files and {f"{top}/{path}" for path in wanted} & files else ""


def _clear(folder: Path) -> None:
    """Removes what an earlier start of this container has left: a node may come back with the volumes of its pods."""
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
