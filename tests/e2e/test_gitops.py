"""What Argo CD, Flux and kubectl diff see: no drift, no foreign labels or owners, the health of real statuses (S20)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lupa.lua51 import LuaRuntime

from support.cluster import Namespace, Object, function, job_run
from support.kstatus import kstatus
from support.store import Bucket, data_store, root_keys, secret
from support.waiting import wait_for

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gitops.md"
KINDS = ("functions.millrace.dev", "datastores.millrace.dev", "jobruns.millrace.dev")
LABELS = {"argocd.argoproj.io/instance": "app", "kustomize.toolkit.fluxcd.io/name": "app", "team": "a"}
CODE = """
import os, pathlib, time
def main(word=None, wait=0):
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "word.txt").write_text(str(word))
    time.sleep(wait)
"""


def ready(namespace: Namespace, kind: str, name: str, value: str = "True") -> Object:
    """The object, once its condition Ready has the value."""

    def look() -> Object | None:
        found = namespace.get(kind, name)
        conditions = found.get("status", {}).get("conditions", [])
        return found if any(c["type"] == "Ready" and c["status"] == value for c in conditions) else None

    return wait_for(f"{kind} {name} has Ready={value}", look)


@pytest.mark.parametrize("server_side", [False, True], ids=["client-side", "server-side"])
def test_nothing_drifts_and_nothing_of_the_users_is_taken_or_passed_on(
    namespace: Namespace, bucket: Bucket, server_side: bool
) -> None:
    objects = [
        data_store("store", bucket.name, prefix="a/b"),
        function("write", CODE, pythonVersion="3.13", description="writes"),
        job_run(
            "write-1",
            "write",
            parameters={"word": {"a": [1, 2.5, True]}},
            outputs=[{"name": "out", "asset": "words"}],
            resources={"limits": {"memory": "0.25Gi", "cpu": 0.5}},
            scratch={"size": 1073741824},
            timeouts={"running": "90s"},
        ),
    ]
    for obj in objects:
        obj["metadata"].setdefault("labels", {}).update(LABELS)
        obj["metadata"].setdefault("annotations", {})["argocd.argoproj.io/tracking-id"] = "app:x"
    namespace.apply(secret("store", **root_keys()))
    namespace.apply(*objects, server_side=server_side)
    ready(namespace, KINDS[0], "write")
    ready(namespace, KINDS[1], "store")
    assert namespace.finished("write-1")["phase"] == "Succeeded"

    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    for how in ([], ["--server-side"]) if not server_side else (["--server-side"],):
        assert namespace.kubectl("diff", *how, "-f", "-", stdin=text) == ""  # it raises where there is one
    for kind, name in zip(KINDS, ("write", "store", "write-1"), strict=True):
        meta = json.loads(namespace.kubectl("get", kind, name, "-o", "json", "--show-managed-fields"))["metadata"]
        assert meta["generation"] == 1
        assert not {"ownerReferences", "finalizers"} & set(meta), meta
        ours = [entry for entry in meta["managedFields"] if entry["manager"] == "millrace"]
        assert [entry.get("subresource") for entry in ours] == ["status"]
    children = [child for kind in ("jobs", "pods", "configmaps") for child in namespace.list(kind, "millrace.dev/component")]
    components = {child["metadata"]["labels"]["millrace.dev/component"] for child in children}
    assert {"run", "revision"} <= components <= {"run", "chore", "revision"}  # a probe's Job goes when it has answered
    for child in children:
        seen = {**child["metadata"]["labels"], **child["metadata"].get("annotations", {})}
        assert not [key for key in seen if key in LABELS or "argocd" in key], child["metadata"]
        assert child["metadata"]["ownerReferences"]


def health(obj: Object) -> tuple[str, str]:
    """What the page's script says in Argo CD: status and message."""
    [script] = re.findall(r"^```lua\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lua = LuaRuntime()
    lua.globals().obj = lua.table_from(obj, recursive=True)
    found = lua.execute(script)
    return found["status"], found["message"]


def test_the_health_of_every_kind_in_every_state(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("code", CODE),
        function("old", CODE, pythonVersion="3.7"),
        data_store("unkeyed", store.name, default=False, secret_name="missing"),
        job_run("succeeds", "code", outputs=[{"name": "o", "asset": "o"}]),
        job_run("fails", "code", parameters={"wait": "x"}, outputs=[{"name": "o", "asset": "o"}]),
        job_run("runs", "code", parameters={"wait": 600}, outputs=[{"name": "o", "asset": "o"}]),
        job_run("waits", "not-there"),
        job_run("cancelled", "not-there", cancel=True),
    )
    # State: what kstatus and the script make of it, and a word of the message.
    expected = {
        "functions code": ("Current", "Healthy", "Valid"),
        "functions old": ("Failed", "Degraded", "PythonVersionNotOffered"),
        "datastores store": ("Current", "Healthy", "Reachable"),
        "datastores unkeyed": ("InProgress", "Degraded", "missing"),
        "jobruns succeeds": ("Current", "Healthy", "Succeeded"),
        "jobruns fails": ("Failed", "Degraded", "UserError"),
        "jobruns runs": ("InProgress", "Progressing", "Running"),
        "jobruns waits": ("InProgress", "Progressing", "FunctionNotFound"),
        "jobruns cancelled": ("Failed", "Suspended", "cancelled"),
    }
    ready(namespace, KINDS[0], "code")
    ready(namespace, KINDS[0], "old", "False")
    ready(namespace, KINDS[1], "store")
    ready(namespace, KINDS[1], "unkeyed", "False")
    for name in ("succeeds", "fails", "cancelled"):
        namespace.finished(name)
    namespace.phase("runs", "Running")
    namespace.phase("waits", "Blocked")
    for what, (status, colour, word) in expected.items():
        kind, name = what.split()
        obj = namespace.get(f"{kind}.millrace.dev", name)
        assert kstatus(obj) == status, (what, obj["status"])
        found, message = health(obj)
        assert (found, word in message) == (colour, True), (what, message, obj["status"])
        unseen = {**obj, "metadata": {**obj["metadata"], "generation": 99}}
        assert (kstatus(unseen), health(unseen)[0]) == ("InProgress", "Progressing")
        del unseen["status"]
        assert health(unseen)[0] == "Progressing"

    namespace.patch(KINDS[2], "succeeds", {"spec": {"cancel": True}})
    wait_for("the edit of a finished run was seen", lambda: kstatus(namespace.run("succeeds")) == "Current")
    assert namespace.status("succeeds")["phase"] == "Succeeded"
