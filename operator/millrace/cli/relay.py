"""A way into a store that this machine does not reach, or whose keys its user may not read: through the pod of a run.

The run's code takes one connection from the API server's tunnel (portforward), unpacks what comes into its output folder,
and ends; the run uploads that as every run does. Nothing outside of that pod can connect to it.
"""

from __future__ import annotations

import asyncio
import io
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from millrace.api.base import API_VERSION
from millrace.api.jobrun import JobRun, Phase
from millrace.cli.cluster import Cluster
from millrace.cli.documents import Object
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.cli.follow import read_run
from millrace.cli.progress import Line, finished, headline
from millrace.cli.screen import Screen
from millrace.cli.tail import newest_pod
from millrace.data.errors import DataError
from millrace.data.upload import Content, pack
from millrace.kube.api import ApiError, Resource
from millrace.kube.resources import FUNCTION, JOBRUN

if TYPE_CHECKING:
    import aiohttp

PORT = 8467
POLL_SECONDS = 0.3
OUTPUT, TREE = "files", "tree"  # below the run's path; beside the tree lies the output's manifest
RECEIVER = f"""
import os, socket, tarfile

server = socket.create_server(("127.0.0.1", {PORT}))
server.settimeout(300)
connection, _ = server.accept()
with connection, connection.makefile("rb") as stream:
    connection.sendall(b"ready")
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extractall(os.environ["BATCH_OUTPUT_DIR"], filter="data")
    connection.sendall(b"done")
    connection.recv(1)
"""


async def relay(cluster: Cluster, screen: Screen, store: str, folder: str, content: Content) -> str:
    """Sends the files to the store through a run; returns the folder's path in the store. Function and run are removed."""
    name = f"upload-{secrets.token_hex(4)}"
    meta = {"name": name, "namespace": cluster.namespace}
    function: Object = {
        "apiVersion": API_VERSION,
        "kind": "Function",
        "metadata": meta,
        "spec": {"source": {"inline": RECEIVER}, "script": "main.py"},
    }
    output = {"name": OUTPUT, "dataStore": {"name": store, "path": folder}, "archive": "None"}
    run: Object = {
        "apiVersion": API_VERSION,
        "kind": "JobRun",
        "metadata": meta,
        "spec": {"functionRef": {"name": name}, "outputs": [output], "logs": "None", "timeouts": {"queued": "5m"}},
    }
    made: list[tuple[Resource, Object]] = []
    try:
        for resource, manifest in ((FUNCTION, function), (JOBRUN, run)):
            try:
                made.append((resource, await cluster.post(resource, manifest)))
            except ApiError as error:
                raise explain(error, f"create {manifest['kind']} {name}, which uploads {content.path.name}") from None
        await _through(cluster, screen, name, content)
    finally:
        for resource, found in reversed(made):
            with suppress(ApiError):
                await cluster.delete(resource, cluster.namespace, name, found["metadata"]["uid"])
    return f"{folder}/{OUTPUT}/{TREE}"


async def _through(cluster: Cluster, screen: Screen, name: str, content: Content) -> None:
    said = ""
    far: aiohttp.ClientWebSocketResponse | None = None
    while not finished(run := await read_run(cluster, name)):
        if run.status.phase is Phase.BLOCKED and headline(run) != said:
            said = headline(run)
            screen.say(Line(f"the upload waits: {said}", "warn"))
        if run.status.phase is Phase.RUNNING and far is None:
            far = await _connected(cluster, run)
            if far is not None:
                await _send(screen, far, content)
        await asyncio.sleep(POLL_SECONDS)
    [*outputs] = run.status.outputs
    if run.status.phase is not Phase.SUCCEEDED or not outputs:
        message = run.status.failure.message if run.status.failure else ""
        raise Refused(f"{content.path.name} was not uploaded: {headline(run)}", *message.splitlines()[-1:])
    if (outputs[0].bytes, outputs[0].files) != (content.bytes, len(content.files)):
        raise Refused(f"{content.path.name} was not uploaded whole", "try again")


async def _connected(cluster: Cluster, run: JobRun) -> aiohttp.ClientWebSocketResponse | None:
    """A connection to the run's code; None where that does not listen yet."""
    meta = run.metadata
    try:
        pod = await newest_pod(cluster, meta.namespace, str(run.status.job_name))
        if pod is None:
            return None
        far = await cluster.dial(meta.namespace, pod.name, PORT)
    except ApiError as error:
        raise explain(error, f"open a connection to the pod of JobRun {meta.name}") from None
    if await _answer(far, b"ready"):
        return far
    await far.close()
    return None


async def _answer(far: aiohttp.ClientWebSocketResponse, expected: bytes) -> bool:
    """Whether the other end says so. A message begins with its channel; the first of each holds the port, 1 are errors."""
    said = b""
    async for message in far:
        data = message.data
        if not isinstance(data, bytes) or not data or (data[0] in (0, 1) and len(data) == 3 and data[1:] == _PORT):
            continue
        if data[0] == 1:
            return False
        said += data[1:]
        if said.endswith(expected):
            return True
    return False


_PORT = PORT.to_bytes(2, "little")


class _Stream(io.RawIOBase):
    """What is written goes to the connection, from another thread."""

    def __init__(self, far: aiohttp.ClientWebSocketResponse) -> None:
        self._far, self._loop = far, asyncio.get_running_loop()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        asyncio.run_coroutine_threadsafe(self._far.send_bytes(b"\0" + bytes(data)), self._loop).result()
        return len(data)


async def _send(screen: Screen, far: aiohttp.ClientWebSocketResponse, content: Content) -> None:
    try:
        with screen.transfer(content.path.name, content.bytes) as progress:
            await asyncio.to_thread(pack, content, _Stream(far), TREE, progress)  # type: ignore[arg-type]
        await _answer(far, b"done")  # where it does not come the run fails, and says why
    except (OSError, DataError) as error:
        raise Refused(f"{content.path.name} was not uploaded: {error}", "try again") from None
    finally:
        await far.close()
