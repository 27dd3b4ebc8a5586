"""kubectl on our kinds: what a user types and reads."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from integration.api.objects import azure, deployment, function, gcs, http, resource, run, store, volume
from support.apiserver import ApiServer, Object


def text_of(obj: Object) -> str:
    return json.dumps(obj)


def test_an_unknown_field_fails_a_strict_apply(api: ApiServer) -> None:
    done = api.kubectl("apply", "--validate=strict", "-f", "-", stdin=text_of(run("unknown", paralel=1)))
    assert done.returncode != 0
    assert 'unknown field "spec.paralel"' in done.stderr


def test_a_plain_apply_is_strict(api: ApiServer) -> None:
    done = api.kubectl("apply", "-f", "-", stdin=text_of(run("unknown", paralel=1)))
    assert done.returncode != 0
    assert 'unknown field "spec.paralel"' in done.stderr


def test_an_unknown_field_is_warned_of(api: ApiServer) -> None:
    done = api.kubectl("apply", "--validate=warn", "-f", "-", stdin=text_of(run("warned", paralel=1)))
    assert done.returncode == 0
    assert 'Warning: unknown field "spec.paralel"' in done.stderr
    assert "paralel" not in api.admin.get("jobruns", "api", "warned")["spec"]


@pytest.mark.parametrize("how", [["apply"], ["apply", "--server-side"], ["create"], ["create", "--dry-run=server"]])
def test_rows_may_have_nulls(api: ApiServer, how: list[str]) -> None:
    """kubectl has a validation of its own beside the server's, for objects in a List."""
    rows = {"fields": ["a", "b"], "values": [[1, None], [None, {"x": None}]]}
    obj = run(f"nulls-{len(how)}-{how[0]}", inputs=[{"name": "i", "inline": rows}], inputData=[rows])
    done = api.kubectl(*how, "-f", "-", stdin=text_of({"apiVersion": "v1", "kind": "List", "items": [obj]}))
    assert done.returncode == 0, done.stderr


def test_a_refusal_reads_well(api: ApiServer) -> None:
    obj = run("refused", environmentVariables={"MILLRACE_X": ""}, outputs=[{"name": "o"}])
    done = api.kubectl("apply", "-f", "-", stdin=text_of(obj))
    assert done.returncode == 1
    assert "reserved for millrace: MILLRACE_X" in done.stderr
    assert "spec.outputs[0]: " in done.stderr
    assert "exactly one of asset, dataStore, href must be set" in done.stderr


def test_a_changed_run_is_refused_with_what_to_do(api: ApiServer) -> None:
    assert api.kubectl("apply", "-f", "-", stdin=text_of(run("changed", retries=1))).returncode == 0
    done = api.kubectl("apply", "-f", "-", stdin=text_of(run("changed", retries=2)))
    assert done.returncode == 1
    assert "spec.retries: " in done.stderr
    assert "retries is immutable; a JobRun runs once: create a new one instead" in done.stderr


OBJECTS = [
    function("applied", requirements=["x"], pythonVersion="3.13"),
    store("applied", prefix="a/b", pathStyle=True),
    run(
        "applied",
        parameters={"a": 1, "b": [1.5, None, {"c": {}}]},
        outputs=[{"name": "o", "asset": "scores"}],
        scratch={"size": 1073741824},
        affinity={"nodeAffinity": {}},
        timeouts={"running": "1h"},
    ),
]


@pytest.mark.parametrize("how", [[], ["--server-side"]], ids=["client-side", "server-side"])
@pytest.mark.parametrize("obj", OBJECTS, ids=[obj["kind"] for obj in OBJECTS])
def test_a_second_apply_changes_nothing(api: ApiServer, obj: Object, how: list[str]) -> None:
    name = "applied" + ("-server" if how else "")
    text = text_of({**obj, "metadata": {"name": name, "namespace": "api"}})
    assert api.kubectl("apply", *how, "-f", "-", stdin=text).returncode == 0
    before = api.admin.get(resource(obj), "api", name)["metadata"]
    again = api.kubectl("apply", *how, "-f", "-", stdin=text)
    assert again.returncode == 0, again.stderr
    diff = api.kubectl("diff", *how, "-f", "-", stdin=text)
    assert (diff.returncode, diff.stdout) == (0, "")
    after = api.admin.get(resource(obj), "api", name)["metadata"]
    assert (after["resourceVersion"], after["generation"]) == (before["resourceVersion"], 1)


