"""A run's pod without Kubernetes: the real programs as processes, below a folder that takes the place of `/`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from millrace import protocol
from support.memory import MemoryGroup

DEADLINE = 30.0
SYSTEM_PYTHON = "/usr/bin/python3"  # readable for every user, unlike root's own
USER = 65532

Json = dict[str, Any]
T = TypeVar("T")


def until(probe: Callable[[], T], what: str, seconds: float = DEADLINE) -> T:
    """Ask until the answer is true; the answer."""
    end = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return answer


def finish(process: subprocess.Popen[bytes]) -> None:
    """Kill what still runs and close its pipes."""
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


class Main:
    """A running main container."""

    def __init__(self, pod: Pod, process: subprocess.Popen[bytes], *, nested: bool) -> None:
        self.pod = pod
        self._process = process
        self._nested = nested

    @property
    def pid(self) -> int:
        """Of process 1; unshare itself is its parent where there is a namespace."""
        if not self._nested:
            return self._process.pid
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(until(children.read_text, "process 1").split()[0])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = DEADLINE) -> Ended:
        out, err = self._process.communicate(timeout=seconds)
        return Ended(self.pod, self._process.returncode, out.decode(), err.decode())

    def returncode(self, seconds: float = DEADLINE) -> int:
        """Wait without reading its output."""
        return self._process.wait(seconds)

    def until_log(self, text: str) -> None:
        until(lambda: text in self.pod.text("/millrace/run/main.log"), f"{text!r} in main.log")

    def end(self) -> None:
        finish(self._process)


class Ended:
    """What a main container left behind."""

    def __init__(self, pod: Pod, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.log = pod.text("/millrace/run/main.log")
        self.message = pod.message("main")
        record = pod.text("/millrace/run/exit.json")
        self.record: Json = json.loads(json.loads(record)["body"]) if record else {}


class Program:
    """A running stage, collect or probe."""

    def __init__(self, pod: Pod, name: str, process: subprocess.Popen[bytes]) -> None:
        self.pod, self.name, self.process = pod, name, process

    def wait(self, seconds: float = DEADLINE) -> Done:
        out, err = self.process.communicate(timeout=seconds)
        return Done(self.process.returncode, out.decode(), err.decode(), self.pod.message(self.name))

    def end(self) -> None:
        finish(self.process)


class Done(NamedTuple):
    """What a stage, collect or probe left behind."""

    code: int
    out: str
    err: str
    message: Json


class Pod:
    """The folders of a pod, its plan, and ways to start its containers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.plan: Json = {
            "run": {"namespace": "ns", "name": "score", "uid": "uid-1", "attempt": 1},
            "code": {"handler": "main:predict", "source": protocol.SOURCE_DIR},
            "limits": {"running": 60, "staging": 60, "uploading": 60, "stop": 1, "logBytes": 1 << 20},
        }
        for name in ("pod", "source", "in", "ctl", "out", "run", "seal"):
            self.path(f"/millrace/{name}").mkdir(parents=True)
        for name in ("/tmp", "/dev"):
            self.path(name).mkdir()
        for path in (root, *root.rglob("*")):
            path.chmod(0o777)
        self.environment: dict[str, str] = {}
        self.credentials: dict[str, str] = {}
        self._started: list[Main | Program] = []

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """A regular file's text; empty for anything else that user code may have put there."""
        file = self.path(path)
        return file.read_text(errors="replace") if file.is_file() and not file.is_symlink() else ""

    def source(self, text: str, name: str = "main.py") -> None:
        path = self.path(protocol.SOURCE_DIR) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def output(self, name: str = "scores", path: str = protocol.OUT_DIR, **more: object) -> None:
        self.plan.setdefault("outputs", []).append({"name": name, "path": path, "store": 0, "key": f"o/{name}.zip", **more})

    def write_plan(self) -> None:
        self.path(protocol.PLAN_FILE).write_text(json.dumps(self.plan))
        self.path(protocol.PAYLOAD_FILE).write_text("{}")

    def seal(self) -> bytes:
        """What stage does first: lock and keys."""
        key = b"k" * 32
        self.path(protocol.LOCK_FILE).write_bytes(b"")
        for path in (protocol.MAIN_KEY_FILE, protocol.SEAL_KEY_FILE):
            self.path(path).write_bytes(key)
            self.path(path).chmod(0o666)
        return key

    def start(
        self, bundle: Path, *, python: str = sys.executable, contained: bool = False, group: MemoryGroup | None = None
    ) -> Main:
        """main; contained: as process 1 of a PID namespace, as a plain user, with `ctl` read-only."""
        self.write_plan()
        command = [python, "-I", "-S", str(bundle / "__main__.py")]
        if contained:
            ctl = self.path(protocol.CTL_DIR)
            drop = f"setpriv --reuid {USER} --regid {USER} --clear-groups --bounding-set -all --inh-caps -all"
            script = f'mount --bind {ctl} {ctl} && mount -o remount,ro,bind {ctl} && exec {drop} -- "$@"'
            isolated = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
            command = [*isolated, "sh", "-c", script, "sh", SYSTEM_PYTHON, *command[1:]]
        env = {"PATH": os.environ["PATH"], "MILLRACE_ROOT": str(self.root), **self.environment}
        if group:
            self.path(group.mount).parent.mkdir(parents=True)
            self.path(group.mount).symlink_to(group.path)
            command = [*group.prefix(), *command]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        main = Main(self, process, nested=contained)
        self._started.append(main)
        return main

    def begin(self, name: str, group: MemoryGroup | None = None, **more: str) -> Program:
        """stage, collect or probe."""
        self.write_plan()
        command = [*(group.prefix() if group else []), sys.executable, "-m", "millrace.inpod", name]
        env = {"PATH": os.environ["PATH"], "MILLRACE_ROOT": str(self.root), **self.credentials, **more}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        program = Program(self, name, process)
        self._started.append(program)
        return program

    def message(self, container: str) -> Json:
        """A container's termination message."""
        text = self.text(f"/dev/termination-log-{container}")
        assert len(text.encode()) <= protocol.TERMINATION_LOG_BYTES
        return json.loads(text) if text else {}

    def end(self) -> None:
        for main in self._started:
            main.end()
