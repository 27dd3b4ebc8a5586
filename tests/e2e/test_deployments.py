"""Deployments, as users see them."""

from __future__ import annotations

import json

import pytest

from support.cluster import Namespace, Refused, deployment, deployment_run, function, job_run
from support.command import Command
from support.store import Bucket

ECHO = """
import json, os
def main(**given):
    payload = json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))
    shown = {name: os.environ.get(name) for name in ("A", "B", "C", "D")}
    print(json.dumps({"given": given, "env": shown, "deployment": payload["deployment"]["id"]}))
"""


def said(namespace: Namespace, run: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(namespace.kubectl("logs", f"job/{run}", "-c", "main").splitlines()[-1])
    return found


def test_a_run_has_the_templates_defaults_and_its_own_values_win(namespace: Namespace) -> None:
    template = {
        "parameters": {"a": 1, "b": [1, 2]},
        "environmentVariables": {"A": "template", "B": "$(A) of the template"},
        "env": [{"name": "C", "value": "template"}],
    }
    namespace.apply(function("echo", ECHO), deployment("d", "echo", template=template, description="says what it got"))
    own = {
        "parameters": {"b": False, "c": "x"},
        "environmentVariables": {"B": "own"},
        "env": [{"name": "D", "value": "own"}],
    }
    namespace.apply(deployment_run("one", "d"), deployment_run("two", "d", **own))
    one, two = (namespace.finished(name) for name in ("one", "two"))
    uid = namespace.get("mdep", "d")["metadata"]["uid"]
    assert said(namespace, "one") == {
        "given": {"a": 1, "b": [1, 2]},
        "env": {"A": "template", "B": "$(A) of the template", "C": "template", "D": None},
        "deployment": uid,
    }
    assert said(namespace, "two") == {
        "given": {"a": 1, "b": False, "c": "x"},
        "env": {"A": "template", "B": "own", "C": "template", "D": "own"},
        "deployment": uid,
    }
    for name, status in (("one", one), ("two", two)):
        assert status["deploymentId"] == uid
        assert status["jobId"] == namespace.run(name)["metadata"]["uid"]
        assert namespace.get("configmap", status["deploymentRevision"])["immutable"]
        labels = namespace.get("job", name)["metadata"]["labels"]
        assert labels["millrace.dev/deployment-id"] == uid
        assert labels["millrace.dev/job-id"] == status["jobId"]
    assert one["deploymentRevision"] == two["deploymentRevision"] == namespace.get("mdep", "d")["status"]["revision"]
    wide = namespace.kubectl("get", "mdep", "-o", "wide")
    assert "says what it got" in wide
    assert namespace.kubectl("get", "deployments.millrace.dev", "d", "-o", "name").strip() == "deployment.millrace.dev/d"
    rows = namespace.kubectl("get", "jr").splitlines()
    assert rows[0].split() == ["NAME", "FUNCTION", "DEPLOYMENT", "PHASE", "QUEUE", "REASON", "DURATION", "AGE"]
    assert {tuple(row.split()[:4]) for row in rows[1:]} == {(name, "echo", "d", "Succeeded") for name in ("one", "two")}


def test_the_ids_are_in_status_labels_payload_and_archived_logs(namespace: Namespace, store: Bucket) -> None:
    code = 'import os\ndef main():\n    print(open(os.environ["JOBS_PAYLOAD_FILE"]).read())\n'
    out = {"name": "out", "dataStore": {"name": "store", "path": "{run}"}}
    namespace.apply(function("f", code), deployment("d", "f", template={"outputs": [out]}), deployment_run("one", "d"))
    status = namespace.finished("one")
    assert status["phase"] == "Succeeded", status
    ids = {"deployment": namespace.get("mdep", "d")["metadata"]["uid"], "job": namespace.run("one")["metadata"]["uid"]}
    assert {kind: status[f"{kind}Id"] for kind in ids} == ids
    for obj in (namespace.get("job", "one"), *namespace.pods("one")):
        assert {kind: obj["metadata"]["labels"][f"millrace.dev/{kind}-id"] for kind in ids} == ids
    logs = {key.rsplit("/", 1)[1]: store.get(key).decode() for key in store.names("logs/one/")}
    payload = json.loads(logs["main.log"])
    assert {kind: payload[kind]["id"] for kind in ids} == ids
    for name in ("stage.log", "collect.log"):
        first = logs[name].splitlines()[0]
        assert first.endswith(f" run one, attempt 1, job id {ids['job']}, deployment id {ids['deployment']}"), name


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"action": "serve"}, 'spec.action: Unsupported value: "serve": supported values: "job"'),
        ({"deploymentMode": "x"}, 'spec.deploymentMode: Unsupported value: "x": supported values: "elastic"'),
        ({"executionRule": "x"}, 'spec.executionRule: Unsupported value: "x"'),
        ({"concurrency": 0}, "spec.concurrency"),
        ({"queue": {"whenFull": "CancelOldest", "maxLength": 0}}, "spec.queue.maxLength"),
        ({"template": {"environmentVariables": {"MILLRACE_X": "1"}}}, "reserved for millrace: MILLRACE_X"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_at_apply(namespace: Namespace, spec: dict[str, object], message: str) -> None:
    with pytest.raises(Refused) as refused:
        namespace.apply(deployment("d", "f", **spec))
    assert message in str(refused.value)


def test_deleting_a_deployment_leaves_what_users_applied_and_its_outputs(namespace: Namespace, store: Bucket) -> None:
    code = """
import os, pathlib, time
def main(seconds=0):
    (pathlib.Path(os.environ["BATCH_OUTPUT_DIR"]) / "x").write_text("1")
    time.sleep(seconds)
"""
    out = {"name": "out", "dataStore": {"name": "store", "path": "{run}"}}
    namespace.apply(function("f", code), deployment("d", "f", concurrency=1, template={"outputs": [out]}))
    namespace.apply(deployment_run("done", "d"))
    assert namespace.finished("done")["phase"] == "Succeeded"
    namespace.apply(deployment_run("runs", "d", parameters={"seconds": 600}), deployment_run("waits", "d"))
    namespace.main_running("runs")
    namespace.phase("waits", "Queued")
    namespace.delete("mdep", "d")
    for name in ("runs", "waits"):
        status = namespace.finished(name)
        assert (status["phase"], status["failure"]["reason"]) == ("Failed", "DeploymentNotFound")
    done = namespace.run("done")
    assert done["status"]["phase"] == "Succeeded"
    assert "ownerReferences" not in done["metadata"]
    assert store.names("done/") == ["done/out.zip"]


def test_the_command_line_deploys_runs_and_lists(namespace: Namespace, millrace: Command) -> None:
    (millrace.folder / "all.json").write_text(
        json.dumps({"kind": "List", "apiVersion": "v1", "items": [function("echo", ECHO), deployment("d", "echo")]})
    )
    _, err = millrace("deploy", "-f", "all.json")
    assert "Deployment d is ready" in err
    millrace("run", "--deployment", "d", "--param", "x=3", "--param", "y=text")
    out, _ = millrace("runs", "--deployment", "d", "-o", "json")
    [run] = json.loads(out)["items"]
    assert run["spec"]["parameters"] == {"x": 3, "y": "text"}
    assert run["status"]["phase"] == "Succeeded"
    namespace.apply(job_run("alone", "echo"))
    namespace.finished("alone")
    table, _ = millrace("runs")
    assert [line.split()[:3] for line in table.splitlines()] == [
        ["NAME", "OF", "PHASE"],
        ["d", "mdep/d", "Succeeded"],
        ["alone", "fn/echo", "Succeeded"],
    ]
    assert "alone" not in millrace("runs", "--deployment", "d")[0]
    (millrace.folder / "bad.json").write_text(json.dumps(deployment("bad", "absent")))
    _, err = millrace("deploy", "-f", "bad.json", "--timeout", "3s", code=1)
    assert "FunctionNotFound: Function absent does not exist" in err
    _, err = millrace("run", "--deployment", "dd", code=2)
    assert "did you mean d?" in err
    _, err = millrace("run", "--deployment", "d", "--handler", "x", code=2)
    assert "--handler: not with --deployment" in err
