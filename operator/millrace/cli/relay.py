"""A way to a store that this machine does not reach, or whose keys its user has not: through the pod of a run.

The run's code takes one connection from the API server's tunnel (portforward). To upload it unpacks what comes into its
output folder, which the run publishes as every run does; to download it sends what `stage` has put into its input folder.
Nothing outside of that pod can connect to it. Function and run are removed.
"""

from __future__ import annotations

import asyncio
import secrets
import tarfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from millrace.api.base import API_VERSION
from millrace.api.jobrun import JobRun, Phase
from millrace.cli.cluster import Cluster
from millrace.cli.documents import Object
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.cli.fetch import Fetched, Source
from millrace.cli.follow import read_run
from millrace.cli.progress import Line, finished, headline
from millrace.cli.reach import seconds_for
from millrace.cli.screen import Screen
from millrace.cli.streams import Connection, Incoming, Outgoing
from millrace.cli.tail import newest_pod
from millrace.data.errors import DataError
from millrace.data.upload import Content, pack
from millrace.kube.api import ApiError, Resource
from millrace.kube.resources import FUNCTION, JOBRUN

PORT = 8467
POLL_SECONDS = 0.3
OUTPUT, TREE = "files", "tree"  # below the run's path; beside the tree lies the output's manifest
READY, DONE, GO = b"ready", b"done", b"go"
LISTEN = f"""
import os, socket, tarfile

server = socket.create_server(("127.0.0.1", {PORT}))
server.settimeout(300)
connection, _ = server.accept()
connection.sendall({READY!r})
"""
RECEIVER = f"""{LISTEN}
with connection, connection.makefile("rb") as stream:
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(os.environ["BATCH_OUTPUT_DIR"], filter="data")
    connection.sendall({DONE!r})
    connection.recv(1)
"""
SENDER = f"""{LISTEN}
with connection, connection.makefile("wb") as stream:
    connection.recv({len(GO)}, socket.MSG_WAITALL)
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.add(os.environ["BATCH_INPUT_DIR"], arcname=".")
    stream.flush()
    connection.recv(1)
"""


@dataclass(frozen=True)
class Errand:
    """What a run is made for: what it does with what, its code, its spec, and what is said over the connection to it."""

    verb: Literal["upload", "download"]
    what: str
    bytes: int | None  # None: not known
    code: str
    spec: Object
    talk: Callable[[Connection], Awaitable[None]]


async def send(cluster: Cluster, screen: Screen, store: str, folder: str, content: Content) -> str:
    """Sends files of this machine to the store; returns their folder's path there."""

    async def talk(far: Connection) -> None:
        with screen.transfer(content.path.name, content.bytes) as progress:
            await asyncio.to_thread(pack, content, Outgoing(far), TREE, progress)  # type: ignore[arg-type]
        await far.hears(DONE)  # where it does not come the run fails, and says why

    output = {"name": OUTPUT, "dataStore": {"name": store, "path": folder}, "archive": "None"}
    errand = Errand("upload", content.path.name, content.bytes, RECEIVER, {"outputs": [output]}, talk)
    run = await _run(cluster, screen, errand)
    if [(found.bytes, found.files) for found in run.status.outputs] != [(content.bytes, len(content.files))]:
        raise Refused(f"{content.path.name} was not uploaded whole", "try again")
    return f"{folder}/{OUTPUT}/{TREE}"


async def receive(cluster: Cluster, screen: Screen, source: Source, target: Path) -> Fetched:
    """Fetches a file or a folder of the store into the folder `target`."""

    count = 0

    async def talk(far: Connection) -> None:
        nonlocal count
        await far.send(GO)
        with screen.transfer(source.name, source.bytes) as progress:
            count = await asyncio.to_thread(_unpack, Incoming(far), target, progress)

    place = {"name": source.store.metadata.name, "path": source.path}
    spec: Object = {"inputs": [{"name": "data", "dataStore": place, "type": source.type, "stage": "Download"}]}
    if source.account:
        spec["serviceAccountName"] = source.account
    run = await _run(cluster, screen, Errand("download", source.name, source.bytes, SENDER, spec, talk))
    [staged] = run.status.inputs
    if count != staged.files:
        raise Refused(f"{source.name} was not downloaded whole: {count} files of {staged.files}", "try again")
    return Fetched(staged.bytes or 0, count, staged.sha256 or "")


