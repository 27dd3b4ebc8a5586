"""Azurite and fake-gcs-server of the tests' own, on loopback, each in a temporary folder."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "millracetest"
ACCOUNT_KEY = base64.b64encode(b"millrace-test-canary" * 3).decode()
SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tool(name: str) -> str:
    """The path of a program that hack/cluster builds."""
    found = subprocess.run([ROOT / "hack" / "cluster", "tool", name], capture_output=True, text=True, check=True)
    return found.stdout.strip().splitlines()[-1]


@contextmanager
def running(command: list[str | Path], port: int, folder: Path, **environment: str) -> Iterator[str]:
    """Starts a server, yields host:port once it listens, and ends it by its pid."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    try:
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                pass
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, f"{command[0]} did not start"
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@contextmanager
def running_azurite(folder: Path, *arguments: str) -> Iterator[str]:
    """Azurite's blob service with the account ACCOUNT; host:port."""
    port = free_port()
    command: list[str | Path] = [tool("azurite"), "--blobPort", str(port), "--location", folder / "data"]
    command += ["--disableTelemetry", *arguments]
    with running(command, port, folder, AZURITE_ACCOUNTS=f"{ACCOUNT}:{ACCOUNT_KEY}") as address:
        yield address


@contextmanager
def running_fake_gcs(folder: Path, host: str = "127.0.0.1") -> Iterator[str]:
    """fake-gcs-server; host:port. It asks nobody for a credential."""
    port = free_port()
    listen = "127.0.0.1" if host == "127.0.0.1" else "0.0.0.0"
    command: list[str | Path] = [tool("fake-gcs-server"), "-scheme", "http", "-host", listen, "-port", str(port)]
    command += ["-backend", "memory", "-public-host", f"{host}:{port}"]
    with running(command, port, folder):
        yield f"{host}:{port}"