def table(api: ApiServer, plural: str, name: str) -> dict[str, str]:
    """The row of `kubectl get` by its columns."""
    header, row = api.kubectl("-n", "api", "get", plural, name).stdout.splitlines()
    starts = [header.index(word) for word in header.split()]
    ends = [*starts[1:], None]
    return {header[a:b].strip(): row[a:b].strip() for a, b in zip(starts, ends, strict=True)}


def ready(status: str, reason: str) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Ready", "status": status, "reason": reason, "message": "", "lastTransitionTime": now}


def test_columns_of_a_run(api: ApiServer) -> None:
    api.admin.create("jobruns", run("columns"))
    row = table(api, "jr", "columns")
    assert list(row) == ["NAME", "FUNCTION", "DEPLOYMENT", "PHASE", "QUEUE", "REASON", "DURATION", "AGE"]
    assert (row["NAME"], row["FUNCTION"], row["PHASE"]) == ("columns", "", "")
    status = {"function": "f", "phase": "Failed", "reason": "OOMKilled", "duration": "1m12s"}
    api.admin.merge("jobruns/status", "api", "columns", {"status": status})
    row = table(api, "jr", "columns")
    assert row["FUNCTION"] == "f"
    assert (row["PHASE"], row["REASON"], row["DURATION"]) == ("Failed", "OOMKilled", "1m12s")
    assert row["AGE"]


def test_columns_of_a_run_that_is_queued(api: ApiServer) -> None:
    api.admin.create("jobruns", run("queued", functionRef=None, deploymentRef={"name": "d"}))
    api.admin.merge("jobruns/status", "api", "queued", {"status": {"phase": "Queued", "queuePosition": 3}})
    row = table(api, "jr", "queued")
    assert (row["DEPLOYMENT"], row["PHASE"], row["QUEUE"]) == ("d", "Queued", "3")


def test_columns_of_a_deployment(api: ApiServer) -> None:
    api.admin.create("deployments", deployment("columns", executionRule="periodic", schedule={"cron": "@daily"}))
    status = {"conditions": [ready("True", "Valid")], "running": 2, "queued": 0}
    api.admin.merge("deployments/status", "api", "columns", {"status": status})
    row = table(api, "mdep", "columns")
    assert list(row) == ["NAME", "FUNCTION", "RULE", "SCHEDULE", "READY", "REASON", "RUNNING", "QUEUED", "AGE"]
    assert list(row.values())[:8] == ["columns", "f", "periodic", "@daily", "True", "Valid", "2", "0"]


def test_columns_of_a_function(api: ApiServer) -> None:
    api.admin.create("functions", function("columns", pythonVersion="3.13"))
    status = {"conditions": [ready("True", "Valid")], "revision": "columns-0123456789"}
    api.admin.merge("functions/status", "api", "columns", {"status": status})
    row = table(api, "fn", "columns")
    assert list(row) == ["NAME", "READY", "REASON", "HANDLER", "PYTHON", "REVISION", "AGE"]
    del row["AGE"]
    assert list(row.values()) == ["columns", "True", "Valid", "main", "3.13", "columns-0123456789"]


def test_columns_of_a_store(api: ApiServer) -> None:
    api.admin.create("datastores", store("columns"))
    status = {"conditions": [ready("False", "BucketNotFound")], "checked": "2020-01-01T00:00:00Z"}
    api.admin.merge("datastores/status", "api", "columns", {"status": status})
    row = table(api, "dstore", "columns")
    assert list(row) == ["NAME", "READY", "REASON", "BUCKET", "ENDPOINT", "CHECKED", "AGE"]
    assert list(row.values())[:5] == ["columns", "False", "BucketNotFound", "data", "http://minio:9000"]
    assert row["CHECKED"][:1].isdigit(), "an age, as `kubectl get` prints dates"


@pytest.mark.parametrize(
    ("obj", "bucket", "endpoint"),
    [
        (azure("azure-columns", endpoint="http://a"), "data", "http://a"),
        (gcs("google-columns"), "data", ""),
        (http("web-columns"), "", "https://files.example.com/"),
        (volume("claim-columns"), "data", ""),
    ],
)
def test_columns_of_the_other_kinds_of_store(api: ApiServer, obj: Object, bucket: str, endpoint: str) -> None:
    api.admin.create("datastores", obj)
    row = table(api, "dstore", obj["metadata"]["name"])
    assert (row["BUCKET"], row["ENDPOINT"]) == (bucket, endpoint)


def test_explain_tells_what_a_field_is(api: ApiServer) -> None:
    text = api.kubectl("explain", "jobrun.spec.retries").stdout
    assert "Attempts after the first" in text
