"""Upgrade, uninstall, and an installation without cluster rights, with runs in flight (must show 2 of issue A2; S03, C7)."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from support.cluster import Namespace, Object, Refused, condition, function, job_run, kubectl
from support.release import CHART, ROOT, Release, helm, operator_pods, previous, released
from support.store import Bucket, signed
from support.waiting import wait_for

RUNS = 10
LIGHT = {"requests": {"cpu": "1m", "memory": "16Mi"}}
SMALL = {"requests": {"cpu": "2m"}, "limits": {"memory": "96Mi"}}
WAIT = """
import os, pathlib, time, urllib.error, urllib.request, uuid
def main(go):
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / uuid.uuid4().hex).write_text("started")
    while True:
        try:
            return urllib.request.urlopen(go).close()
        except urllib.error.HTTPError:
            time.sleep(0.2)
"""
SLEEP = "import time\ndef main():\n    time.sleep(600)\n"
HELLO = "def main():\n    print('hello')\n"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release, put back when the tests of this file are over."""
    with released(tmp_path_factory.mktemp("release")) as found:
        yield found


def without_warnings(chart: Path, folder: Path) -> Path:
    """The chart, as if its JobRun's status had no warnings: an earlier version of the definitions."""
    copy = folder / "chart"
    shutil.copytree(chart, copy)
    path = copy / "files" / "crds" / "jobruns.yaml"
    definition = yaml.safe_load(path.read_text())
    del status_fields(definition)["warnings"]
    path.write_text(yaml.safe_dump(definition))
    return copy


def status_fields(definition: Object) -> Object:
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    found: Object = schema["properties"]["status"]["properties"]
    return found


def served() -> Object:
    return status_fields(json.loads(kubectl("get", "crd", "jobruns.millrace.dev", "-o", "json")))


def test_an_upgrade_from_the_commit_before_restarts_no_run_and_all_of_them_finish(
    release: Release, namespace: Namespace, store: Bucket, tmp_path: Path
) -> None:
    chart, images = previous(tmp_path)
    release.upgrade(without_warnings(chart, tmp_path), **images)
    assert "warnings" not in served()
    before = operator_pods()
    namespace.apply(function("wait", WAIT))
    names = [f"run-{number}" for number in range(RUNS)]
    output = {"name": "mark", "dataStore": {"name": "store", "path": "marks/{run}"}, "archive": "None"}
    runs = [
        job_run(name, "wait", parameters={"go": signed(store, f"go-{index % 2}")}, outputs=[output], resources=LIGHT)
        for index, name in enumerate(names)
    ]
    namespace.apply(*runs)
    for name in names:
        namespace.main_running(name, seconds=90)
    pods = {name: uids(namespace, name) for name in names}

    store.put("go-0", b"")  # half of them end while the operators change
    release.upgrade(profiles={"small": {"resources": SMALL}})
    after = operator_pods()
    store.put("go-1", b"")

    assert after != before
    statuses = {name: namespace.finished(name) for name in names}
    assert {(found["phase"], found["attempt"]) for found in statuses.values()} == {("Succeeded", 1)}, statuses
    assert {name: uids(namespace, name) for name in names} == pods, "a pod was replaced"
    assert len(namespace.list("jobs", "millrace.dev/component=run")) == RUNS
    starts = [key for key in store.names("marks/") if not key.endswith("manifest.json")]
    assert len(starts) == RUNS, starts
    assert "warnings" in served(), "helm upgrade upgrades the definitions"


def uids(namespace: Namespace, name: str) -> list[str]:
    return [pod["metadata"]["uid"] for pod in namespace.pods(name)]


def test_a_profile_comes_with_an_upgrade_and_the_run_that_waits_for_it_starts(
    release: Release, namespace: Namespace
) -> None:
    release.upgrade()
    own = {"requests": {"cpu": "1m", "memory": "16Mi"}, "limits": {"memory": "1Gi"}}
    namespace.apply(function("hello", HELLO), job_run("small-1", "hello", profile="small", resources=own))
    status = namespace.phase("small-1", "Blocked")
    assert status["reason"] == "ProfileNotFound"
    assert "offered: none" in (condition(status, "Resolved") or {})["message"]
    release.upgrade(profiles={"small": {"resources": SMALL}})
    status = namespace.finished("small-1")
    assert status["phase"] == "Succeeded", status
    wanted = {"requests": {"cpu": "2m", "memory": "16Mi"}, "limits": {"memory": "96Mi"}}
    assert status["profile"] == {"name": "small", "resources": wanted}
    [pod] = namespace.pods("small-1")
    assert pod["spec"]["containers"][0]["resources"] == wanted


