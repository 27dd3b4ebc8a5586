"""What the API server takes and keeps as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from integration.api.objects import azure, deployment, function, gcs, http, resource, run, store, store_spec, volume
from millrace.api.crd import KINDS
from support.apiserver import ApiServer, Object

MODELS = {kind.name: kind.model for kind in KINDS}

LONGEST_NAME = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])  # 253 characters

AFFINITY = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}]
        }
    },
    "fieldOfTomorrow": {"deep": [1, {"deeper": None}, 2.5, True]},
}
PARAMETERS = {
    "integer": 1,
    "large": 9007199254740993,
    "float": 1.5,
    "text": "1",
    "true": True,
    "null": None,
    "empty": {},
    "list": [1, "1", 1.5, None, [], {"a": [{}]}],
    "deep": {"a": {"b": {"c": {"d": [0]}}}},
    "Ünïcode \u2028": "\U0001f600",
    "a.b/c d": "keys are free",
}

ACCEPTED: dict[str, Object] = {
    "smallest run": run("least"),
    "affinity, also of tomorrow": run("affinity", affinity=AFFINITY),
    "parameters of any JSON": run("parameters", parameters=PARAMETERS),
    "rows of any JSON": run("rows", inputData=[{"fields": ["a", "b"], "values": [[1, "1"], [None, {"x": [1.5]}], 3, "x"]}]),
    "web address": run(
        "web", inputs=[{"name": "i", "uri": "https://data.test:8443/a%20b?x=1", "type": "uri_file", "sha256": "0" * 64}]
    ),
    "inline rows of any JSON": run(
        "inline", inputs=[{"name": "i", "inline": {"fields": ["a"], "values": [[1], [None], [{"x": [1.5, None]}], ["x"]]}}]
    ),
    "quantity as an integer": run(
        "quantity", scratch={"size": 1073741824}, resources={"limits": {"cpu": 2, "memory": "1Gi"}}
    ),
    "quantity as text": run("text", scratch={"size": "1.5Gi"}),
    "the longest name": run(LONGEST_NAME),
    "duration in parts": run("duration", timeouts={"running": "1d2h30m", "queued": "0s"}),
    "shards": run("shards", parallel={"shards": 1000, "parallelism": 4, "maxFailedShards": 999, "input": "data"}),
    "environment": run(
        "environment",
        environmentVariables={"A": "", "_x9": "$(HOME) $$ 'quoted' \n\ttext", "LARGE": "\U0001f600" * 8000},
        env=[{"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
    ),
    "every destination": run(
        "outputs",
        outputs=[
            {"name": "a", "asset": "scores", "when": "Always"},
            {"name": "b", "dataStore": {"name": "s", "path": "x/{run}/{date}..txt"}, "archive": "None"},
            {"name": "c", "href": "s3://bucket/key"},
        ],
    ),
    "volumes": run(
        "volumes",
        volumes=[{"name": "v", "csi": {"driver": "d", "volumeAttributes": {"a": "b"}}}],
        volumeMounts=[{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}],
        tolerations=[{"operator": "Exists"}],
        podSecurityContext={"fsGroup": 1, "supplementalGroupsPolicy": "Strict"},
    ),
    "run of a Deployment": run("deployed", functionRef=None, deploymentRef={"name": "d"}, priority=-7, suspend=True),
    "smallest Deployment": deployment("least"),
    "Deployment with everything": deployment(
        "most",
        description="x",
        deploymentMode="elastic",
        action="job",
        executionRule="manual",
        concurrency=7,
        queue={"whenFull": "SkipNew", "maxLength": 3, "kueueQueue": "team-a"},
        template={"parameters": PARAMETERS, "affinity": AFFINITY, "timeouts": {"running": "1h"}, "logs": "None"},
    ),
    "Deployment with the longest name": deployment(LONGEST_NAME),
    "source of 128 KiB": function("large", source={"inline": "#" * (128 * 1024)}),
    "script": function("script", handler=None, script="main.py", requirements=["pandas==2.3.3", "x @ https://h/x.whl"]),
    "handler of a module": function("handler", handler="pkg.mod:predict", pythonVersion="3.11"),
    "declared inputs": function(
        "declared",
        inputs=[
            {"name": "rows"},
            {"name": "images", "type": "uri_folder", "required": False},
            {"name": "max_age", "type": "value", "default": 90},
            {"name": "Weights", "type": "value", "default": {"a": [1, None, {"b": 1.5}]}},
        ],
        outputs=[{"name": "scores", "type": "table"}, {"name": "Accuracy", "type": "value"}],
    ),
    "function with the longest name": function(LONGEST_NAME),
    "Amazon": store("amazon", endpoint=None, region="eu-west-1", prefix="a/b..c"),
    "IPv6 and a port": store("v6", endpoint="http://[::1]:9000/"),
    "store with the longest name": store(LONGEST_NAME),
    "Azure": azure("azure", prefix="a/b"),
    "Azurite": azure("azurite", endpoint="http://azurite:10000/lakes", container="a-1"),
    "Google": gcs("google", bucket="my_bucket.example.com", prefix="a", endpoint="http://gcs:4443"),
    "a web server": http("web", baseUrl="https://files.example.com:8443/a/b%20c"),
    "a web server with a token": store_spec(
        "web-token", s3=None, http={"baseUrl": "https://a"}, credentials={"secretRef": {"name": "s"}}
    ),
    "a claim": volume("claim", subPath="a/b", readOnly=True),
    "authority": store_spec(caBundleRef={"configMap": "ca"}, credentials={"secretRef": {"name": "s"}}),
}


@pytest.mark.parametrize("obj", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_is_kept_as_it_was_written(api: ApiServer, obj: Object) -> None:
    api.admin.create(resource(obj), obj, strict=True)
    kept = api.admin.get(resource(obj), "api", obj["metadata"]["name"])
    assert json.dumps(kept["spec"], sort_keys=True) == json.dumps(obj["spec"], sort_keys=True)
    read: Any = MODELS[obj["kind"]].model_validate(kept)  # what the API server takes, the operator can read
    assert read.metadata.name == obj["metadata"]["name"]


def test_a_write_to_the_object_leaves_the_status(api: ApiServer) -> None:
    api.admin.create("jobruns", {**run("status"), "status": {"phase": "Succeeded"}})
    assert "status" not in api.admin.get("jobruns", "api", "status")
    api.admin.merge("jobruns/status", "api", "status", {"status": {"phase": "Running"}})
    api.admin.merge("jobruns", "api", "status", {"spec": {"cancel": True}, "status": {"phase": "Failed"}})
    assert api.admin.get("jobruns", "api", "status")["status"] == {"phase": "Running"}


def test_a_write_to_the_status_leaves_the_object(api: ApiServer) -> None:
    before = api.admin.create("jobruns", run("object"))
    patch = {"spec": {"cancel": True}, "status": {"phase": "Running"}}
    api.admin.merge("jobruns/status", "api", "object", patch)
    after = api.admin.get("jobruns", "api", "object")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_the_status_of_a_large_run_can_be_written(api: ApiServer) -> None:
    rows = [{"values": [[number, "x" * 20] for number in range(8000)]}]
    api.admin.create("jobruns", run("heavy", inputData=rows))
    api.admin.merge("jobruns", "api", "heavy", {"spec": {"cancel": True}})
    found = api.admin.merge("jobruns/status", "api", "heavy", {"status": {"phase": "Cancelled"}})
    assert found["status"]["phase"] == "Cancelled"
