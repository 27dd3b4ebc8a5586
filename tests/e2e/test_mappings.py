"""Mappings of a Deployment, as users see them."""

from __future__ import annotations

import hashlib
import json
import secrets

from support import canary
from support.assets import asset, ready
from support.cluster import Namespace, condition, deployment, deployment_run, function
from support.store import Bucket, secret
from support.waiting import wait_for

SCORE = """
import hashlib, json, os, pathlib
def main(rows, model, threshold, region, token):
    print(dict(os.environ))  # what prints its environment shows no key
    folder = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (folder / "debug" / "large.txt").write_text("dropped")
    told = {
        "rows": pathlib.Path(rows).read_text(),
        "model": sorted(os.listdir(model)),
        "threshold": threshold,
        "region": region,
        "token": hashlib.sha256(token.encode()).hexdigest(),
    }
    return {"scores": told, "debug": print}
"""
DECLARED = {
    "inputs": [
        {"name": "rows"},
        {"name": "model", "type": "uri_folder"},
        *({"name": name, "type": "value"} for name in ("threshold", "region", "token")),
    ],
    "outputs": [{"name": "scores"}, {"name": "debug"}],
}
MAPPED = {
    "inputsMapping": [
        {"input": "rows", "dataStore": {"name": "store", "path": "in/rows.csv"}},
        {"input": "model", "asset": "model@latest"},
        {"input": "threshold", "constant": {"low": [None, 0.5]}},
        {"input": "region", "env": "REGION"},
        {"input": "token", "secretRef": {"name": "keys", "key": "token"}},
    ],
    "outputsMapping": [
        {"output": "scores", "dataStore": {"name": "store", "path": "out/{run}"}},
        {"output": "debug", "void": True},
    ],
    "template": {"environmentVariables": {"REGION": "eu"}},
}


def test_each_kind_of_source_reaches_the_handler_and_what_is_void_is_not_kept(namespace: Namespace, store: Bucket) -> None:
    key = f"canary-{secrets.token_urlsafe(24)}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    store.put("in/rows.csv", b"1,2\n")
    store.put("models/a.bin", b"x")
    namespace.apply(asset("model-1", asset="model", type="uri_folder", dataStore="store", path="models"))
    ready(namespace, "model-1")
    namespace.apply(function("score", SCORE, **DECLARED), deployment("d", "score", **MAPPED))
    namespace.apply(deployment_run("one", "d"))
    status = namespace.phase("one", "Blocked", seconds=120)
    assert status["reason"] == "ConfigError", "the Secret is not there yet"
    assert "keys" in str(condition(status, "Started"))
    namespace.apply(secret("keys", token=key))
    own = {"parameters": {"threshold": 3}, "environmentVariables": {"REGION": "us"}}
    namespace.apply(deployment_run("two", "d", **own))
    expected = {"rows": "1,2\n", "model": ["a.bin"], "threshold": {"low": [None, 0.5]}, "region": "eu", "token": digest}
    for name, said in (("one", {}), ("two", {"threshold": 3, "region": "us"})):
        status = namespace.finished(name)
        assert status["phase"] == "Succeeded", status
        assert json.loads(store.unzip(f"out/{name}/scores.zip")["scores.json"]) == {**expected, **said}
        assert [output["name"] for output in status["outputs"]] == ["scores"]
        assert {(found["name"], found.get("version")) for found in status["inputs"]} == {("rows", None), ("model", "1")}
    assert not [name for name in store.names() if "debug" in name]
    effective = namespace.get("mdep", "d")["status"]["effectiveMapping"]
    assert effective == {"inputs": MAPPED["inputsMapping"], "outputs": MAPPED["outputsMapping"]}
    # What holds the payload, the status and the logs does not have the key.
    for kind in ("jobs", "pods", "jobruns.millrace.dev", "deployments.millrace.dev", "configmaps", "events"):
        assert key not in namespace.kubectl("get", kind, "-o", "yaml"), kind
    for name in ("one", "two"):
        log = namespace.kubectl("logs", f"job/{name}", "--all-containers")
        assert "REGION" in log, "the environment was printed"
        assert key not in log
    assert key.encode() not in b"".join(store.get(name) for name in store.names())
    assert not [path for path in canary.container_logs(namespace.name) if path.is_file() and key in path.read_text()]


def test_a_deployment_that_does_not_map_all_says_so_with_the_names_and_an_edit_heals_its_runs(
    namespace: Namespace, store: Bucket
) -> None:
    namespace.apply(function("score", SCORE, **DECLARED))
    rule = {"executionRule": "periodic", "schedule": {"cron": "0 0 29 2 *"}}
    namespace.apply(deployment("d", "score", **rule), deployment_run("one", "d"))
    blocked = namespace.phase("one", "Blocked")
    assert blocked["reason"] == "InputsNotMapped"
    found = wait_for("Ready", lambda: condition(namespace.get("mdep", "d"), "Ready"))
    assert (found["status"], found["reason"]) == ("False", "InputsNotMapped")
    assert "rows, model, threshold, region, token" in found["message"]
    store.put("in/rows.csv", b"1,2\n")
    store.put("models/a.bin", b"x")
    namespace.apply(
        secret("keys", token="x"),
        asset("model-1", asset="model", type="uri_folder", dataStore="store", path="models"),
        deployment("d", "score", **rule, **MAPPED),
    )
    assert namespace.finished("one")["phase"] == "Succeeded"
