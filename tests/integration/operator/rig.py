"""The operator as a process, with the rights and the settings that the chart gives it, behind a proxy of its own.

What a kubelet would write, the tests write (kubelet.py); the Job controller and the garbage collector are the real ones.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from lib.cluster import tools

from integration.operator import oracle
from support import cluster, proxy
from support.apiserver import ROOT, ApiServer, Object, free_port
from support.waiting import wait_for

POLL = 0.1
PATIENCE = 120  # seconds for what takes one or two where the machine has nothing else to do
STARTING = threading.Semaphore(2)  # of which each start takes one core
T = TypeVar("T")
TERMINAL = {"Succeeded", "Failed", "Cancelled"}


def patiently(what: str, look: Callable[[], T | None]) -> T:
    """What `look` finds, sooner or later."""
    return wait_for(what, look, seconds=PATIENCE, poll=POLL)


def rendered(namespace: str, namespaces: list[str]) -> list[Object]:
    """What the chart installs for the operator: its rights and its settings."""
    command = [
        tools.binary("helm"),
        *("template", "millrace", ROOT / "helm" / "millrace", "--namespace", namespace),
        *("--set-json", f"namespaces={json.dumps(namespaces)}"),
        *("--show-only", "templates/rbac.yaml", "--show-only", "templates/configmap.yaml"),
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [found for found in yaml.safe_load_all(done.stdout) if found]


class Rig:
    """One operator, its proxy, and the namespace that it works in."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server, self.api, self.folder = server, server.admin, folder
        self.namespace = f"t-{secrets.token_hex(4)}"
        self.namespaces = [self.namespace]  # where the chart gives it a Role; none: a ClusterRole
        self.replica = "operator"
        self.prefix: list[str] = []  # of the operator's command
        self.settings: Object = {}  # those that the chart makes
        self.proxy = proxy.Proxy(server.url, server.trust(), self._certificate())
        self.processes: list[subprocess.Popen[bytes]] = []
        self.url = ""

    def _certificate(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.server.pki / "apiserver.crt", self.server.pki / "apiserver.key")
        return context

    # --- The process --------------------------------------------------------------------------------------------------

    def install(self) -> None:
        """Namespace, rights, settings, proxy: all but the process."""
        if not self.settings:
            self._install_chart()
        self.proxy.start()
        token = self.server.token(self.namespace, "millrace-operator")
        (self.folder / "kubeconfig").write_text(json.dumps(self._kubeconfig(token)))

    def _install_chart(self) -> None:
        self.server.namespace(self.namespace, **{"pod-security.kubernetes.io/enforce": "restricted"})
        objects = rendered(self.namespace, self.namespaces)
        config_map = next(found for found in objects if found["kind"] == "ConfigMap")
        self.server.apply(*(found for found in objects if found["kind"] != "ConfigMap"))
        self.settings = yaml.safe_load(config_map["data"]["config.yaml"])

    def set(self, **settings: Any) -> None:
        """Changes the settings of the next start."""
        self.settings |= settings

    def _kubeconfig(self, token: str) -> Object:
        authority = base64.b64encode((self.server.pki / "ca.crt").read_bytes()).decode()
        context = {"cluster": "test", "user": "operator"}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.proxy.url, "certificate-authority-data": authority}}],
            "users": [{"name": "operator", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": context}],
            "current-context": "test",
        }

    def without_proxy(self) -> None:
        """Its requests go straight to the API server, where the proxy would be what is measured."""
        path = self.folder / "kubeconfig"
        path.write_text(path.read_text().replace(self.proxy.url, self.server.url))

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        return self.processes[-1]

    def start(self, *, ready: bool = True) -> None:
        """Starts the operator, or another one; returns when it is ready."""
        if ready:
            with STARTING:
                self._spawn()
                wait_for("the operator is ready", self.ready, seconds=PATIENCE, poll=POLL)
        else:
            self._spawn()

    def _spawn(self) -> None:
        (self.folder / "config.yaml").write_text(json.dumps(self.settings))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            "HOME": str(self.folder),
            "KUBECONFIG": str(self.folder / "kubeconfig"),
            "MILLRACE_CONFIG": str(self.folder / "config.yaml"),
            "MILLRACE_LEASE": f"{self.namespace}/millrace-operator",
            "MILLRACE_PORT": str(port),
            "PATH": os.environ["PATH"],
            # One that is started after another's end is that one's container again; beside another it is another pod.
            "POD_NAME": f"{self.replica}-{sum(process.poll() is None for process in self.processes)}",
            "PYTHONPATH": str(ROOT / "operator"),
        }
        with (self.folder / "operator.log").open("ab") as log:
            command = [*self.prefix, sys.executable, "-m", "millrace.app"]
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder
            )
        self.processes.append(process)

    def get(self, path: str) -> httpx.Response | None:
        """An answer of its health port; None while there is none."""
        try:
            return httpx.get(self.url + path, timeout=2, trust_env=False)
        except httpx.TransportError:
            return None

    def ready(self) -> bool:
        """Whether it says that it is; fails where it has ended."""
        assert self.process.poll() is None, f"the operator has ended: {self.log[-3000:]}"
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 200

    def terminate(self, *, seconds: float = 20) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def _restart(self) -> None:
        self.kill()
        self.start(ready=False)

    def cut(self, how: str) -> proxy.Fault:
        """What befalls a write: it or its answer is lost, or the operator is killed beside it and started again."""
        return {
            "killed before": proxy.instead(self._restart, after=False),
            "killed after": proxy.instead(self._restart, after=True),
            "lost": proxy.drop_before(),
            "answer lost": proxy.drop_response(),
        }[how]

    @property
    def log(self) -> str:
        """What it has logged."""
        path = self.folder / "operator.log"
        return path.read_text() if path.exists() else ""

    @property
    def events(self) -> list[Object]:
        """The lines of its log."""
        found = []
        for line in self.log.splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def close(self) -> None:
        """Ends proxy and processes. In this order: a rule of the proxy may start another process."""
        try:
            self.proxy.stop()
        finally:
            for process in self.processes:
                process.kill()
                process.wait(10)

    # --- Objects ------------------------------------------------------------------------------------------------------

    def function(self, name: str = "f", **spec: Any) -> None:
        """Makes a Function."""
        self.api.create("functions", self.placed(cluster.function(name, "def main(): pass", **spec)))

    def deployment(self, name: str = "d", **spec: Any) -> None:
        """Makes a Deployment of the Function f."""
        self.api.create("deployments", self.placed(cluster.deployment(name, "f", **spec)))

    def run_by(self, deployment: str, name: str, **spec: Any) -> Object:
        """Makes a JobRun of a Deployment."""
        return self.api.create("jobruns", self.placed(cluster.deployment_run(name, deployment, **spec)))

    def run(self, name: str, **spec: Any) -> Object:
        """Makes a JobRun of the Function f."""
        return self.run_of("f", name, **spec)

    def run_of(self, function: str, name: str, **spec: Any) -> Object:
        """Makes a JobRun."""
        return self.api.create("jobruns", self.placed(cluster.job_run(name, function, **spec)))

    def placed(self, obj: Object) -> Object:
        """The object, in the namespace."""
        return {**obj, "metadata": {"namespace": self.namespace, **obj["metadata"]}}

    def status(self, name: str) -> Object:
        """Status of a JobRun."""
        found: Object = self.api.get("jobruns", self.namespace, name).get("status", {})
        return found

    def phase(self, name: str, *phases: str, seconds: float = PATIENCE) -> Object:
        """Status of a JobRun that has one of the phases; fails where it is over with another."""

        def look() -> Object | None:
            status = self.status(name)
            found = status.get("phase")
            if found in TERMINAL and found not in phases:
                raise AssertionError(f"{name} is {found}: {status}")
            return status if found in phases else None

        return wait_for(f"{name} is {' or '.join(phases)}", look, seconds=seconds, poll=POLL)

    def finished(self, name: str, *, seconds: float = PATIENCE) -> Object:
        """Status of a JobRun that is over."""
        return self.phase(name, *TERMINAL, seconds=seconds)

    def job(self, name: str, *, seconds: float = PATIENCE) -> Object:
        """A Job, once it is there."""
        return wait_for(f"Job {name}", lambda: self.api.find("jobs", self.namespace, name), seconds=seconds, poll=POLL)

    def leader(self) -> str:
        """Who holds the Lease; empty: nobody."""
        lease = self.api.find("leases", self.namespace, "millrace-operator")
        holder: str = lease["spec"]["holderIdentity"] if lease else ""
        return holder

    def jobs(self, run: str) -> list[Object]:
        """The Jobs of a run."""
        return self.api.list("jobs", self.namespace, labelSelector=f"millrace.dev/jobrun={run}")

    # --- What it did --------------------------------------------------------------------------------------------------

    def made(self) -> Counter[tuple[str, str]]:
        """How many POSTs of each Job, by its run's UID and its name, the API server has accepted."""
        return Counter(
            (request.object["metadata"]["ownerReferences"][0]["uid"], request.object["metadata"]["name"])
            for request in self.proxy.log
            if request.verb == "create" and request.resource == "jobs" and request.status == 201
            if "ownerReferences" in request.object["metadata"]  # what has no owner is made again where it is missing
        )


@contextlib.contextmanager
def operator(server: ApiServer, *, start: bool = True, **attributes: Any) -> Iterator[Rig]:
    """A rig, started, and checked at its end."""
    with tempfile.TemporaryDirectory(prefix="millrace-rig-") as folder:
        rig = Rig(server, Path(folder))
        for name, value in attributes.items():
            setattr(rig, name, value)
        rig.install()
        try:
            if start:
                rig.start()
            yield rig
            oracle.check(rig)
        except BaseException as error:
            requests = "\n".join(map(str, rig.proxy.log[-60:]))
            error.add_note(f"--- log of the operator\n{rig.log[-6000:]}\n--- its requests\n{requests}")
            raise
        finally:
            rig.close()