def _unpack(stream: Incoming, target: Path, progress: Callable[[int, int], None]) -> int:
    """The number of files that have come."""
    size = count = 0
    with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload] # it reads, no more is asked for
        for member in archive:
            archive.extract(member, target, filter="data")
            size, count = size + member.size, count + member.isfile()
            progress(size, count)
    return count


async def _run(cluster: Cluster, screen: Screen, errand: Errand) -> JobRun:
    """The run when it has done its errand; Function and run are removed."""
    name = f"{errand.verb}-{secrets.token_hex(4)}"
    meta = {"name": name, "namespace": cluster.namespace}
    code = {"source": {"inline": errand.code}, "script": "main.py"}
    spec = {"functionRef": {"name": name}, "logs": "None", "timeouts": {"queued": "5m"}, **errand.spec}
    manifests: tuple[tuple[Resource, Object], ...] = ((FUNCTION, code), (JOBRUN, spec))
    made: list[tuple[Resource, Object]] = []
    try:
        for resource, content in manifests:
            manifest = {"apiVersion": API_VERSION, "kind": resource.kind, "metadata": meta, "spec": content}
            try:
                made.append((resource, await cluster.post(resource, manifest)))
            except ApiError as error:
                what = f"create {resource.kind} {name}, which {errand.verb}s {errand.what}"
                raise explain(error, what) from None
        return await _through(cluster, screen, name, errand)
    finally:
        for resource, found in reversed(made):
            try:
                await cluster.delete(resource, cluster.namespace, name, found["metadata"]["uid"])
            except ApiError as error:
                left = explain(error, f"delete {resource.kind} {name}, which is needed no more").message
                screen.say(Line(f"warning: {left}", "warn"))


async def _through(cluster: Cluster, screen: Screen, name: str, errand: Errand) -> JobRun:
    said, failed = "", f"{errand.what} was not {errand.verb}ed"
    far: Connection | None = None
    while not finished(run := await read_run(cluster, name)):
        if run.status.phase is Phase.BLOCKED and headline(run) != said:
            said = headline(run)
            screen.say(Line(f"waiting for the pod that {errand.verb}s {errand.what}: {said}", "warn"))
        if run.status.phase is Phase.RUNNING and far is None:
            far = await _connected(cluster, run)
            if far is not None:
                await _talk(errand, far, failed)
        await asyncio.sleep(POLL_SECONDS)
    if run.status.phase is not Phase.SUCCEEDED:
        message = run.status.failure.message if run.status.failure else ""
        raise Refused(f"{failed}: {headline(run)}", *message.splitlines()[-1:])
    return run


async def _talk(errand: Errand, far: Connection, failed: str) -> None:
    limit = seconds_for(errand.bytes)
    try:
        async with asyncio.timeout(limit):
            await errand.talk(far)
    except TimeoutError:
        raise Refused(f"{failed} within {limit:.0f} seconds", "try again") from None
    except (OSError, tarfile.TarError, DataError) as error:
        raise Refused(f"{failed}: {error}", "try again") from None
    finally:
        await far.close()


async def _connected(cluster: Cluster, run: JobRun) -> Connection | None:
    """A connection to the run's code; None where that does not listen yet."""
    meta = run.metadata
    try:
        pod = await newest_pod(cluster, meta.namespace, str(run.status.job_name))
        if pod is None:
            return None
        far = await cluster.dial(meta.namespace, pod.name, PORT)
    except ApiError as error:
        raise explain(error, f"open a connection to the pod of JobRun {meta.name}") from None
    if await far.hears(READY):
        return far
    await far.close()
    return None
