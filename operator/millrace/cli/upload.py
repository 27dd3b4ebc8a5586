"""Files of this machine as inputs of a run in a cluster: versions of assets in the default store, made once per content.

The version is made of the content's checksum. So the reference is known before anything is sent, and what is there already
is found by its name.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.api.base import API_VERSION
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.cli.arguments import PLACE
from millrace.cli.assets import read_assets, ready
from millrace.cli.cluster import Cluster
from millrace.cli.documents import Object
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.cli.places import ELSEWHERE
from millrace.cli.progress import Line, files, size
from millrace.cli.reach import interruptible, reached, seconds_for
from millrace.cli.screen import Screen
from millrace.cli.stores import read_stores
from millrace.domain.assets import versions
from millrace.domain.labels import SHA256
from millrace.domain.names import child_name, dns_name
from millrace.domain.resolve import default_store
from millrace.kube.api import ApiError
from millrace.kube.resources import DATAASSET

if TYPE_CHECKING:
    from millrace.data.upload import Content

VERSION_DIGITS = 16


@dataclass(frozen=True)
class Local:
    """A file or folder of this machine, and the asset that it becomes a version of."""

    asset: str
    content: Content

    @property
    def version(self) -> str:
        """The version that has this content."""
        return self.content.sha256[:VERSION_DIGITS]


def local_inputs(texts: list[str]) -> tuple[list[str], list[Local]]:
    """The values of --input with files and folders of this machine as the versions that they become, and these."""
    found, local = [], []
    for text in texts:
        left, _, value = text.partition("=")
        if ELSEWHERE.fullmatch(value) or not value:
            found.append(text)
            continue
        each = _read(text, left.partition(":")[0], Path(value).expanduser())
        local.append(each)
        found.append(f"{left}={each.asset}:{each.version}")
    return found, local


def _read(text: str, name: str, path: Path) -> Local:
    from millrace.data.errors import DataError
    from millrace.data.upload import content

    real = path.resolve()
    if not (real.is_file() or real.is_dir()):
        what = "is neither a file nor a folder" if real.exists() else "does not exist"
        raise Refused(f"--input {text}: {path} {what}", f"a file or folder of this machine, {PLACE}, or ASSET@latest")
    try:
        found = content(real)
    except DataError as error:
        raise Refused(f"--input {text}: {error}") from None
    if not found.files:
        raise Refused(f"--input {text}: there is no file in {path}")
    return Local(dns_name(real.name)[:63].strip("-") or name, found)


async def send(cluster: Cluster, screen: Screen, local: Local) -> None:
    """Makes the version, unless it is there."""
    name, content = f"{local.asset}@{local.version}", local.content
    screen.say([Line(f"warning: {warning}", "warn") for warning in content.warnings])
    known = versions(await read_assets(cluster), local.asset).get(local.version)
    if known is not None:
        if known.metadata.annotations.get(SHA256) != content.sha256:
            raise Refused(f"{name} is there already, and nobody says that it is {content.path}", "rename the file or folder")
        await ready(cluster, _manifest(local, known.metadata.name, cluster.namespace, "", ""))
        screen.say(Line(f"{content.path.name} is {name}, which is there already: nothing is uploaded", "dim"))
        return
    store = default_store(await read_stores(cluster))
    if store is None:
        hint = f"mark one (kubectl annotate datastore NAME millrace.dev/is-default=true), or name a place: {PLACE}"
        raise Refused(f"namespace {cluster.namespace} has no default store to upload {content.path.name} to", hint)
    began = time.monotonic()
    await _upload(cluster, screen, store, local)
    seconds = max(time.monotonic() - began, 0.001)
    about = f"{size(content.bytes)}, {files(len(content.files))}, {seconds:.1f} s"
    screen.say(Line(f"{content.path.name} is {name} now: {about}, {size(int(content.bytes / seconds))}/s", "good"))


async def _upload(cluster: Cluster, screen: Screen, store: DataStore, local: Local) -> None:
    """Its bytes, then its DataAsset. The folder is new each time: what somebody deletes meanwhile is another one."""
    from millrace.data.remove import remove
    from millrace.data.upload import upload

    content = local.content
    folder = f"uploads/{local.asset}/{local.version}-{secrets.token_hex(4)}"
    item = {"type": "uri_folder", "key": folder}
    with tempfile.TemporaryDirectory(prefix="millrace-") as place:
        workshop = Path(place)
        async with AsyncExitStack() as stack:
            found = await reached(cluster, stack, store, workshop, "uploads/")
            if isinstance(found, Refused):
                from millrace.cli.relay import send as relay

                screen.say(Line(f"{found.message}: through a run's pod", "dim"))
                folder = await relay(cluster, screen, store.metadata.name, folder, content)
                await _make(cluster, local, store, _path(folder, content))
                return
            deadline = time.monotonic() + seconds_for(content.bytes)
            try:
                with screen.transfer(content.path.name, content.bytes) as progress:
                    work = partial(upload, found, folder, content, deadline=deadline, progress=progress)
                    await interruptible(work, workshop)
                kept = await _make(cluster, local, store, _path(folder, content))
            except Exception:
                with suppress(Exception):
                    await asyncio.to_thread(remove, found, item, deadline=time.monotonic() + 10)
                raise
            if kept.spec.path != _path(folder, content):  # somebody else was faster
                await asyncio.to_thread(remove, found, item, deadline=deadline)


def _path(folder: str, content: Content) -> str:
    return f"{folder}/{content.path.name}" if content.is_file else folder


async def _make(cluster: Cluster, local: Local, store: DataStore, path: str) -> DataAsset:
    name = child_name(local.asset, f"-{local.version}")
    manifest = _manifest(local, name, cluster.namespace, store.metadata.name, path)
    try:
        await cluster.post(DATAASSET, manifest)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise explain(error, f"create DataAsset {name}") from None
    return await ready(cluster, manifest)


def _manifest(local: Local, name: str, namespace: str, store: str, path: str) -> Object:
    """The DataAsset. Its data is a copy that nobody else knows of, so it goes with it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "DataAsset",
        "metadata": {"name": name, "namespace": namespace, "annotations": {SHA256: local.content.sha256}},
        "spec": {
            "asset": local.asset,
            "version": local.version,
            "type": "uri_file" if local.content.is_file else "uri_folder",
            "dataStore": store,
            "path": path,
            "reclaim": "Delete",
            "description": f"uploaded from {local.content.path.name}"[:1024],
        },
    }
