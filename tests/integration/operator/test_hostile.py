"""What users name and plant does not reach the operator: sockets, pods of their own making, what is passed through (S09, S14, S28)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from integration.operator.kubelet import Pod, answer_probe, publish, succeed
from integration.operator.rig import operator, patiently
from support.apiserver import ApiServer, Object
from support.store import data_store

LISTENS = "0A"
INPUT = {"name": "data", "dataStore": {"name": "store", "path": "in"}, "stage": "Download"}


def sockets(pid: int) -> Iterator[tuple[str, int, int]]:
    """The Internet sockets of a process: table and state, own port, port of the other end."""
    inodes = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(str(fd.readlink()))
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, own, other, state, *rest = line.split()
            if f"socket:[{rest[5]}]" in inodes:
                yield f"{table} {state}", int(own.rpartition(":")[2], 16), int(other.rpartition(":")[2], 16)


def test_the_operator_connects_to_nothing_but_the_api_server(api_server: ApiServer) -> None:
    """Its sockets are looked at all the while, and a server that everything names gets no connection."""
    with operator(api_server, start=False) as rig, socket.create_server(("127.0.0.1", 0)) as trap:
        url = f"http://127.0.0.1:{trap.getsockname()[1]}"
        rig.set(indexUrl=f"{url}/simple")
        rig.start()
        seen: set[tuple[str, int, int]] = set()
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.005):
                seen.update(sockets(rig.process.pid))

        looks = threading.Thread(target=look)
        looks.start()
        try:
            rig.function(requirements=["x"])
            rig.api.create("datastores", rig.placed(data_store("store", "bucket", endpoint=url)))
            rig.api.create(
                "datastores", rig.placed(data_store("other", "bucket", endpoint="http://localhost:9", default=False))
            )
            answer_probe(rig, "store")
            href = {"name": "elsewhere", "href": f"{url}/x"}
            rig.run("one", inputs=[INPUT], outputs=[{"name": "out", "asset": "scores"}, href])
            publish(rig, "one", "out")
            rig.phase("one", "Succeeded")
            rig.get("/metrics")
        finally:
            over.set()
            looks.join()
        ports = {urlsplit(each).port for each in (rig.proxy.url, rig.server.url)}
        health = urlsplit(rig.url).port
        assert "tcp 01" in {state for state, _, other in seen if other in ports}, "its connections are not seen"
        foreign = [found for found in seen if found[2] not in ports and found[1] != health]
        assert foreign == []
        trap.settimeout(0)
        with pytest.raises(BlockingIOError):
            trap.accept()


def test_a_foreign_pod_in_the_shape_of_a_runs_is_not_believed(api_server: ApiServer) -> None:
    """A Job under the name of the second attempt, and a pod with all labels of a run's, whose owner is named as its Job.

    The owner exists: the garbage collector takes a pod of an owner that does not.
    """
    with operator(api_server) as rig:
        rig.function()
        rig.run("one", retries=1)
        pod = Pod(rig, "one").scheduled().running().write()
        rig.phase("one", "Running")
        real = pod.object
        run = rig.api.get("jobruns", rig.namespace, "one")
        owner = {"apiVersion": run["apiVersion"], "kind": "JobRun", "name": "one", "uid": run["metadata"]["uid"]}
        labels = {key: value for key, value in real["metadata"]["labels"].items() if not key.endswith("controller-uid")}
        meta = {"name": "planted", "labels": labels, "ownerReferences": [{**owner, "controller": True}]}
        rig.api.create("pods", rig.placed({"metadata": meta, "spec": real["spec"]}))
        rig.api.merge("pods/status", rig.namespace, "planted", {"status": {"phase": "Succeeded"}})
        template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}
        foreign = {"metadata": {"name": "one-2", "labels": labels}, "spec": {"suspend": True, "template": template}}
        rig.api.create("jobs", rig.placed(foreign))
        rig.run("two")
        succeed(rig, "two")
        rig.phase("two", "Succeeded")  # by now it has seen what was planted before
        assert rig.status("one")["phase"] == "Running"
        pod.ended(code=3).over("Failed").write()
        status = rig.finished("one")
        assert (status["phase"], status["failure"]["reason"]) == ("Failed", "NameTaken"), status
        assert "one-2" in status["failure"]["message"]


# What a run may say of its pod and Pod Security `restricted` refuses, with its words.
WIDE: dict[str, tuple[Object, str]] = {
    "root": ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser=0"),
    "maybe-root": ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
    "unconfined": ({"podSecurityContext": {"seccompProfile": {"type": "Unconfined"}}}, "seccompProfile"),
    "sysctls": ({"podSecurityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "sysctls"),
    "selinux": ({"podSecurityContext": {"seLinuxOptions": {"user": "system_u"}}}, "seLinuxOptions"),
    "apparmor": ({"podSecurityContext": {"appArmorProfile": {"type": "Unconfined"}}}, "AppArmor profile"),
    "host-path": ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "hostPath"),
    "nfs": ({"volumes": [{"name": "v", "nfs": {"server": "x", "path": "/"}}]}, "restricted volume types"),
}


def test_what_a_run_passes_through_to_its_pod_is_judged_by_pod_security(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        for name, (spec, _) in WIDE.items():
            rig.run(name, **spec)
        for name, (_, word) in WIDE.items():
            status = patiently(f"{name} is refused", lambda name=name: blocked(rig.status(name)))  # type: ignore[misc]
            assert word in str(status["conditions"]), (name, status)
        assert not rig.api.list("pods", rig.namespace)


def blocked(status: Object) -> Object | None:
    """The status, where Pod Security keeps the run from starting."""
    return status if status.get("reason") == "PodSecurity" else None
