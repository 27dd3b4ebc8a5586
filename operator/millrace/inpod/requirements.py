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
import time
from collections.abc import Callable
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.runtime.paths import here

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
OPTION = re.compile(r"\s--?(?!hash[=\s])[A-Za-z]")
HASH = re.compile(r"--hash[=\s]\s*\S+")
FROM_REPOSITORY = re.compile(r"@\s*(git|hg|bzr|svn)\+")
NEEDS_BUILD = re.compile(
    r"(?:Wheels are required for|Building source distributions for) [`'\"]?([\w.-]+)"
    r"|Because ([\w.-]+?)(?:[=<>~!]\S+)? has no usable wheels"
)
NOISE = re.compile(r"^(Using |Resolved |Prepared |Installed |Downloading |Downloaded |Building |Updating | [+~-] )")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
PASSED_ON = ("PATH", *PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR")
DEFAULT_PLATFORM = "unknown-linux-gnu"
COMPILERS = "2"  # processes; a node's number of cores would not fit into stage's memory
COMPILE_SECONDS = 120.0
Log = Callable[[str], None]


class Installer:
    """uv and its folder. Each step waits until it is over, at most until `deadline`, an instant of time.monotonic().

    Raises Fault RequirementsFailed or NeedsBuild, from `__init__` already where that can be seen in the requirements.
    """

    def __init__(self, code: dict[str, Any], index: dict[str, Any], deadline: float, log: Log) -> None:
        self.lines = checked(code["requirements"])
        self.python = code.get("pythonVersion") or _own_python()
        self.platform = f"{platform.machine()}-{DEFAULT_PLATFORM}"
        self.index = index.get("url") or ""
        log(f"requirements: {len(self.lines)} for Python {self.python}")
        self._log = log
        self._deadline = deadline
        self._folder = here(protocol.CTL_DIR) + "/.uv"  # on the volume of its target, so that files are linked, not copied
        self._env = _environment(index, self._folder)
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def lock(self) -> list[str]:
        """The versions that the index offers now for the requirements and all that they need, with hashes, a line each.

        Hashes that a requirement came with stay: then they alone are right.
        """
        path = f"{self._folder}/lock.txt"
        self._uv("compile", self.lines, "--generate-hashes", "--no-header", "--no-annotate", "--output-file", path)
        with open(path, encoding="utf-8") as file:
            made = checked([file.read()])
        given: dict[str, list[str]] = {}
        for line in self.lines:
            given.setdefault(_name(line), []).extend(HASH.findall(line))
        lines = []
        for line in made:
            hashes = given.get(_name(line)) or HASH.findall(line)
            lines.append(" ".join([HASH.sub("", line).strip(), *hashes]))
        return lines

    def install(self, lines: list[str], *, locked: bool) -> None:
        """Make DEPS_DIR; `lines` are requirements, or a lock."""
        shutil.rmtree(here(protocol.DEPS_DIR), ignore_errors=True)
        options = ["--target", here(protocol.DEPS_DIR), *(["--require-hashes"] if locked else [])]
        self._log(self._uv("install", lines, *options).strip())

    def precompile(self) -> None:
        """Write the bytecode, which main cannot: DEPS_DIR is read-only there. Nothing comes of it where that fails."""
        if self.python == _own_python():
            command = [sys.executable, "-I", "-m", "compileall", "-q", "-j", COMPILERS]
            command += ["--invalidation-mode", "unchecked-hash"]  # of the times of files nothing is kept
            command += ["-s", here(protocol.DEPS_DIR), "-p", protocol.DEPS_DIR, here(protocol.DEPS_DIR)]
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._run(command, min(self._deadline, time.monotonic() + COMPILE_SECONDS))

    def close(self) -> None:
        """Remove uv's own files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """End what runs, for good; may be called from a signal handler while a step waits."""
        self._stopped = True
        self._kill()

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process and self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def _uv(self, verb: str, lines: list[str], *options: str) -> str:
        os.makedirs(self._folder, exist_ok=True)
        path = f"{self._folder}/{verb}.txt"
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        command = [_executable(), "pip", verb, "--only-binary", ":all:", "--no-config", "--no-progress", "--color", "never"]
        command += ["--python", sys.executable, "--python-version", self.python, "--python-platform", self.platform]
        command += ["--cache-dir", self._folder, *options, path if verb == "compile" else f"-r{path}"]
        try:
            exit_code, output = self._run(command, self._deadline)
        except subprocess.TimeoutExpired:
            raise Fault(protocol.EXIT_REQUIREMENTS_FAILED, "the requirements took longer than limits.staging") from None
        if exit_code:
            raise failure(output)
        return output

    def _run(self, command: list[str], deadline: float) -> tuple[int, str]:
        """Exit code, and what it wrote on stdout and stderr. Raises TimeoutExpired; it is gone then."""
        self._process = subprocess.Popen(
            command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        if self._stopped:  # meanwhile
            self._kill()
        try:
            output, _ = self._process.communicate(timeout=max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
            raise
        return self._process.returncode, output


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


def _name(line: str) -> str:
    """The package of a requirement, as packages are compared (PEP 503)."""
    found = NAME.match(line)
    assert found, line
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _own_python() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _executable() -> str:
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
