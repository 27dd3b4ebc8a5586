"""The command `millrace` as a user has it, against the cluster."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from support.cluster import Namespace, function, job_run, kubectl
from support.command import Command
from support.store import Bucket
from support.waiting import wait_for

pytestmark = pytest.mark.e2e

SCORE = """
import os, pathlib

out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
for path in sorted(pathlib.Path(os.environ["BATCH_INPUT_DIR"]).rglob("*.csv")):
    print("scoring", path.name, flush=True)
    (out / path.name).write_text(path.read_text().upper())
"""
COUNT = """
import time

def main(rows=3, fail=False):
    for number in range(rows):
        print("line", number, flush=True)
        time.sleep(0.5)
    if fail:
        raise ValueError("the data is bad")
"""


def child_seconds(code: str, folder: Path) -> tuple[float, str]:
    """Processor time of a Python program, and what it prints: wall time tells how busy the machine is."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"HOME": str(folder)}
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, done.stdout


def test_the_start_is_fast_and_needs_neither_cluster_nor_kopf(tmp_path: Path) -> None:
    heavy = ("kubernetes", "aiohttp", "httpx", "obstore", "minio", "yaml")
    code = (
        "import sys; sys.modules['kopf'] = None; sys.argv = ['millrace', 'version']\n"
        "import millrace.cli.main as m\n"
        f"m.app(standalone_mode=False); print([name for name in {heavy} if name in sys.modules])"
    )
    alternating = [(child_seconds(code, tmp_path), child_seconds("import typer, pydantic", tmp_path)) for _ in range(5)]
    assert alternating[0][0][1].startswith("millrace ")
    assert alternating[0][0][1].endswith("\n[]\n")
    # 0.25 s on an idle machine, most of it typer's own (it brings pydantic to parse); on a busy one both grow.
    ours, typers = (min(pair[which][0] for pair in alternating) for which in (0, 1))
    assert ours < 0.4 or ours < 1.6 * typers, (ours, typers)


