"""The operator as a process of this machine, so that it can be killed with SIGKILL as often as a test likes.

In its pod the kubelet would wait longer after each crash. The installed one is scaled to zero meanwhile.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from support.cluster import kubectl
from support.waiting import wait_for

DEPLOYMENT = ("-n", "millrace-system", "deployment/millrace-operator")


class HostOperator:
    """One operator process at a time, with the installation's own settings but for those that are given."""

    def __init__(self, folder: Path, **changes: object) -> None:
        self._config, self._log = folder / "config.yaml", folder / "operator.log"
        settings = kubectl(
            "-n", "millrace-system", "get", "configmap", "-l", "app.kubernetes.io/name=millrace", "-o", CONFIG
        )
        self._config.write_text(yaml.safe_dump({**yaml.safe_load(settings), "caBundleFile": None, **changes}))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; it is at work as soon as it has loaded the state."""
        lease = {"MILLRACE_LEASE": "millrace-system/millrace-operator", "POD_NAME": "host"}
        env = {**os.environ, **lease, "MILLRACE_CONFIG": str(self._config), "MILLRACE_PORT": "0"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "millrace.app"], env=env, stdout=log, stderr=log)

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> None:
        """SIGTERM: it gives the Lease back."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def log(self) -> str:
        """All that it has logged."""
        return self._log.read_text()


CONFIG = r"jsonpath={.items[0].data.config\.yaml}"


@contextmanager
def installed_operator_away() -> Iterator[None]:
    """Scales the installed operator to zero, and back."""
    kubectl("scale", *DEPLOYMENT, "--replicas=0")
    wait_for(
        "the installed operator is gone",
        lambda: (
            not kubectl(
                "-n", "millrace-system", "get", "pods", "-l", "app.kubernetes.io/component=operator", "-o", "name"
            ).strip()
        ),
    )
    try:
        yield
    finally:
        kubectl("scale", *DEPLOYMENT, "--replicas=1")
        kubectl("rollout", "status", *DEPLOYMENT, "--timeout=60s")


@contextmanager
def host_operator(folder: Path, **changes: object) -> Iterator[HostOperator]:
    """Takes over from the installed operator, and gives back to it; `changes` to the installation's settings."""
    operator = HostOperator(folder, **changes)
    with installed_operator_away():
        try:
            operator.start()
            yield operator
        finally:
            operator.terminate()
