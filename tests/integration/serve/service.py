"""A service as a process of this machine: the runtime's folder, a source, a plan, the tokens."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from millrace import protocol
from millrace.inpod.runtime.paths import ROOT_VARIABLE
from millrace.serve.bundle import write_own, write_packages

READY = re.compile(r"\[millrace\] \S+ is ready on port (\d+), operations on (\d+)")
TOKEN = "token-of-a-test"


def bundle(folder: Path) -> Path:
    """The serving runtime, as in an image; the program."""
    write_packages(str(folder))
    write_own(str(folder))
    return folder / "__main__.py"


def entry(token: str, name: str = "test", expires: str | None = None) -> dict[str, str | None]:
    """An entry of the file of tokens."""
    return {"name": name, "sha256": hashlib.sha256(token.encode()).hexdigest(), "expires": expires}


class Service:
    """One process. `url` and `operations` are there once it is ready."""

    def __init__(self, root: Path, program: Path, source: str, *, handler: str = "main:handle", **plan: Any) -> None:
        """plan: init, parameters, and keys of the plan's `serve`."""
        self.root = root
        code = self.path(protocol.SOURCE_DIR)
        code.mkdir(parents=True)
        (code / "main.py").write_text(source)
        self.path("/tmp").mkdir()
        self.path("/dev").mkdir()
        self.write_tokens(entry(TOKEN))
        document = {
            "code": {"handler": handler, "source": protocol.SOURCE_DIR},
            "parameters": plan.pop("parameters", {}),
            "limits": {"stop": plan.pop("stop", 10)},
            "service": {"namespace": "ns", "deployment": "svc", "deploymentId": "uid-1", "revision": "svc-1"},
            "serve": {"host": "127.0.0.1", "port": 0, "operationsPort": 0, "public": True, "drain": 0, **plan},
        }
        self.path(protocol.POD_INFO_DIR).mkdir(parents=True)
        self.path(protocol.PLAN_FILE).write_text(json.dumps(document))
        self.program = program
        self._start()

    @classmethod
    def again(cls, other: Service) -> Service:
        """Another process of the same source and plan."""
        found = cls.__new__(cls)
        found.root, found.program = other.root, other.program
        found._start()
        return found

    def _start(self) -> None:
        self.log: list[str] = []
        self.url = self.operations = ""
        self._ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-u", str(self.program)],
            env={"PATH": os.environ["PATH"], ROOT_VARIABLE: str(self.root)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def path(self, path: str) -> Path:
        """A path of the contract on this machine."""
        return self.root / path.lstrip("/")

    def write_tokens(self, *entries: dict[str, str | None]) -> None:
        """Replace the file, as the kubelet does: by a rename."""
        file = self.path(protocol.ACCESS_FILE)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(json.dumps({"tokens": entries}))
        file.with_suffix(".new").rename(file)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log.append(line.rstrip("\n"))
            found = READY.search(line)
            if found:
                self.url, self.operations = (f"http://127.0.0.1:{port}" for port in found.groups())
                self._ready.set()
        self._ready.set()

    def ready(self) -> Service:
        """Itself, once it takes requests."""
        assert self._ready.wait(30), self.log
        assert self.url, f"it ended: {self.log}"
        return self

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **more)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        code = self.process.wait(60)
        self._reader.join(10)
        return code

    def termination(self) -> dict[str, Any]:
        """What it leaves for the kubelet."""
        return dict(json.loads(self.path(f"{protocol.TERMINATION_LOG}-main").read_text()))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
