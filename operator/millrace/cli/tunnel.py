"""A way to a Service of the cluster for a machine outside of it: an HTTP proxy on this machine, behind it the API server.

A proxy and not a forwarded port, because the client then still speaks to http(s)://minio.minio:9000: the signature covers
that host, and a certificate is checked for it. Each connection is one to a port of a pod.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from millrace.cli.cluster import PODS, SERVICES, Cluster
from millrace.cli.errors import Refused
from millrace.cli.explain import explain
from millrace.cli.streams import Connection
from millrace.kube.api import ApiError, Object

CHUNK = 256 * 1024
HEAD_LIMIT = 64 * 1024
_SERVICE = re.compile(r"(?P<name>[a-z0-9-]+)(\.(?P<namespace>[a-z0-9-]+)(\.svc(\.[a-z0-9.-]+)?)?)?\.?")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Target(NamedTuple):
    """A port of a pod."""

    namespace: str
    pod: str
    port: int


def service_of(endpoint: str, namespace: str) -> tuple[str, str, int] | None:
    """Namespace, name and port of the Service that an endpoint names; None where it can be none: pure."""
    url = urlsplit(endpoint)
    found = _SERVICE.fullmatch(url.hostname or "")
    if not found or re.fullmatch(r"[0-9.]+", url.hostname or ""):
        return None
    port = url.port or (443 if url.scheme == "https" else 80)
    return found["namespace"] or namespace, found["name"], port


def resolvable(endpoint: str) -> bool:
    """Whether this machine knows the endpoint's host."""
    try:
        socket.getaddrinfo(urlsplit(endpoint).hostname, None)
    except (OSError, UnicodeError):
        return False
    return True


def target_port(service: Object, pod: Object, port: int) -> int | None:
    """The pod's port behind a port of the Service; None where there is none: pure."""
    entry = next((found for found in service["spec"].get("ports") or [] if found["port"] == port), None)
    if entry is None:
        return None
    target = entry.get("targetPort", port)
    if isinstance(target, int):
        return target
    ports = [found for container in pod["spec"]["containers"] for found in container.get("ports") or []]
    return next((int(found["containerPort"]) for found in ports if found.get("name") == target), None)


def is_ready(pod: Object) -> bool:
    """Whether a Service would send it requests: pure."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(found["type"] == "Ready" and found["status"] == "True" for found in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


async def find_target(cluster: Cluster, endpoint: str, namespace: str) -> Target:
    """A pod behind the endpoint's Service. Refused where there is none or the user may not look."""
    place = service_of(endpoint, namespace)
    if place is None:
        raise Refused(f"this machine cannot resolve the store's endpoint {endpoint}", "check its DNS, or a VPN that is off")
    where, name, port = place
    try:
        service = await cluster.get(SERVICES, where, name)
        selector = service["spec"].get("selector") if service else None
        pods = await cluster.select(PODS, where, selector) if selector else []
    except ApiError as error:
        raise explain(error, f"reach {endpoint}, which only the cluster resolves, through Service {where}/{name}") from None
    if service is None:
        raise Refused(
            f"this machine cannot resolve the store's endpoint {endpoint}, and the cluster has no Service {where}/{name}"
        )
    for pod in pods:
        if is_ready(pod) and (found := target_port(service, pod, port)) is not None:
            return Target(where, pod["metadata"]["name"], found)
    raise Refused(f"no ready pod is behind Service {where}/{name}, port {port}", f"kubectl get pods -n {where}")


@asynccontextmanager
async def proxy(cluster: Cluster, target: Target) -> AsyncIterator[str]:
    """The address of a proxy whose every connection ends at the target."""
    failures: list[Refused] = []
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await _serve(cluster, target, reader, writer)
        except ApiError as error:
            failures.append(explain(error, f"open a connection to pod {target.namespace}/{target.pod}"))
            with suppress(OSError):
                writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # by us, below; asyncio's streams write a traceback for a task that ends as cancelled
        finally:
            connections.discard(task)
            with suppress(OSError):
                writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=HEAD_LIMIT)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    except Exception as error:
        if failures:  # the store's client saw a broken connection only
            raise failures[0] from error
        raise
    finally:
        server.close()
        for connection in (pending := list(connections)):
            connection.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _serve(cluster: Cluster, target: Target, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    far = await cluster.dial(target.namespace, target.pod, target.port)
    try:
        if head.startswith(b"CONNECT "):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            upward = asyncio.create_task(_copy_up(reader, far))
        else:
            upward = asyncio.create_task(_requests_up(head, reader, far))
        downward = asyncio.create_task(_copy_down(far, writer))
        try:
            await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (upward, downward):
                task.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)
    finally:
        await far.close()


def origin_form(head: bytes) -> bytes:
    """A request's head as the server itself expects it: `GET http://host/key` becomes `GET /key`. Pure."""
    method, _, rest = head.partition(b" ")
    found = re.match(rb"https?://[^/ ]*", rest)
    if not found:
        return head
    path = rest[found.end() :]
    return method + b" " + (path if path.startswith(b"/") else b"/" + path)


async def _requests_up(head: bytes, reader: asyncio.StreamReader, far: Connection) -> None:
    """Sends requests on, head by head: each names the whole address, as is the custom with proxies."""
    while True:
        await far.send(origin_form(head))
        length = re.search(rb"(?im)^content-length: *(\d+)", head)
        left = int(length[1]) if length else 0
        while left:
            data = await reader.read(min(left, CHUNK))
            if not data:
                return
            left -= len(data)
            await far.send(data)
        head = await reader.readuntil(b"\r\n\r\n")


async def _copy_up(reader: asyncio.StreamReader, far: Connection) -> None:
    while data := await reader.read(CHUNK):
        await far.send(data)


async def _copy_down(far: Connection, writer: asyncio.StreamWriter) -> None:
    while data := await far.receive():
        writer.write(data)
        await writer.drain()


@contextmanager
def used_by_clients(address: str) -> Iterator[None]:
    """Makes clients that are opened meanwhile use the proxy: obstore and httpx read the environment when they are made."""
    before = {name: os.environ.get(name) for variable in _PROXY_VARIABLES for name in (variable, variable.upper())}
    try:
        for name in before:
            os.environ.pop(name, None)
        os.environ |= {"http_proxy": address, "https_proxy": address}
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
