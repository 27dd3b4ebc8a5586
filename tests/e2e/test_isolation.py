"""User code gets no credential and can neither forge nor leak: promises 3 and 7, S01, S10 and S11, on the cluster."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import urllib.parse

import pytest
from minio.credentials import StaticProvider
from minio.minioadmin import MinioAdmin

from support.cluster import Namespace, Refused, function, job_run, kubectl
from support.store import Bucket, data_store, root_keys, secret
from support.waiting import wait_for

LEVEL = "pod-security.kubernetes.io/enforce"
CURIOUS = """
import glob, json, os, pathlib
out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
def main(data):
    seen = dict(os.environ, pids=[int(pid) for pid in os.listdir("/proc") if pid.isdigit()], own=os.getpid())
    for pattern in ("/proc/*/environ", "/proc/*/cmdline", "/proc/*/maps", "/proc/*/mem", "/proc/*/mountinfo",
                    "/run/secrets/**", "/var/run/secrets/**", "/millrace/**"):
        for path in glob.glob(pattern, recursive=True):
            try:
                with open(path, "rb") as file:
                    seen[path] = file.read(100_000).decode(errors="replace")
            except OSError as error:
                seen[path] = error.strerror
    (out / "seen.json").write_text(json.dumps(seen))
    print(seen)
    raise SystemExit("the end of it")
"""


def test_a_store_credential_is_nowhere_but_in_its_secret(namespace: Namespace, bucket: Bucket) -> None:
    access, key = f"canary{secrets.token_hex(5)}", f"canary-{secrets.token_urlsafe(24)}"
    root = root_keys()
    admin = MinioAdmin(
        endpoint=os.environ["MILLRACE_MINIO_ENDPOINT"].removeprefix("http://"),
        credentials=StaticProvider(root["access_key"], root["secret_key"]),
        secure=False,
    )
    admin.user_add(access, key)
    admin.policy_set("readwrite", user=access)
    bucket.put("in/x.txt", b"x")
    namespace.apply(
        secret("store", access_key=access, secret_key=key),
        data_store("store", bucket.name),
        function("curious", CURIOUS),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "curious"}},
        job_run(
            "curious-1",
            "curious",
            serviceAccountName="curious",  # no reason to get its token
            inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}}],
            outputs=[{"name": "out", "dataStore": {"name": "store", "path": "res"}, "when": "Always"}],
        ),
    )
    status = namespace.finished("curious-1")
    assert (status["phase"], status["failure"]["reason"]) == ("Failed", "UserError"), status
    kinds = kubectl("api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    everything = namespace.kubectl("get", ",".join(k for k in kinds if k != "secrets"), "-o", "yaml")
    assert "curious-1" in everything
    (pod,) = namespace.pods("curious-1")
    logs = [namespace.kubectl("logs", pod["metadata"]["name"], "-c", name) for name in ("stage", "main", "collect")]
    operator = kubectl("-n", "millrace-system", "logs", "deploy/millrace-operator")
    stored = [bucket.get(name) for name in bucket.names()]
    text = bucket.unzip("res/out.zip")["seen.json"]
    seen = json.loads(text)
    assert "BATCH_INPUT_DIR" in seen
    assert set(seen["pids"]) == {1, seen["own"]}, "processes of other containers"
    mounts = [line.split()[4] for line in seen["/proc/self/mountinfo"].splitlines()]
    assert "/millrace/run" in mounts
    assert not [path for path in (*seen, *mounts) if "secrets" in path or path.startswith("/millrace/seal")]
    places = [everything, *logs, operator, *(data.decode(errors="replace") for data in (*stored, text))]
    forms = {key, base64.b64encode(key.encode()).decode(), urllib.parse.quote(key)}
    for place in places:
        assert not [form for form in forms if form in place]
    assert access not in everything


FORGER = """
import json, os, pathlib, signal, socket, sys
out, run = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]), pathlib.Path("/millrace/run")
def attempt(what, do):
    try:
        do()
        print("DID", what, flush=True)
    except OSError as error:
        print("could not", what, error, flush=True)
def main():
    (out / "half.txt").write_text("half")
    body = json.dumps({"exitCode": 0, "reason": "Completed", "message": "", "started": "2026-01-01T00:00:00Z",
                       "exited": "2026-01-01T00:00:00Z", "logTail": ""})
    def forge():
        path = run / "exit.json"
        path.unlink(missing_ok=True)
        path.write_text(json.dumps({"body": body, "hmac": "0" * 64}))
    attempt("forge the exit record", forge)
    attempt("remove the lock", lambda: os.unlink("/millrace/ctl/lock"))
    attempt("replace the lock", lambda: pathlib.Path("/millrace/ctl/lock").write_text(""))
    attempt("write an input", lambda: pathlib.Path("/millrace/in/x").write_text(""))
    attempt("read the key", lambda: print((run / "key").read_bytes()))
    attempt("read process 1", lambda: open("/proc/1/mem", "rb"))
    attempt("kill process 1", lambda: os.kill(1, signal.SIGKILL))
    sys.exit(7)
