"""A MinIO server of the tests' own, on loopback, in a temporary folder; and a proxy in front of it that fails on purpose."""

from __future__ import annotations

import http.client
import io
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from minio import Minio

from millrace.data import Credentials, Store, open_store

ROOT = Path(__file__).resolve().parents[3]
ACCESS, SECRET = "millrace-test", "millrace-test-canary"
KEYS = Credentials(ACCESS, SECRET)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_minio(folder: Path, *arguments: str, scheme: str = "http", **settings: str) -> Iterator[str]:
    """Starts MinIO below `folder` with these MINIO_ variables, yields host:port, and ends it by its pid."""
    binary = subprocess.run([ROOT / "hack" / "cluster", "tool", "minio"], capture_output=True, text=True, check=True)
    address = f"127.0.0.1:{free_port()}"
    environment = {
        "MINIO_ROOT_USER": ACCESS,
        "MINIO_ROOT_PASSWORD": SECRET,
        "MINIO_BROWSER": "off",
        "MINIO_API_ODIRECT": "off",
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        **{f"MINIO_{name}": value for name, value in settings.items()},
    }
    with (folder / "log").open("wb") as log:
        command = [
            binary.stdout.strip().splitlines()[-1],
            "server",
            "--quiet",
            "--address",
            address,
            *arguments,
            folder / "data",
        ]
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=1).close()
                if scheme == "https" or _live(address):
                    break
            except OSError:
                pass
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline, "MinIO did not start"
            time.sleep(0.1)
        yield address
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _live(address: str) -> bool:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", "/minio/health/cluster")
        return connection.getresponse().status == 200
    finally:
        connection.close()


@dataclass
class Bucket:
    """A versioned bucket, seen by minio-py, the client that is not ours."""

    client: Minio
    name: str
    address: str
    opened: list[Store] = field(default_factory=list)

    keys_of_store = KEYS
    scheme = "s3"
    signs_host = True
    aborts = True  # an upload that is given up leaves nothing
    conditional = True  # of two that complete an upload one is told no

    def entry(self, address: str | None = None, prefix: str = "") -> dict[str, Any]:
        spec = {
            "endpoint": f"http://{address or self.address}",
            "bucket": self.name,
            "region": "us-east-1",
            "prefix": prefix,
            "pathStyle": True,
        }
        return {"name": "test", "s3": spec, "credentials": True}

    def store(self, address: str | None = None, prefix: str = "") -> Store:
        """A store of ours; closed with the test."""
        self.opened.append(open_store(self.entry(address, prefix), KEYS))
        return self.opened[-1]

    def put(self, key: str, data: bytes, **more: Any) -> None:
        self.client.put_object(self.name, key, io.BytesIO(data), len(data), **more)

    def get(self, key: str) -> bytes:
        answer = self.client.get_object(self.name, key)
        try:
            data: bytes = answer.read()
            return data
        finally:
            answer.close()
            answer.release_conn()

    def keys(self, prefix: str = "") -> list[str]:
        return sorted(str(o.object_name) for o in self.client.list_objects(self.name, prefix=prefix, recursive=True))

    def versions(self, key: str) -> int:
        listed = self.client.list_objects(self.name, prefix=key, recursive=True, include_version=True)
        return sum(o.object_name == key for o in listed)

    def uploads(self, *keys: str) -> list[str]:
        """Uploads to these keys that are neither completed nor aborted (MinIO lists them by the exact key only)."""
        found = []
        for key in keys:
            found += [u.object_name for u in self.client._list_multipart_uploads(self.name, prefix=key).uploads]
        return found

    def discard(self, key: str, upload_id: str) -> None:
        """Ends an upload behind millrace's back."""
        self.client._abort_multipart_upload(self.name, key, upload_id)


@dataclass
class Rule:
    """What the proxy does to the first `times` requests that match, after letting `skip` of them pass.

    drop: the server does it, the answer is lost. refuse: the connection ends before the server hears of it.
    answer: this is answered, the server never hears of it. after: the server does it, this is answered instead.
    damage-request, damage-response, cut-response: one byte of the body is changed, or its second half is missing.
    """

    match: Callable[[str, str], bool]
    action: str
    times: int = 1
    skip: int = 0
    status: int = 500
    body: bytes = b""
    seen: int = 0


@dataclass
class Proxy:
    address: str
    upstream: str
    rules: list[Rule] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    down: bool = False
    signs_host: bool = True  # requests are signed for the proxy's address, which the server takes from the Host header
    tokens: set[str] | None = None  # only requests with one of these pass
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on(self, method: str, part: str, action: str, **more: Any) -> Rule:
        """Adds a rule for requests of this method whose path and query hold `part`."""
        rule = Rule(lambda m, path: m == method and part in path, action, **more)
        self.rules.append(rule)
        return rule

    def rule(self, method: str, path: str) -> Rule | None:
        with self.lock:
            self.requests.append((method, path))
            for rule in self.rules:
                if rule.match(method, path):
                    rule.seen += 1
                    if rule.skip < rule.seen <= rule.skip + rule.times:
                        return rule
        return None


def _flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x40]) + data[middle + 1 :] if data else data


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def log_message(self, *args: Any) -> None:
        return

    def _serve(self) -> None:
        proxy = self.proxy
        rule = proxy.rule(self.command, self.path)
        action = rule.action if rule else ""
        if proxy.down or action == "refuse":
            self._reset()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if proxy.tokens is not None and self.headers.get("Authorization", "").removeprefix("Bearer ") not in proxy.tokens:
            self._answer(401, {}, b'{"error": {"code": 401, "errors": [{"reason": "authError"}]}}')
            return
        if action == "answer":
            assert rule
            self._answer(rule.status, {}, rule.body)
            return
        if action == "damage-request":
            body = _flip(body)
        connection = http.client.HTTPConnection(proxy.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    own = name.lower() == "host" and not proxy.signs_host
                    connection.putheader(name, proxy.upstream if own else value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        headers = {k.title(): v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding")}
        if action == "drop":
            self._reset()
        elif action == "after":
            assert rule
            self._answer(rule.status, {}, rule.body)
        elif action == "damage-response":
            self._answer(answer.status, headers, _flip(content))
        elif action == "cut-response":
            self._answer(answer.status, headers, content, send=len(content) // 2)
        else:
            self._answer(answer.status, headers, content)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.connection.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes, send: int | None = None) -> None:
        self.send_response_only(status)
        length = headers.pop("Content-Length", None) or str(len(body))
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:send])
            if send is not None:
                self.wfile.flush()
                self._reset()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _serve  # noqa: N815 - http.server's names


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        return
