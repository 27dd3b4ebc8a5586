"""The interpreter of a local run: the version that the Function asks for, with no package of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path

RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"


async def make_environment(folder: Path, version: str) -> Path | None:
    """An empty virtual environment in `folder` with a Python of that version; its interpreter, or None where this machine
    has no such Python.
    """
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    uv = shutil.which("uv", path=places) or "uv"
    options = ["--no-project", "--no-config", "--no-python-downloads", "--offline", "--quiet"]
    wanted = sys.executable if version == RUNNING else version
    made = await asyncio.create_subprocess_exec(
        *(uv, "venv", *options, "--python", wanted, str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    return folder / "bin" / "python3" if await made.wait() == 0 else None
