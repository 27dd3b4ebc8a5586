"""The store of the tests behind a proxy in the test's namespace, which holds or loses requests on purpose."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.cluster import Namespace, kubectl
from support.server import serve
from support.store import Bucket, data_store, root_keys, secret
from support.waiting import wait_for

NAME = "faulty"
PROGRAM = Path(__file__).with_name("store_proxy.py")


@dataclass(frozen=True)
class FaultyStore:
    """The proxy of a namespace, and the bucket behind it."""

    namespace: Namespace
    bucket: Bucket

    def _order(self, order: str, argument: str = "") -> Any:
        path = f"/api/v1/namespaces/{self.namespace.name}/pods/{NAME}:9001/proxy/{order}"
        return json.loads(kubectl("get", "--raw", f"{path}?q={quote(argument)}" if argument else path))

    def rule(self, method: str, url: str, action: str, **more: int) -> Rule:
        """From now on: the action for requests of that method whose path and query match."""
        number = self._order("add", json.dumps({"method": method, "url": url, "action": action, **more}))
        return Rule(self, number, f"{action} {method} {url}")

    def hits(self, number: int) -> int:
        """How many requests a rule has taken."""
        return int(self._order("hits", str(number)))

    def release(self) -> None:
        """Drops what is held; the store never hears of it."""
        self._order("release")

    def away(self, seconds: float) -> None:
        """The store is away for so long: connections end, those of held requests too."""
        self._order("away")
        time.sleep(seconds)  # the outage itself
        self._order("back")

    def log(self) -> list[str]:
        """All requests."""
        found: list[str] = self._order("log")
        return found


@dataclass(frozen=True)
class Rule:
    """A rule of the proxy."""

    store: FaultyStore
    number: int
    text: str

    def hits(self) -> int:
        """How many requests it has taken."""
        return self.store.hits(self.number)

    def met(self, *, seconds: float = 150) -> None:
        """Waits for its first request."""
        wait_for(f"a request for the rule: {self.text}", self.hits, seconds=seconds, poll=0.1)


def install(namespace: Namespace, bucket: Bucket, name: str = "store") -> FaultyStore:
    """Proxy, Secret and DataStore; returns when the store is Ready."""
    program = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME},
        "data": {"proxy.py": PROGRAM.read_text()},
    }
    namespace.apply(program, secret(name, **root_keys()))
    serve(
        namespace,
        NAME,
        {"/program": {"configMap": {"name": NAME}}},
        port=9000,
        command=["python3", "-u", "/program/proxy.py"],
        readinessProbe={"httpGet": {"path": "/log", "port": 9001}, "periodSeconds": 1},
    )
    namespace.apply(data_store(name, bucket.name, endpoint=f"http://{NAME}.{namespace.name}:9000"))
    namespace.kubectl("wait", "--for=condition=Ready", f"dstore/{name}", "--timeout=60s", seconds=70)
    return FaultyStore(namespace, bucket)
