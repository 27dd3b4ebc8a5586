"""The command `millrace` as a user has it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from support.cluster import Namespace


class Command:
    """Runs `millrace` in a folder and a namespace."""

    def __init__(self, namespace: Namespace, folder: Path) -> None:
        self.namespace, self.folder = namespace, folder

    def start(self, *args: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        found = Path(sys.executable).with_name("millrace")
        command = [str(found) if found.exists() else "millrace", *args, "-n", self.namespace.name]
        # An own session: Ctrl-C of the test runner is none of the command.
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, **(env or {})},
            text=True,
            start_new_session=True,
            # A shell lets its background jobs ignore Ctrl-C, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(
        self, *args: str, code: int = 0, stdin: str = "", seconds: float = 120, env: dict[str, str] | None = None
    ) -> tuple[str, str]:
        """Standard output and error of a command that ends with this exit code."""
        process = self.start(*args, env=env)
        try:
            out, err = process.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"millrace {args} did not end:\n{out}\n{err}") from None
        assert process.returncode == code, f"exit code {process.returncode}:\n{out}\n{err}"
        assert "\nTraceback" not in f"\n{err}"
        return out, err
