"""A run's pod on this machine: its containers as processes, its volumes as folders. What a kubelet does, as far as a run
needs it.

Each container has a folder that stands for its `/` (MILLRACE_ROOT); a volume lies in the folder of the first container that
mounts it, and is a link in those of the others.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millrace import protocol as p
from millrace.domain.clock import render
from millrace.inpod.bundle import write_bundle
from millrace.inpod.runtime.paths import ROOT_VARIABLE
from millrace.observe.pod import ContainerFacts

Manifest = dict[str, Any]
OURS = (p.ROOT, p.TMP_DIR)  # mounts below other paths are the user's, and stay the cluster's
LINE_BYTES = 1 << 20
LOOK_SECONDS = 0.02  # between looks at whether a process that is starting handles a signal yet


class ConfigError(Exception):
    """A Secret or ConfigMap that the pod names is not among the manifests."""


@dataclass(frozen=True)
class Sources:
    """What volumes and variables are filled from: ConfigMaps and Secrets by name, and the pod's annotations."""

    config_maps: Mapping[str, Mapping[str, str]]
    secrets: Mapping[str, Mapping[str, str]]
    store_secrets: Mapping[str, Mapping[str, str]]  # only for the variables with keys of stores, never for the user's
    annotations: Mapping[str, str]
    fields: Mapping[str, str]  # metadata.name and so on, for fieldRef

    def value(self, variable: Manifest) -> str | None:
        """A variable of a container; None where an optional one is not there. Raises ConfigError."""
        source = variable.get("valueFrom")
        if source is None:
            return str(variable.get("value") or "").replace("$$", "$")
        ours = variable["name"].startswith(p.STORE_PREFIX)
        for kind, key, objects in (
            ("Secret", "secretKeyRef", {**self.store_secrets, **self.secrets} if ours else self.secrets),
            ("ConfigMap", "configMapKeyRef", self.config_maps),
        ):
            if key in source:
                name, wanted = source[key].get("name"), source[key].get("key")
                found = objects.get(name, {}).get(wanted)
                if found is None and not source[key].get("optional"):
                    raise ConfigError(f"{kind} {name} with the key {wanted} is not among the manifests")
                return found
        path = str((source.get("fieldRef") or {}).get("fieldPath", ""))
        if path not in self.fields:
            raise ConfigError(f"variable {variable['name']}: a local run has no {path or ', '.join(source)}")
        return self.fields[path]

    def files(self, volume: Manifest) -> dict[str, str]:
        """The files of a volume. Raises ConfigError."""
        if "downwardAPI" in volume:
            start = "metadata.annotations['"
            items = [(item["path"], item["fieldRef"]["fieldPath"]) for item in volume["downwardAPI"]["items"]]
            return {path: self.annotations[field.removeprefix(start).removesuffix("']")] for path, field in items}
        if "configMap" not in volume:
            return {}
        name = volume["configMap"]["name"]
        data, found = self.config_maps.get(name), {}
        for item in volume["configMap"].get("items", []):
            if data is None or item["key"] not in data:
                if volume["configMap"].get("optional"):
                    continue
                raise ConfigError(f"ConfigMap {name} with the key {item['key']} is not among the manifests")
            found[item["path"]] = data[item["key"]]
        return found


@dataclass
class Container:
    """One container: its folder, its process and what became of it."""

    manifest: Manifest
    root: Path
    env: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    facts: ContainerFacts | None = None
    _told: int | None = None

    def path(self, path: str) -> Path:
        """A path of the contract on this machine."""
        return self.root / path.lstrip("/")

    async def run(self, command: list[str], told: Callable[[bytes], None]) -> ContainerFacts:
        """Start it, hand on each line of its output, wait for its end."""
        name = self.manifest["name"]
        started = render(datetime.now(UTC))
        self.process = await asyncio.create_subprocess_exec(
            *command,
            env=self.env,
            cwd=self.root,
            umask=0o022 if name == p.MAIN else -1,  # an image's
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to hand on
            limit=LINE_BYTES,
        )
        if self._told is not None:
            self.signal(self._told)
        assert self.process.stdout is not None
        await _lines(self.process.stdout, told)
        code = await self.process.wait()
        message = self.path(f"{p.TERMINATION_LOG}-{name}")
        self.facts = ContainerFacts(
            name,
            started=started,
            finished=render(datetime.now(UTC)),
            exit_code=code if code >= 0 else 128 - code,
            message=message.read_text(errors="replace") if message.is_file() else "",
        )
        return self.facts

    def signal(self, number: int) -> None:
        """Sends a signal to its process 1, once that is there and handles it: it would end one that is still starting,
        which in a container outlives it."""
        self._told = number
        if self.process is None or self.process.returncode is not None:
            return
        if _handles(self.process.pid, number):
            self.process.send_signal(number)
        else:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self.signal, number)

    def kill(self) -> None:
        """Ends it with all that it has started."""
        if self.process is not None and self.process.returncode is None:
            kill_tree(self.process.pid)


