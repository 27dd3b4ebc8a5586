"""A real API server with its etcd on loopback: no kubelet, and only the controllers that are asked for.

It is the one of hack/cluster, which builds it; nothing of the cluster itself is touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from lib.cluster import pki, tools

from support.waiting import wait_for

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CONTROLLERS = ("job-controller", "garbage-collector-controller")
START_SECONDS = 60  # it takes 4 where the machine has nothing else to do
STOP_SECONDS = 20
STARTING = threading.Lock()  # each start takes all cores for seconds

_GROUPS = {
    "cronjobs": "/apis/batch/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
    "dataassets": "/apis/millrace.dev/v1alpha1",
    "datastores": "/apis/millrace.dev/v1alpha1",
    "deployments": "/apis/millrace.dev/v1alpha1",
    "functions": "/apis/millrace.dev/v1alpha1",
    "jobruns": "/apis/millrace.dev/v1alpha1",
    "jobs": "/apis/batch/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "workflows": "/apis/argoproj.io/v1alpha1",
}


class Refused(Exception):
    """The API server said no: HTTP status, and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Client:
    """Requests of the tests, on plain dicts. Resources are named by their plural, `jobruns/status` for the subresource."""

    def __init__(self, url: str, trust: ssl.SSLContext, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.Client(base_url=url, verify=trust, headers=headers, timeout=30, trust_env=False)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def healthy(self) -> bool:
        """Whether the API server says so."""
        return self._http.get("/healthz").is_success

    def request(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json", **query: str
    ) -> Object:
        """One request; raises Refused."""
        content = None if body is None else json.dumps(body)
        answer = self._http.request(method, path, content=content, params=query, headers={"Content-Type": content_type})
        if answer.status_code >= 400:
            try:
                message = answer.json()["message"]
            except ValueError:
                message = answer.text
            raise Refused(answer.status_code, message)
        found: Object = answer.json()
        return found

    @staticmethod
    def _path(resource: str, namespace: str | None, name: str | None = None) -> str:
        plural, _, subresource = resource.partition("/")
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = (plural, name, subresource)
        return _GROUPS.get(plural, "/api/v1") + scope + "".join(f"/{part}" for part in parts if part)

    def create(self, resource: str, obj: Object, *, strict: bool = False) -> Object:
        """POST; `strict` as kubectl asks for it: unknown fields are refused."""
        meta = obj["metadata"]
        name = meta["name"] if "/" in resource else None
        query = {"fieldValidation": "Strict"} if strict else {}
        return self.request("POST", self._path(resource, meta.get("namespace"), name), obj, **query)

    def get(self, resource: str, namespace: str | None, name: str) -> Object:
        """The object."""
        return self.request("GET", self._path(resource, namespace, name))

    def find(self, resource: str, namespace: str | None, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self.get(resource, namespace, name)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def list(self, resource: str, namespace: str | None = None, **query: str) -> list[Object]:
        """All objects of a resource."""
        items: list[Object] = self.request("GET", self._path(resource, namespace), **query)["items"]
        return items

    def merge(self, resource: str, namespace: str | None, name: str, patch: Object) -> Object:
        """JSON merge patch."""
        path = self._path(resource, namespace, name)
        return self.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def delete(self, resource: str, namespace: str | None, name: str, policy: str = "Background") -> Object:
        """DELETE."""
        return self.request("DELETE", self._path(resource, namespace, name), {"propagationPolicy": policy})


class ApiServer:
    """etcd, kube-apiserver and, with `controllers`, kube-controller-manager."""

    def __init__(self, folder: Path, controllers: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.url = f"https://127.0.0.1:{free_port()}"
        self._controllers = controllers
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.pki = folder / "pki"

    def start(self) -> None:
        """Starts the servers; returns when the API server is ready."""
        pki.make(self.pki, "localhost", "127.0.0.1")
        pki.kubeconfig(self.pki, "admin", self.url, self.kubeconfig)
        etcd = f"http://127.0.0.1:{free_port()}"
        self.run("etcd", *_etcd(self.folder, etcd))
        self.run("kube-apiserver", *_api_server(self.pki, self.url, etcd))
        self.admin = Client(self.url, self.trust("admin"))
        wait_for("the API server", self._ready, seconds=START_SECONDS, poll=0.05)

    def start_controllers(self) -> None:
        """Starts those that were asked for. After the CRDs: the garbage collector asks again which kinds there are only every
        30 s, and waits longer and longer before it looks at an object again whose owner's kind it does not know.
        """
        if self._controllers:
            self.run("kube-controller-manager", *_controller_manager(self.folder, self._controllers))

    def run(self, name: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """Starts a server, which ends with this one."""
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [str(tools.binary(name)), *arguments]
            process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self._processes[name] = process
        return process

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to one of the servers: etcd, kube-apiserver, kube-controller-manager."""
        self._processes[name].send_signal(number)

    def restart(self) -> None:
        """Kills the API server and starts it again; returns when it is ready."""
        process = self._processes["kube-apiserver"]
        process.kill()
        process.wait(STOP_SECONDS)
        self.run("kube-apiserver", *process.args[1:])  # type: ignore[index]
        wait_for("the API server", self._ready, seconds=START_SECONDS, poll=0.05)

    def check(self) -> None:
        """Fails where one of the servers has ended."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise AssertionError(f"{name} has ended: {(self.folder / f'{name}.log').read_text()[-2000:]}")

    def _ready(self) -> bool:
        self.check()
        try:
            if not self.admin.healthy():  # what kube-controller-manager waits for, not for long
                return False
            # A first write needs the namespace; it comes a moment after the server says that it is ready.
            self.admin.request("GET", "/api/v1/namespaces/default")
        except (httpx.TransportError, Refused):
            return False
        return True

    def stop(self) -> None:
        """Ends the servers, the last one first."""
        with contextlib.suppress(AttributeError):
            self.admin.close()
        for process in reversed(self._processes.values()):
            process.kill()  # nothing is kept
            process.wait(STOP_SECONDS)

    def trust(self, who: str | None = None) -> ssl.SSLContext:
        """Trusts the API server; with the certificate of `who`."""
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        if who:
            context.load_cert_chain(self.pki / f"{who}.crt", self.pki / f"{who}.key")
        return context

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """kubectl, as users have it, with its exit code, output and complaints."""
        command = [tools.binary("kubectl"), f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.folder / 'cache'}"]
        return subprocess.run(
            [*map(str, command), *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def token(self, namespace: str, service_account: str) -> str:
        """A token of a ServiceAccount."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{service_account}/token"
        found: str = self.admin.request("POST", path, request)["status"]["token"]
        return found

    def client(self, token: str) -> Client:
        """A client with a token."""
        return Client(self.url, self.trust(), token)

    def namespace(self, name: str, **labels: str) -> None:
        """Makes a namespace."""
        meta = {"name": name, "labels": labels}
        self.admin.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})

    def apply(self, *objects: Object) -> None:
        """kubectl apply, strictly validated."""
        text = "\n---\n".join(json.dumps(obj) for obj in objects)
        done = self.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr

    def install_crds(self) -> None:
        """The generated CRDs; returns when they are served."""
        folder = ROOT / "crds"
        done = self.kubectl("apply", "--server-side", "--validate=strict", "-f", str(folder))
        assert done.returncode == 0, done.stderr
        done = self.kubectl("wait", "--for=condition=Established", "-f", str(folder), "--timeout=30s")
        assert done.returncode == 0, done.stderr


def _etcd(folder: Path, url: str) -> list[str]:
    peer = f"http://127.0.0.1:{free_port()}"
    return [
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def _api_server(keys: Path, url: str, etcd: str) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",
        f"--secure-port={url.rpartition(':')[2]}",
        "--service-cluster-ip-range=10.0.0.0/24",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--service-account-key-file={keys / 'sa.pub'}",
        f"--service-account-signing-key-file={keys / 'sa.key'}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=RBAC",
        # It waits for a ServiceAccount `default` that a controller makes.
        "--disable-admission-plugins=ServiceAccount",
        "--allow-privileged=true",
    ]


def _controller_manager(folder: Path, controllers: tuple[str, ...]) -> list[str]:
    return [
        f"--kubeconfig={folder / 'admin.kubeconfig'}",  # its own user may only ask for the rights of each controller
        f"--controllers={','.join(controllers)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-job-syncs=20",
    ]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(controllers: tuple[str, ...] = ()) -> Iterator[ApiServer]:
    """An API server with our CRDs, stopped and forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix="millrace-api-") as folder:
        server = ApiServer(Path(folder), controllers)
        try:
            with STARTING:
                server.start()
            server.install_crds()
            server.start_controllers()
            yield server
        finally:
            server.stop()