def test_without_the_operator_nothing_hangs(release: Release, namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("sleep", SLEEP), job_run("sleeps", "sleep", resources=LIGHT))
    namespace.apply(job_run("waits", "not-there"), job_run("deleted", "sleep", logs="None", resources=LIGHT))
    for name in ("sleeps", "deleted"):
        namespace.main_running(name)
    namespace.phase("waits", "Blocked")
    release.uninstall()
    assert not operator_pods()
    kubectl("get", "crd", "jobruns.millrace.dev")  # with the objects of all users
    started = time.monotonic()
    namespace.kubectl("delete", "jr", "deleted", "--timeout=30s", seconds=40)
    wait_for("the pod of the deleted run is gone", lambda: not namespace.pods("deleted"), seconds=40)
    namespace.kubectl("delete", "fn,dstore", "--all", "--timeout=30s", seconds=40)
    kubectl("delete", "namespace", namespace.name, "--timeout=60s", seconds=70)
    print(f"a namespace with runs was gone {time.monotonic() - started:.0f} s after the first deletion")
    kubectl("create", "namespace", namespace.name)  # for the fixture's own deletion


def test_an_installation_without_cluster_rights_runs_and_a_namespace_without_its_role_stops_no_other(
    release: Release, tmp_path: Path
) -> None:
    release.uninstall()
    suffix = secrets.token_hex(3)
    home, a, b = (Namespace(f"{name}-{suffix}") for name in ("team-ops", "team-a", "team-b"))
    try:
        for each in (home, a, b):
            kubectl("create", "namespace", each.name)
        kubeconfig = installer(home, (home, a, b), tmp_path / "kubeconfig")
        with pytest.raises(Refused, match="cannot create resource"):
            kubectl(kubeconfig, "create", "clusterrole", "x", "--verb=get", "--resource=pods")
        values = tmp_path / "values.json"
        values.write_text(json.dumps({**release.values, "namespaces": [a.name, b.name], "crds": {"install": False}}))
        helm(*("install", "millrace", CHART, kubeconfig, "--values", values, "--wait", "--timeout=60s"), namespace=home.name)
        for each in (a, b):
            each.apply(function("hello", HELLO), job_run("hello-1", "hello"))
            assert each.finished("hello-1")["phase"] == "Succeeded"

        kubectl(kubeconfig, "-n", b.name, "delete", "rolebinding", "millrace-operator")
        deployment = ("-n", home.name, "deployment/millrace-operator")
        kubectl(kubeconfig, "rollout", "restart", *deployment)
        kubectl(kubeconfig, "rollout", "status", *deployment, "--timeout=60s", seconds=70)
        for each in (a, b):
            each.apply(job_run("hello-2", "hello"))
        assert a.finished("hello-2")["phase"] == "Succeeded"
        assert not b.status("hello-2")
        log = [json.loads(line) for line in kubectl("logs", *deployment).splitlines() if line.startswith("{")]
        assert [line["namespace"] for line in log if line["event"].startswith("namespace left out")] == [b.name]
        helm("uninstall", "millrace", kubeconfig, "--wait", "--timeout=60s", namespace=home.name)
    finally:
        kubectl("delete", "clusterrole", "millrace-installer", "--ignore-not-found")
        for each in (home, a, b):
            kubectl("delete", "namespace", each.name, "--wait=false", "--ignore-not-found")


def installer(home: Namespace, namespaces: tuple[Namespace, ...], path: Path) -> str:
    """Makes a user as docs/operations.md says: admin of these namespaces with the role of the page; returns its kubeconfig."""
    [role] = re.findall(
        r"^```yaml\n(.*?name: millrace-installer\n.*?)^```",
        (ROOT / "docs/operations.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    kubectl("apply", "-f", "-", stdin=role)
    home.kubectl("create", "serviceaccount", "installer")
    for each in namespaces:
        for name in ("admin", "millrace-installer"):
            user = f"--serviceaccount={home.name}:installer"
            each.kubectl("create", "rolebinding", f"installer-{name}", f"--clusterrole={name}", user)
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["users"] = [{"name": "installer", "user": {"token": home.kubectl("create", "token", "installer").strip()}}]
    config["contexts"][0]["context"]["user"] = "installer"
    path.write_text(json.dumps(config))
    return f"--kubeconfig={path}"
