"""Installs requirements from wheels, and runs no foreign code: stage holds the store's keys.

uv gets an environment without them, refuses what must be built (--only-binary), and only ever sees plain requirements: an
option in a requirement could read files (-r) or build a folder of an input (-e).
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.runtime.paths import here

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OPTION = re.compile(r"\s--?(?!hash[=\s])[A-Za-z]")
FROM_REPOSITORY = re.compile(r"@\s*(git|hg|bzr|svn)\+")
NEEDS_BUILD = re.compile(
    r"(?:Wheels are required for|Building source distributions for) [`'\"]?([\w.-]+)"
    r"|Because ([\w.-]+?)(?:[=<>~!]\S+)? has no usable wheels"
)
NOISE = re.compile(r"^(Using |Resolved |Prepared |Installed |Downloading |Downloaded |Building |Updating | [+~-] )")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PASSED_ON = ("PATH", *PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR")
DEFAULT_PLATFORM = "unknown-linux-gnu"
Log = Callable[[str], None]


class Installation:
    """uv at work in the background.

    Raises Fault RequirementsFailed or NeedsBuild, from `__init__` already where that can be seen in the requirements.
    """

    def __init__(self, code: dict[str, Any], index: dict[str, Any], log: Log) -> None:
        lines = checked(code["requirements"])
        log(f"requirements: {len(lines)} for Python {code.get('pythonVersion') or platform.python_version()}")
        self._log = log
        self._cache = here(protocol.CTL_DIR) + "/.uv"  # on the volume of its target, so that files are linked, not copied
        shutil.rmtree(here(protocol.DEPS_DIR), ignore_errors=True)
        os.makedirs(self._cache, exist_ok=True)
        path = self._cache + "/requirements.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        self._process = subprocess.Popen(
            _command(code, path, self._cache),
            env=_environment(index, self._cache),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )

    def wait(self, seconds: float) -> None:
        """Until all are installed; then the cache is gone. Raises Fault."""
        try:
            output, _ = self._process.communicate(timeout=max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            self.stop()
            self._process.wait()
            raise Fault(protocol.EXIT_REQUIREMENTS_FAILED, "the requirements took longer than limits.staging") from None
        finally:
            shutil.rmtree(self._cache, ignore_errors=True)
        self._log(output.strip())
        if self._process.returncode:
            raise failure(output)

    def stop(self) -> None:
        """End uv and what it started; may be called from a signal handler while `wait` waits."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)


def checked(requirements: list[str]) -> list[str]:
    """One line for each requirement, hashes included; Fault for what is more than a requirement."""
    text = "\n".join(requirements).replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    for line in lines:
        name = NAME.match(line)
        if not name or OPTION.search(line):
            raise Fault(
                protocol.EXIT_REQUIREMENTS_FAILED, f"not a plain requirement (PEP 508, with or without --hash): {line}"
            )
        if FROM_REPOSITORY.search(line):
            raise Fault(protocol.EXIT_NEEDS_BUILD, f"{name[0]} comes from a repository and must be built: {line}")
    return lines


def failure(output: str) -> Fault:
    """The Fault that uv's output tells of; the message is the resolver's own."""
    kept = [line for line in output.splitlines() if line.strip() and not NOISE.match(line)]
    text = " ".join(" ".join(kept).split())
    found = NEEDS_BUILD.search(text)
    if found:
        message = f"{found[1] or found[2]} has no wheel that fits and must be built: {text}"
        return Fault(protocol.EXIT_NEEDS_BUILD, message)
    return Fault(protocol.EXIT_REQUIREMENTS_FAILED, text or "uv failed without a word")


def _command(code: dict[str, Any], path: str, cache: str) -> list[str]:
    command = [_uv(), "pip", "install", "--only-binary", ":all:", "--no-config", "--no-progress", "--color", "never"]
    command += ["--python", sys.executable, "--target", here(protocol.DEPS_DIR), "--cache-dir", cache]
    command += ["--python-platform", f"{platform.machine()}-{DEFAULT_PLATFORM}"]
    if code.get("pythonVersion"):
        command += ["--python-version", code["pythonVersion"]]
    return [*command, "-r", path]


def _uv() -> str:
    beside = os.path.join(os.path.dirname(sys.executable), "uv")
    return beside if os.access(beside, os.X_OK) else "uv"


def _environment(index: dict[str, Any], cache: str) -> dict[str, str]:
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    env["HOME"] = cache
    env["UV_PYTHON_DOWNLOADS"] = "never"
    if index.get("url"):
        env["UV_DEFAULT_INDEX"] = index["url"]
    if index.get("ca"):
        env["SSL_CERT_FILE"] = here(index["ca"])
        env.pop("SSL_CERT_DIR", None)
    return env