"""


def test_user_code_that_forges_its_exit_publishes_nothing_as_a_success(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("forger", FORGER),
        job_run("forger-1", "forger", outputs=[{"name": "out", "dataStore": {"name": "store", "path": "res"}}]),
    )
    status = namespace.finished("forger-1")
    assert (status["phase"], status["failure"]["exitCode"]) == ("Failed", 7), status
    assert not [key for key in store.names() if key.startswith("res/")]
    assert not store.uploads("res/out.zip")
    (pod,) = namespace.pods("forger-1")
    log = namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")
    for what in ("remove the lock", "replace the lock", "write an input", "read the key", "read process 1"):
        assert f"could not {what}" in log, log


PLANTER = """
import os, pathlib, socket
out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
def main():
    (out / "fine.txt").write_text("fine")
    secret = out / "private"
    secret.mkdir()
    (secret / "kept.txt").write_text("kept")
    (secret / "kept.txt").chmod(0o600)
    secret.chmod(0o700)
    for name, target in {"passwd": "/etc/passwd", "environ": "/proc/self/environ", "up": "../../..",
                         "plan": "/millrace/pod/plan.json", "loop": "loop"}.items():
        os.symlink(target, out / name)
    os.symlink("/etc", out / "folder")
    os.mkfifo(out / "fifo")
    socket.socket(socket.AF_UNIX).bind(str(out / "socket"))
"""


def test_links_pipes_and_sockets_are_left_out_with_a_warning_and_private_folders_are_kept(
    namespace: Namespace, store: Bucket
) -> None:
    namespace.apply(
        function("planter", PLANTER),
        job_run("planter-1", "planter", outputs=[{"name": "out", "dataStore": {"name": "store", "path": "res"}}]),
    )
    status = namespace.finished("planter-1")
    assert status["phase"] == "Succeeded", status
    members = {name: data for name, data in store.unzip("res/out.zip").items() if not name.endswith("/")}
    assert members == {"fine.txt": b"fine", "private/kept.txt": b"kept"}
    assert "fifo" in json.dumps(status["warnings"])


def test_every_container_of_ours_is_restricted_and_has_no_token(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("plain", "def main():\n    pass\n"),
        job_run("plain-1", "plain", outputs=[{"name": "out", "asset": "nothing"}]),
    )
    assert namespace.finished("plain-1")["phase"] == "Succeeded"
    (pod,) = namespace.pods("plain-1")
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert not [volume for volume in spec["volumes"] if "projected" in volume]
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    main = next(container for container in spec["containers"] if container["name"] == "main")
    assert "secretKeyRef" not in json.dumps(main)


def test_pod_security_restricted_has_no_word_against_any_pod_of_ours(namespace: Namespace, store: Bucket) -> None:
    """Asked of all pods that are there, as when a namespace gets the level: it names the one that is not ours, and no other."""
    namespace.apply(
        data_store("broken", "there-is-no-such-bucket", default=False, secret_name="store"),  # its probe's pod stays
        function("plain", "def main():\n    pass\n"),
        job_run("plain-1", "plain", outputs=[{"name": "out", "asset": "nothing"}]),
    )
    assert namespace.finished("plain-1")["phase"] == "Succeeded"
    wait_for("the probe's pod", lambda: namespace.list("pods", "millrace.dev/datastore=broken"))
    kubectl("label", "namespace", namespace.name, f"{LEVEL}=privileged", "--overwrite")
    namespace.kubectl("run", "foreign", "--image=localhost/none", "--restart=Never")
    with pytest.raises(Refused) as refused:
        kubectl(
            *("label", "namespace", namespace.name, f"{LEVEL}=restricted", "--overwrite"),
            *("--dry-run=server", "--warnings-as-errors"),
        )
    assert re.findall(r"^Warning: (\S+): ", str(refused.value), re.MULTILINE) == ["foreign"], refused.value
    labels = json.loads(kubectl("get", "namespace", "millrace-system", "-o", "json"))["metadata"]["labels"]
    assert labels[LEVEL] == "restricted", "the operator's own"


def test_the_operator_may_not_read_secrets_and_user_labels_reach_no_child(namespace: Namespace) -> None:
    account = "system:serviceaccount:millrace-system:millrace-operator"
    for verb in ("get", "list", "watch", "patch", "delete"):
        answer = kubectl("auth", "can-i", verb, "secrets", f"--as={account}", "-n", namespace.name, check=False)
        assert answer.strip().startswith("no"), (verb, answer)
    labelled = job_run("labelled", "plain")
    labelled["metadata"]["labels"] = {"argocd.argoproj.io/instance": "app"}
    namespace.apply(function("plain", "def main():\n    pass\n"), labelled)
    namespace.finished("labelled")
    revisions = namespace.list("cm", "app.kubernetes.io/managed-by=millrace")
    children = [*namespace.list("jobs"), *namespace.list("pods"), *revisions]
    assert len(children) >= 3
    assert not [child for child in children if "argocd.argoproj.io/instance" in child["metadata"].get("labels", {})]
    assert "ownerReferences" not in namespace.run("labelled")["metadata"]