async def _lines(stream: asyncio.StreamReader, told: Callable[[bytes], None]) -> None:
    while True:
        try:
            line = await stream.readuntil(b"\n")
        except asyncio.IncompleteReadError as last:
            if last.partial:
                told(last.partial)
            return
        except asyncio.LimitOverrunError as long:
            told(await stream.readexactly(long.consumed))
            continue
        told(line[:-1])


class Pod:
    """The containers of one attempt. Raises ConfigError when it is made."""

    def __init__(self, root: Path, spec: Manifest, sources: Sources, *, python: Path, folders: Mapping[int, Path]) -> None:
        """`spec` as build.pod makes it; `python`: the interpreter of main; `folders`: stores that are folders, by number."""
        # Main first: what user code sees are folders, and no links.
        manifests = {c["name"]: c for c in (*spec["containers"], *spec.get("initContainers", []))}
        order = sorted(manifests, key=lambda name: name != p.MAIN)
        self.containers: dict[str, Container] = {}
        self._python = python
        volumes = {volume["name"]: volume for volume in reversed(spec["volumes"])}
        placed: dict[str, Path] = {}
        for name in order:
            container = self._container(root / name, manifests[name], sources)
            self.containers[name] = container
            for mount in manifests[name]["volumeMounts"]:
                if mount["mountPath"].startswith(OURS):
                    _mount(container.path(mount["mountPath"]), volumes[mount["name"]], placed, sources)
            if name != p.MAIN:
                for number, folder in folders.items():
                    link = container.path(f"{p.STORES_DIR}/{number}")
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(folder)
        if p.MAIN in self.containers:
            write_bundle(str(self.containers[p.MAIN].path(p.IMAGE_RUNTIME_DIR)))

    def _container(self, root: Path, manifest: Manifest, sources: Sources) -> Container:
        (root / "dev").mkdir(parents=True)
        (root / "tmp").mkdir(mode=0o700)
        try:
            values = {variable["name"]: sources.value(variable) for variable in manifest["env"]}
        except ConfigError as error:
            raise ConfigError(f"{manifest['name']}: {error}") from None
        own = {name: value for name, value in values.items() if value is not None}
        if manifest["name"] == p.MAIN:
            # User code sees neither this machine's environment nor the packages that are installed here.
            path = f"{self._python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
            env = {"PATH": path, "TZ": "UTC", **own}
        else:
            env = {name: value for name, value in os.environ.items() if not name.startswith(p.RESERVED_PREFIX)} | own
            env["PYTHONUTF8"] = "1"  # names of files are UTF-8, whatever locale the user has
        return Container(manifest, root, {**env, ROOT_VARIABLE: str(root)})

    async def run(self, name: str, told: Callable[[bytes], None]) -> ContainerFacts:
        """Runs a container to its end, and hands on each line of its output."""
        return await self.containers[name].run(self._program(name), told)

    def has_begun(self) -> bool:
        """Whether process 1 of main has come as far as its first record."""
        return any(self.containers[p.MAIN].path(file).exists() for file in (p.STARTED_FILE, p.EXIT_FILE))

    def _program(self, name: str) -> list[str]:
        """The command of a container's process 1."""
        manifest = self.containers[name].manifest
        if name != p.MAIN:
            return [sys.executable, "-P", "-m", "millrace.inpod", *manifest["args"]]
        *options, program = manifest["command"][1:]
        return [str(self._python), *options, str(self.containers[name].path(program))]

    def stop(self) -> None:
        """Tells all to stop, as the kubelet does when a pod is deleted: user code has its grace, outputs are published."""
        for container in self.containers.values():
            container.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends all at once."""
        for container in self.containers.values():
            container.kill()


def _mount(path: Path, volume: Manifest, placed: dict[str, Path], sources: Sources) -> None:
    name = volume["name"]
    if name in placed:
        if path.is_dir():
            path.rmdir()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(placed[name])
        return
    placed[name] = path
    path.mkdir(parents=True, exist_ok=True)
    for file, text in sources.files(volume).items():
        (path / file).write_text(text, encoding="utf-8", newline="")


def _handles(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return False
    caught = next(line for line in status if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def kill_tree(pid: int) -> None:
    """SIGKILL to a process and all below it. Stopped first, so that none of them makes another meanwhile."""
    try:
        os.kill(pid, signal.SIGSTOP)
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        children = []
    for child in children:
        kill_tree(int(child))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