def test_no_module_of_the_command_line_needs_kopf() -> None:
    code = (
        "import sys; sys.modules['kopf'] = None\n"
        "from millrace.cli import download, logs, main, runs, sources, stores, tunnel\n"
        "assert 'structlog' not in sys.modules and 'prometheus_client' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_script_is_run_followed_and_its_output_downloaded(millrace: Command, store: Bucket) -> None:
    for name in ("a.csv", "b.csv"):
        store.put(f"heart/3/{name}", b"id,x\n1,y\n")
    (millrace.folder / "score_all.py").write_text(SCORE)
    out, err = millrace("run", "score_all.py", "--input", "data=store/paths/heart/3", "--output", "scores=store/paths/out")
    assert out == "scoring a.csv\nscoring b.csv\n"
    lines = err.splitlines()
    assert lines[0] == "Function score-all applied"
    name = lines[1].split()[1]
    assert name.startswith("score-all-")
    assert [line.split()[1] for line in lines if line.endswith(("Running", "Succeeded"))][-1] == "Succeeded"
    assert any(f"s3://{store.name}/out/scores.zip" in line and "2 files" in line for line in lines)
    # The store's endpoint is a Service of the cluster: it is reached through the API server.
    _, err = millrace("download", name)
    fetched = millrace.folder / name / "scores.zip"
    assert f"{name}/scores.zip" in err
    assert "checksum is right" in err
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(store.get("out/scores.zip")).digest()
    with zipfile.ZipFile(fetched) as archive:
        assert archive.read("a.csv") == b"ID,X\n1,Y\n"
    _, err = millrace("download", name)
    assert "is there already" in err
    millrace("download", name, "--output", "scores", "--to", "here", "--extract")
    assert sorted(path.name for path in (millrace.folder / "here/scores").iterdir()) == ["a.csv", "b.csv"]
    assert [path.name for path in (millrace.folder / "here").iterdir()] == ["scores"]


def test_an_output_that_was_overwritten_is_not_taken_for_the_runs(millrace: Command, store: Bucket) -> None:
    store.put("heart/3/a.csv", b"id\n")
    (millrace.folder / "score.py").write_text(SCORE)
    _, err = millrace("run", "score.py", "--input", "data=store/paths/heart/3", "--output", "scores=store/paths/out")
    name = err.splitlines()[1].split()[1]
    store.put("out/scores.zip", b"another run's")
    _, err = millrace("download", name, code=2)
    assert "checksum differs" in err
    assert list((millrace.folder / name).iterdir()) == []
    _, err = millrace("download", name, "--output", "score", code=2)
    assert "did you mean scores?" in err


def test_files_without_an_archive_are_downloaded_as_a_folder(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    store.put("in/a.csv", b"id\n")
    output = {"name": "scores", "dataStore": {"name": "store", "path": "out"}, "archive": "None"}
    inputs = [{"name": "data", "dataStore": {"name": "store", "path": "in"}}]
    namespace.apply(function("f", SCORE, script="main.py"), job_run("plain", "f", inputs=inputs, outputs=[output]))
    millrace("wait", "plain")
    store.put("out/scores/stale.csv", b"of an earlier run")
    millrace("download", "plain")
    found = {path.name: path.read_bytes() for path in (millrace.folder / "plain/scores").iterdir()}
    assert found.keys() == {"a.csv", "manifest.json"}
    assert found["a.csv"] == b"ID\n"


def test_a_file_is_applied_its_run_gets_a_fresh_name_and_exit_codes_tell_the_end(
    millrace: Command, namespace: Namespace
) -> None:
    manifests = yaml.safe_dump_all([function("count", COUNT), job_run("count", "count", parameters={"rows": 1})])
    (millrace.folder / "all.yaml").write_text(manifests)
    _, err = millrace("run", "-f", "all.yaml")
    assert f"JobRun count created in namespace {namespace.name}\n" in err
    out, err = millrace("run", "-f", "-", stdin=manifests)
    assert out == "line 0\n"
    assert f"JobRun count-r2 created in namespace {namespace.name} (count exists)\n" in err
    manager = {found["manager"] for found in namespace.get("functions", "count")["metadata"].get("managedFields", [])}
    assert "millrace" not in manager
    fails = [function("count", COUNT), job_run("bad", "count", parameters={"rows": 2, "fail": True})]
    out, err = millrace("run", "-f", "-", code=1, stdin=yaml.safe_dump_all(fails))
    assert out.startswith("line 0\nline 1\nTraceback (most recent call last)")
    assert "failure  UserError (container main, exit code 1)\n         ValueError: the data is bad" in err
    _, err = millrace("wait", "jr/bad", code=1)
    assert "ValueError: the data is bad" in err
    assert "         line 1\n" in err  # not shown before: the end of the log
    out, _ = millrace("logs", "bad", "--tail", "1")
    assert out == "ValueError: the data is bad\n"


def test_a_run_goes_on_after_timeout_and_ctrl_c_and_ends_by_cancel(millrace: Command, namespace: Namespace) -> None:
    manifests = yaml.safe_dump_all([function("count", COUNT), job_run("long", "count", parameters={"rows": 600})])
    out, _ = millrace("run", "-f", "-", "--no-follow", stdin=manifests)
    assert out == "long\n"
    _, err = millrace("wait", "long", "--timeout", "1s", code=124)
    assert f"millrace cancel long -n {namespace.name}" in err
    following = millrace.start("logs", "long", "-f")
    assert following.stdout is not None
    assert [following.stdout.readline() for _ in range(3)] == ["line 0\n", "line 1\n", "line 2\n"]
    waiting = millrace.start("run", "-f", "-")
    assert waiting.stdin is not None
    assert waiting.stdout is not None
    waiting.stdin.write(manifests)
    waiting.stdin.close()
    assert waiting.stdout.readline() == "line 0\n"
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(20) == 130
    assert waiting.stderr is not None
    err = waiting.stderr.read()
    assert "the run goes on" in err
    assert f"millrace wait long-r2 -n {namespace.name}" in err
    assert namespace.status("long-r2")["phase"] in {"Pending", "Running"}
    for stream in (waiting.stdout, waiting.stderr):
        stream.close()
    for name in ("long", "long-r2"):
        millrace("cancel", name)
    _, err = millrace("wait", "long", code=3)
    assert "Cancelled" in err
    assert following.stdout.readline() == "line 3\n"
    following.communicate(timeout=30)
    assert following.returncode == 0
    _, err = millrace("cancel", "long")
    assert "is over already: Cancelled" in err


def test_refusals_name_field_and_remedy_and_leave_nothing_behind(millrace: Command, namespace: Namespace) -> None:
    bad = job_run("bad", "count", retries="x", outputs=[{"name": "o", "asset": "a", "href": "b"}], timeouts={"qeued": "1h"})
    _, err = millrace("run", "-f", "-", code=2, stdin=yaml.safe_dump_all([function("count", COUNT), bad]))
    assert "spec.timeouts.qeued: there is no such field" in err
    del bad["spec"]["timeouts"]
    _, err = millrace("run", "-f", "-", code=2, stdin=yaml.safe_dump_all([function("count", COUNT), bad]))
    assert "spec.retries: must be of type integer, not string" in err
    del bad["spec"]["retries"]
    _, err = millrace("run", "-f", "-", code=2, stdin=yaml.safe_dump_all([function("count", COUNT), bad]))
    assert "spec.outputs[0]: exactly one of asset, dataStore, href must be set" in err
    assert namespace.find("functions", "count") is None  # nothing is applied where the run is refused
    namespace.apply(function("count", COUNT), server_side=True)
    changed = yaml.safe_dump_all([function("count", COUNT + "#"), job_run("r", "count")])
    _, err = millrace("run", "-f", "-", "--no-follow", code=2, stdin=changed)
    assert "kubectl set spec.source.inline to another value" in err
    millrace("run", "-f", "-", "--no-follow", "--force-conflicts", stdin=changed)
    _, err = millrace("wait", "rr", code=2)
    assert "there is no JobRun rr" in err
    _, err = millrace("run", "-f", "-", code=2, stdin=yaml.safe_dump(function("count", COUNT)))
    assert "no JobRun in it" in err
    _, err = millrace("wait", "r", code=2, env={"KUBECONFIG": str(millrace.folder / "none")})
    assert "no cluster to talk to" in err


def test_a_user_without_the_right_to_the_secret_is_told_so(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    store.put("in/a.csv", b"id\n")
    (millrace.folder / "score.py").write_text(SCORE)
    _, err = millrace("run", "score.py", "--input", "data=store/paths/in", "--output", "scores")
    name = err.splitlines()[1].split()[1]
    namespace.kubectl("create", "serviceaccount", "reader")
    resources = "jobruns.millrace.dev,datastores.millrace.dev"
    namespace.kubectl("create", "role", "reader", "--verb=get,list,watch", f"--resource={resources}")
    namespace.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={namespace.name}:reader")
    config = yaml.safe_load(kubectl("config", "view", "--minify", "--raw"))
    config["users"][0]["user"] = {"token": namespace.kubectl("create", "token", "reader").strip()}
    (millrace.folder / "reader").write_text(yaml.safe_dump(config))
    rights = {"KUBECONFIG": str(millrace.folder / "reader")}
    wait_for(
        "the role",
        lambda: namespace.kubectl(
            "auth", "can-i", "get", "jobruns.millrace.dev", f"--as=system:serviceaccount:{namespace.name}:reader"
        ),
    )
    _, err = millrace("download", name, code=2, env=rights)
    assert "cannot read Secret store, the keys of DataStore store: you may not" in err
    secret_rights = ("create", "role", "secrets", "--verb=get", "--resource=secrets")
    namespace.kubectl(*secret_rights)
    namespace.kubectl("create", "rolebinding", "secrets", "--role=secrets", f"--serviceaccount={namespace.name}:reader")
    _, err = millrace("download", name, code=2, env=rights)
    assert "http://minio.minio:9000, which only the cluster resolves, through Service minio/minio: you may not" in err


def test_logs_of_a_pod_that_is_gone_say_where_they_are(millrace: Command, namespace: Namespace, store: Bucket) -> None:
    store.put("in/a.csv", b"id\n")
    (millrace.folder / "score.py").write_text(SCORE)
    _, err = millrace("run", "score.py", "--input", "data=store/paths/in", "--output", "scores")
    name = err.splitlines()[1].split()[1]
    out, _ = millrace("logs", name, "-c", "stage")
    assert "data" in out
    job = namespace.status(name)["jobName"]
    namespace.kubectl("delete", "job", job)
    wait_for("the pod's end", lambda: not namespace.pods(name))
    _, err = millrace("logs", name, code=2)
    assert f"s3://{store.name}/logs/{name}/" in err


def test_logs_of_several_runs_are_told_apart(millrace: Command, namespace: Namespace) -> None:
    namespace.apply(function("count", COUNT), *(job_run(name, "count", parameters={"rows": 6}) for name in "ab"))
    out, err = millrace("logs", "-f", "a", "jr/b")
    for name in "ab":
        assert [line for line in out.splitlines() if line.startswith(f"[{name}] ")] == [
            f"[{name}] line {number}" for number in range(6)
        ]
        assert f"[{name}] Succeeded" in err
    out, err = millrace("logs", "a", "q", "b", "--tail", "1", code=2)
    assert out == "[a] line 5\n[b] line 5\n"
    assert "[q] error: there is no JobRun q" in err
    out, _ = millrace("logs", "b", "--tail", "1")
    assert out == "line 5\n"


def test_a_run_again_has_the_same_spec_and_another_name(millrace: Command, namespace: Namespace) -> None:
    namespace.apply(function("f", "def main(**given):\n    print(given)\n"))
    namespace.apply(job_run("r", "f", parameters={"a": [1]}, retries=1, suspend=True, cancel=True))
    assert namespace.finished("r")["phase"] == "Cancelled"
    _, err = millrace("rerun", "r")
    assert "JobRun r-r2 created" in err
    found = namespace.run("r-r2")
    assert found["spec"] == {"functionRef": {"name": "f"}, "parameters": {"a": [1]}, "retries": 1}
    out, _ = millrace("rerun", "jr/r-r2", "--no-follow")
    assert out == "r-r3\n"
    assert namespace.finished("r-r3")["phase"] == "Succeeded"
    _, err = millrace("rerun", "q", code=2)
    assert "there is no JobRun q" in err
