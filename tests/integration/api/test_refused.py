"""What the API server refuses, with the words a user reads: the field's path, and what is wrong with it."""

from __future__ import annotations

import pytest

from integration.api.objects import (
    azure,
    deployment,
    function,
    gcs,
    http,
    resource,
    run,
    store,
    store_spec,
    volume,
)
from millrace.api.jobrun import MUTABLE
from support.apiserver import ApiServer, Object, Refused

PATH = {"name": "s", "path": "in"}
OUTPUT = {"name": "o", "asset": "scores"}


def outputs(**fields: object) -> Object:
    return run(outputs=[{"name": "o", **fields}])


def inputs(**fields: object) -> Object:
    return run(inputs=[{"name": "i", "dataStore": PATH, **fields}])


def web(**fields: object) -> Object:
    found = {"name": "i", "uri": "https://data.test/a.csv", "type": "uri_file", **fields}
    return run(inputs=[{name: value for name, value in found.items() if value is not None}])


def inline(**fields: object) -> Object:
    return run(inputs=[{"name": "i", "inline": ROWS, **fields}])


ROWS: Object = {"values": [[1]]}
ONE_SOURCE = "exactly one of asset, uri, dataStore, inline must be set"
ONE_OF = "exactly one of asset, dataStore, href must be set"
RESERVED = "reserved for millrace: "
MALFORMED = "not a name of an environment variable: "
BODY = "should match '"  # a pattern
TYPE = "must be of type "

ZIP: Object = {"uri": "lake/paths/code.zip", "sha256": "0" * 64}
KINDS_OF_STORES = "exactly one of s3, azureBlob, gcs, http, volume must be set"
REFUSED: dict[str, tuple[Object, str, str]] = {
    # of a zip source
    "two sources": (function(source={"inline": "x", "zip": ZIP}), "spec.source", "exactly one of inline, zip must be set"),
    "a zip without a place": (function(source={"zip": {}}), "spec.source.zip.uri", "Required value"),
    "no sum": (function(source={"zip": {**ZIP, "sha256": "0" * 63}}), "spec.source.zip.sha256", BODY),
    "a sum in capitals": (function(source={"zip": {**ZIP, "sha256": "A" * 64}}), "spec.source.zip.sha256", BODY),
    "code from the web without its sum": (
        function(source={"zip": {"uri": "https://code.test/a.zip"}}),
        "spec.source.zip",
        "sha256 must be set for code from a web address",
    ),
    "code by http": (
        function(source={"zip": {**ZIP, "uri": "http://code.test/a.zip"}}),
        "spec.source.zip",
        "uri must not be http",
    ),
    # of a Deployment
    "a Deployment without a Function": (deployment(functionRef=None), "spec.functionRef", "Required value"),
    "a Deployment that serves": (deployment(action="serve"), "spec.action", 'supported values: "job"'),
    "another mode": (deployment(deploymentMode="x"), "spec.deploymentMode", 'supported values: "elastic"'),
    "another rule": (deployment(executionRule="x"), "spec.executionRule", "supported values: "),
    "no slot": (deployment(concurrency=0), "spec.concurrency", "greater than or equal to 1"),
    "a queue of Kueue whose name is no label": (
        deployment(queue={"kueueQueue": "q" * 64}),
        "spec.queue.kueueQueue",
        "Too long",
    ),
    "nothing waits and the oldest goes": (
        deployment(queue={"whenFull": "CancelOldest", "maxLength": 0}),
        "spec.queue.maxLength",
        "maxLength must be 1 or more with whenFull CancelOldest",
    ),
    "a template with a reserved variable": (
        deployment(template={"environmentVariables": {"MILLRACE_X": "1"}}),
        "spec.template.environmentVariables",
        RESERVED + "MILLRACE_X",
    ),
    "a template with half an input": (
        deployment(template={"inputs": [{"name": "i"}]}),
        "spec.template.inputs[0]",
        ONE_SOURCE,
    ),
    "a run of both": (run(deploymentRef={"name": "d"}), "spec", "exactly one of deploymentRef, functionRef must be set"),
    "a run of nothing": (run(functionRef=None), "spec", "exactly one of deploymentRef, functionRef must be set"),
    # exactly one of
    "handler and script": (function(script="main.py"), "spec", "exactly one of handler, script must be set"),
    "neither handler nor script": (function(handler=None), "spec", "exactly one of handler, script must be set"),
    "two destinations": (outputs(asset="a", dataStore=PATH), "spec.outputs[0]", ONE_OF),
    "no destination": (outputs(), "spec.outputs[0]", ONE_OF),
    "asset and href": (outputs(asset="a", href="s3://b/k"), "spec.outputs[0]", ONE_OF),
    "no source of an input": (run(inputs=[{"name": "i"}]), "spec.inputs[0]", ONE_SOURCE),
    "a store and inline data": (inputs(inline=ROWS), "spec.inputs[0]", ONE_SOURCE),
    "no kind of store": (store_spec(s3=None), "spec", KINDS_OF_STORES),
    "two kinds of store": (store_spec(gcs={"bucket": "data"}), "spec", KINDS_OF_STORES),
    # what excludes what
    "image and baseImage": (function(image="a", baseImage="b"), "spec", "image and baseImage exclude each other"),
    "requirements on an image": (function(image="a", requirements=["x"]), "spec", "use baseImage"),
    "archive with href": (outputs(href="s3://b/k", archive="Zip"), "spec.outputs[0]", "archive, format and when do not"),
    "format with href": (outputs(href="s3://b/k", format="CSV"), "spec.outputs[0]", "archive, format and when do not"),
    "folder at a web address": (
        web(type="uri_folder"),
        "spec.inputs[0]",
        "a web address has files only: set type: uri_file",
    ),
    "web address without a type": (web(type=None), "spec.inputs[0]", "a web address has files only: set type: uri_file"),
    "sum of a folder": (inputs(sha256="0" * 64), "spec.inputs[0]", "sha256 goes with uri only"),
    "sum that is none": (web(sha256="0" * 63), "spec.inputs[0].sha256", BODY),
    "web address without TLS": (web(uri="http://h/a"), "spec.inputs[0].uri", BODY),
    "file of a machine": (web(uri="file:///etc/passwd"), "spec.inputs[0].uri", BODY),
    "blank in an address": (web(uri="https://h/a b"), "spec.inputs[0].uri", BODY),
    "inline data that is not staged": (inline(stage="Never"), "spec.inputs[0]", "a JSON value for the handler goes under"),
    "inline data that may be missing": (inline(optional=True), "spec.inputs[0]", "optional and stage Never do not go with"),
    "glob of an inline file": (inline(type="uri_file", glob="*"), "spec.inputs[0]", "glob goes with type uri_folder only"),
    # missing
    "no source": (function(source=None), "spec.source", "Required value"),
    "empty source": (function(source={}), "spec.source", "exactly one of inline, zip must be set"),
    "no bucket": (store(bucket=None), "spec.s3.bucket", "Required value"),
    "no bucket of Google's": (store_spec(s3=None, gcs={}), "spec.gcs.bucket", "Required value"),
    "no container": (store_spec(s3=None, azureBlob={"account": "lakes"}), "spec.azureBlob.container", "Required value"),
    "no path": (inputs(dataStore={"name": "s"}), "spec.inputs[0].dataStore.path", "Required value"),
    # patterns and names
    "handler": (function(handler="a-b:c"), "spec.handler", BODY),
    "script outside": (function(handler=None, script="../x.py"), "spec.script", BODY),
    "another script than the inline source": (
        function(handler=None, script="sub/main.py"),
        "spec",
        "script must be main.py",
    ),
    "script absolute": (function(handler=None, script="/x.py"), "spec.script", BODY),
    "Python 2": (function(pythonVersion="2.7"), "spec.pythonVersion", BODY),
    "Python as a number": (function(pythonVersion=3.13), "spec.pythonVersion", TYPE + "string"),
    "requirement that is an option": (function(requirements=["x", "-e ."]), "spec.requirements[1]", BODY),
    "name of a function": (run(functionRef={"name": "No"}), "spec.functionRef.name", BODY),
    "name of declared data": (
        function(inputs=[{"name": "my_rows"}]),
        "spec.inputs[0].name",
        "the name of data must be lower case letters, digits and hyphens; that of a value may be any of Python",
    ),
    "name of a declared value": (function(inputs=[{"name": "a b", "type": "value"}]), "spec.inputs[0].name", BODY),
    "type of a declared input": (
        function(inputs=[{"name": "a", "type": "file"}]),
        "spec.inputs[0].type",
        "supported values",
    ),
    "declared twice": (function(outputs=[{"name": "a"}] * 2), "spec.outputs[1]", "Duplicate value"),
    "name of an input": (run(inputs=[{"name": "a_b", "dataStore": PATH}]), "spec.inputs[0].name", BODY),
    "bucket": (store(bucket="No_Bucket"), "spec.s3.bucket", BODY),
    "account": (azure(account="My-Account"), "spec.azureBlob.account", BODY),
    "container": (azure(container="a--b"), "spec.azureBlob.container", BODY),
    "bucket of Google's": (gcs(bucket="Data"), "spec.gcs.bucket", BODY),
    "endpoint of Google's with a path": (gcs(endpoint="https://g/x"), "spec.gcs.endpoint", BODY),
    "endpoint of the other interface of ADLS": (
        azure(endpoint="https://lakes.dfs.core.windows.net"),
        "spec.azureBlob.endpoint",
        "must be the account's blob endpoint",
    ),
    "endpoint of the lake that is gone": (
        azure(endpoint="https://lakes.azuredatalakestore.net"),
        "spec.azureBlob.endpoint",
        "Gen1 was retired in 2024",
    ),
    "web server of the lake that is gone": (
        http(baseUrl="https://lakes.azuredatalakestore.net/webhdfs/v1"),
        "spec.http.baseUrl",
        "Gen1 was retired in 2024",
    ),
    "Hadoop": (http(baseUrl="https://namenode:9871/webhdfs/v1/a"), "spec.http.baseUrl", "Hadoop is not supported"),
    "web server without TLS": (http(baseUrl="http://files.example.com"), "spec.http.baseUrl", BODY),
    "web server with a query": (http(baseUrl="https://files.example.com/?a=b"), "spec.http.baseUrl", BODY),
    "web server with a password": (http(baseUrl="https://a:b@files.example.com"), "spec.http.baseUrl", BODY),
    "no claim": (store_spec(s3=None, volume={}), "spec.volume.claimName", "Required value"),
    "a folder that leaves the claim": (volume(subPath="a/../b"), "spec.volume.subPath", "must not have the segments"),
    "credentials of a claim": (
        store_spec(s3=None, volume={"claimName": "c"}, credentials={"secretRef": {"name": "s"}}),
        "spec.volume",
        "credentials and caBundleRef do not go with volume",
    ),
    "a mount of a web address": (
        web(stage="Mount"),
        "spec.inputs[0].stage",
        "stage Mount is for a DataStore of kind volume only",
    ),
    "a mount with a glob": (
        inputs(stage="Mount", glob="*"),
        "spec.inputs[0]",
        "glob and optional do not go with stage Mount",
    ),
    "a mount that is optional": (
        inputs(stage="Mount", optional=True),
        "spec.inputs[0]",
        "glob and optional do not go with stage Mount",
    ),
    "endpoint without a scheme": (store(endpoint="minio:9000"), "spec.s3.endpoint", BODY),
    "endpoint with a path": (store(endpoint="http://minio/x"), "spec.s3.endpoint", BODY),
    "name of a Secret": (
        store_spec(credentials={"secretRef": {"name": "-"}}),
        "spec.credentials.secretRef.name",
        BODY,
    ),
    # enums
    "archive": (outputs(asset="a", archive="Tar"), "spec.outputs[0].archive", 'supported values: "Zip", "None"'),
    "when": (outputs(asset="a", when="Never"), "spec.outputs[0].when", 'supported values: "OnSuccess", "OnFailure"'),
    "format": (outputs(asset="a", format="csv"), "spec.outputs[0].format", 'supported values: "Parquet", "CSV"'),
    "stage": (inputs(stage="Copy"), "spec.inputs[0].stage", 'supported values: "Auto", "Download", "Mount", "Never"'),
    "logs": (run(logs="All"), "spec.logs", 'supported values: "Archive", "None"'),
    # names of environment variables
    "variable of ours": (
        run(environmentVariables={"MILLRACE_X": "1"}),
        "spec.environmentVariables",
        RESERVED + "MILLRACE_X",
    ),
    "payload": (run(environmentVariables={"JOBS_PAYLOAD_FILE": ""}), "spec.environmentVariables", "JOBS_PAYLOAD_FILE"),
    "input directory": (run(environmentVariables={"BATCH_INPUT_DIR": ""}), "spec.environmentVariables", "BATCH_INPUT_DIR"),
    "one of many": (
        run(environmentVariables={"A": "", "BATCH_OUTPUT_DIR": "", "Z": ""}),
        "spec.environmentVariables",
        RESERVED + "BATCH_OUTPUT_DIR",
    ),
    "malformed": (run(environmentVariables={"A": "", "a-b": ""}), "spec.environmentVariables", MALFORMED + "a-b"),
    "with a digit first": (run(environmentVariables={"1a": ""}), "spec.environmentVariables", MALFORMED + "1a"),
    "not ASCII": (run(environmentVariables={"Ä": ""}), "spec.environmentVariables", MALFORMED + "Ä"),
    "value too long": (run(environmentVariables={"A": "x" * 32_001}), "spec.environmentVariables.A", "Too long"),
    "value not text": (run(environmentVariables={"A": 1}), "spec.environmentVariables.A", TYPE + "string"),
    "reserved in env": (run(env=[{"name": "MILLRACE_X", "value": ""}]), "spec.env[0]", RESERVED + "MILLRACE_X"),
    "malformed in env": (run(env=[{"name": "a b"}]), "spec.env[0].name", BODY),
    # sizes
    "inline source": (function(source={"inline": "#" * (128 * 1024 + 1)}), "spec.source.inline", "Too long"),
    "100,001 rows": (inline(inline={"values": [[1]] * 100_001}), "spec.inputs[0].inline.values", "Too many: 100001"),
    "17 outputs": (run(outputs=[{**OUTPUT, "name": f"o{n}"} for n in range(17)]), "spec.outputs", "Too many: 17"),
    "257 requirements": (function(requirements=["x"] * 257), "spec.requirements", "Too many: 257"),
    "65 tolerations": (run(tolerations=[{}] * 65), "spec.tolerations", "Too many: 65"),
    "257 variables": (
        run(environmentVariables={f"V{n}": "" for n in range(257)}),
        "spec.environmentVariables",
        "Too many: 257",
    ),
    "the same output twice": (run(outputs=[OUTPUT, OUTPUT]), "spec.outputs[1]", "Duplicate value"),
    "the same input twice": (
        run(inputs=[{"name": "i", "dataStore": PATH}] * 2),
        "spec.inputs[1]",
        "Duplicate value",
    ),
    # durations, quantities, numbers
    "duration without a unit": (run(timeouts={"running": "10"}), "spec.timeouts.running", BODY),
    "duration in weeks": (run(timeouts={"queued": "1w"}), "spec.timeouts.queued", BODY),
    "negative duration": (run(timeouts={"staging": "-1h"}), "spec.timeouts.staging", BODY),
    "duration as a number": (run(timeouts={"running": 10}), "spec.timeouts.running", TYPE + "string"),
    "quantity": (run(scratch={"size": "10 GB"}), "spec.scratch.size", BODY),
    "negative quantity": (run(scratch={"size": "-1Gi"}), "spec.scratch.size", BODY),
    "negative integer quantity": (run(scratch={"size": -1}), "spec.scratch.size", "should be greater than or equal to 1"),
    "parallel without shards": (run(parallel={}), "spec.parallel.shards", "Required value"),
    "no shard": (run(parallel={"shards": 0}), "spec.parallel.shards", "should be greater than or equal to 1"),
    "too many shards": (run(parallel={"shards": 1001}), "spec.parallel.shards", "should be less than or equal to 1000"),
    "no shard at a time": (
        run(parallel={"shards": 1, "parallelism": 0}),
        "spec.parallel.parallelism",
        "should be greater than or equal to 1",
    ),
    "all shards may fail": (
        run(parallel={"shards": 3, "maxFailedShards": 3}),
        "spec.parallel.maxFailedShards",
        "maxFailedShards must be less than shards",
    ),
    "shards again, of no run": (run(parallel={"shards": 3, "only": [1]}), "spec.parallel.only", "of and only go together"),
    "a run again, and no shard of it": (
        run(parallel={"shards": 3, "of": "r"}),
        "spec.parallel.only",
        "of and only go together",
    ),
    "a shard that there is not": (
        run(parallel={"shards": 3, "of": "r", "only": [3]}),
        "spec.parallel.only",
        "a shard is a number from 0 to shards - 1",
    ),
    "shards of a run that Kueue admits": (
        run(parallel={"shards": 3}, kueueQueue="team-a"),
        "spec.kueueQueue",
        "kueueQueue and parallel exclude each other",
    ),
    "shards of runs that Kueue admits": (
        deployment(queue={"kueueQueue": "team-a"}, template={"parallel": {"shards": 3}}),
        "spec.queue",
        "queue.kueueQueue and template.parallel exclude each other",
    ),
    "negative retries": (run(retries=-1), "spec.retries", "should be greater than or equal to 0"),
    "too many retries": (run(retries=101), "spec.retries", "should be less than or equal to 100"),
    "retries as text": (run(retries="1"), "spec.retries", TYPE + "integer"),
    "parameters as a list": (run(parameters=[1]), "spec.parameters", TYPE + "object"),
    # paths that leave
    "path up": (outputs(dataStore={"name": "s", "path": "a/../b"}), "spec.outputs[0].dataStore.path", "segments . or .."),
    "only up": (inputs(dataStore={"name": "s", "path": ".."}), "spec.inputs[0].dataStore.path", "segments . or .."),
    "path of ours": (
        outputs(dataStore={"name": "s", "path": "a/.millrace/b"}),
        "spec.outputs[0].dataStore.path",
        "segment .millrace",
    ),
    "path here": (inputs(dataStore={"name": "s", "path": "a/./b"}), "spec.inputs[0].dataStore.path", "segments . or .."),
    "absolute path": (inputs(dataStore={"name": "s", "path": "/a"}), "spec.inputs[0].dataStore.path", BODY),
    "control character": (inputs(dataStore={"name": "s", "path": "a\nb"}), "spec.inputs[0].dataStore.path", BODY),
    "prefix up": (store(prefix="a/.."), "spec.s3.prefix", "prefix must not have the segments . or .."),
    "prefix up in a container": (azure(prefix="a/.."), "spec.azureBlob.prefix", "prefix must not have the segments"),
    "prefix with a slash": (store(prefix="a/"), "spec.s3.prefix", BODY),
    # fields that there are not, as strict validation finds them
    "unknown field": (run(paralel=1), 'unknown field "spec.paralel"', ""),
    "unknown field below": (outputs(asset="a", arhive="Zip"), 'unknown field "spec.outputs[0].arhive"', ""),
    "unknown field of a store": (store(buckets="x"), 'unknown field "spec.s3.buckets"', ""),
    "unknown field of a function": (function(handlers="x"), 'unknown field "spec.handlers"', ""),
}


@pytest.mark.parametrize(("obj", "path", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_says_where_and_what(api: ApiServer, obj: Object, path: str, text: str) -> None:
    with pytest.raises(Refused) as refused:
        api.admin.create(resource(obj), obj, strict=True)
    message = refused.value.message
    _, found, rest = message.partition(f"{path}: ") if text else message.partition(path)
    assert found, f"{path} is not named in: {message}"
    assert text in rest, f"{text!r} is not said of {path}: {message}"
    assert refused.value.status == (422 if text else 400)


# What of a pod and of its containers a run and a Function may set. All else that Kubernetes has, in later versions too, they may not.
# (A run's `priority` is its own, in the queue of its Deployment; a pod's comes from its class.)
OFFERED = {
    "JobRun": "affinity env imagePullSecrets nodeSelector priority priorityClassName resources runtimeClassName serviceAccountName "
    "tolerations volumeMounts volumes",
    "Function": "image",
}
PATCHES = ["podSpecPatch", "podTemplate", "podMetadata", "template", "executor", "sidecars", "hooks", "artifactGC"]


@pytest.mark.parametrize("plain", [run("wide"), function("wide")], ids=["JobRun", "Function"])
def test_every_field_of_a_pod_that_is_not_offered_is_refused_by_its_name(api: ApiServer, plain: Object) -> None:
    schemas = api.admin.request("GET", "/openapi/v3/api/v1")["components"]["schemas"]
    kinds = ("PodSpec", "Container", "EphemeralContainer", "PodTemplateSpec")
    fields = {field for kind in kinds for field in schemas[f"io.k8s.api.core.v1.{kind}"]["properties"]}
    offered = set(OFFERED[plain["kind"]].split())
    assert offered <= fields
    forbidden = [*sorted(fields - offered - {"spec"}), *PATCHES]
    assert {"hostNetwork", "hostPID", "securityContext", "automountServiceAccountToken", "command"} <= set(forbidden)
    assert len(forbidden) > 40
    for field in forbidden:
        with pytest.raises(Refused) as refused:
            api.admin.create(resource(plain), {**plain, "spec": {**plain["spec"], field: {}}}, strict=True)
        assert (refused.value.status, f'unknown field "spec.{field}"' in refused.value.message) == (400, True), refused.value
    lenient = {**plain, "spec": {**plain["spec"], **{field: {} for field in forbidden}}}
    assert api.admin.create(resource(plain), lenient)["spec"] == plain["spec"]


CHANGES: dict[str, tuple[Object, str]] = {
    "functionRef": ({"functionRef": {"name": "g"}}, "functionRef"),
    "deploymentRef": ({"functionRef": None, "deploymentRef": {"name": "g"}}, "deploymentRef"),
    "description": ({"description": "b"}, "description"),
    "parameters": ({"parameters": {"deep": {"list": [1, 2]}}}, "parameters"),
    "inputs": ({"inputs": [{"name": "i", "dataStore": {"name": "s", "path": "b"}}]}, "inputs"),
    "inputData": ({"inputData": [{"values": [[1, "b"]]}]}, "inputData"),
    "outputs": ({"outputs": [{"name": "o", "asset": "b"}]}, "outputs"),
    "environmentVariables": ({"environmentVariables": {"A": "b"}}, "environmentVariables"),
    "env": ({"env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}}]}, "env"),
    "profile": ({"profile": "b"}, "profile"),
    "resources": ({"resources": {"limits": {"memory": "2Gi"}}}, "resources"),
    "nodeSelector": ({"nodeSelector": {"disk": "b"}}, "nodeSelector"),
    "tolerations": ({"tolerations": [{"key": "b"}]}, "tolerations"),
    "affinity": ({"affinity": {"nodeAffinity": {"x": [{"y": "b"}]}}}, "affinity"),
    "priorityClassName": ({"priorityClassName": "b"}, "priorityClassName"),
    "runtimeClassName": ({"runtimeClassName": "b"}, "runtimeClassName"),
    "serviceAccountName": ({"serviceAccountName": "b"}, "serviceAccountName"),
    "imagePullSecrets": ({"imagePullSecrets": [{"name": "b"}]}, "imagePullSecrets"),
    "volumes": ({"volumes": [{"name": "b"}]}, "volumes"),
    "volumeMounts": ({"volumeMounts": [{"name": "b"}]}, "volumeMounts"),
    "podSecurityContext": ({"podSecurityContext": {"runAsUser": 2}}, "podSecurityContext"),
    "scratch": ({"scratch": {"size": "2Gi"}}, "scratch"),
    "logs": ({"logs": "None"}, "logs"),
    "timeouts": ({"timeouts": {"running": "2h"}}, "timeouts"),
    "retries": ({"retries": 2}, "retries"),
    "kueueQueue": ({"kueueQueue": "b"}, "kueueQueue"),
    "parallel": ({"parallel": {"shards": 3}}, "parallel"),
}
BEFORE: Object = {
    "description": "a",
    "parameters": {"deep": {"list": [1, 1]}},
    "inputs": [{"name": "i", "dataStore": {"name": "s", "path": "a"}}],
    "inputData": [{"values": [[1, "a"]]}],
    "outputs": [{"name": "o", "asset": "a"}],
    "environmentVariables": {"A": "a"},
    "env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}],
    "profile": "a",
    "resources": {"limits": {"memory": "1Gi"}},
    "nodeSelector": {"disk": "a"},
    "tolerations": [{"key": "a"}],
    "affinity": {"nodeAffinity": {"x": [{"y": "a"}]}},
    "priorityClassName": "a",
    "runtimeClassName": "a",
    "serviceAccountName": "a",
    "imagePullSecrets": [{"name": "a"}],
    "volumes": [{"name": "a"}],
    "volumeMounts": [{"name": "a"}],
    "podSecurityContext": {"runAsUser": 1},
    "scratch": {"size": "1Gi"},
    "logs": "Archive",
    "timeouts": {"running": "1h"},
    "retries": 1,
    "parallel": {"shards": 2},
}
WHAT_TO_DO = "create a new one instead"


@pytest.fixture(scope="session")
def full_run(api: ApiServer) -> Object:
    """A run that has every field."""
    return api.admin.create("jobruns", run("full", **BEFORE), strict=True)


@pytest.fixture(scope="session")
def bare_run(api: ApiServer) -> Object:
    """A run that has no field but functionRef."""
    return api.admin.create("jobruns", run("bare"), strict=True)


def test_every_field_of_a_run_is_in_the_table(api: ApiServer) -> None:
    definition = api.admin.get("customresourcedefinitions", None, "jobruns.millrace.dev")
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert set(schema["properties"]["spec"]["properties"]) == {*CHANGES, *MUTABLE}


@pytest.mark.parametrize(("patch", "field"), CHANGES.values(), ids=CHANGES.keys())
def test_a_field_of_a_run_cannot_be_changed(api: ApiServer, full_run: Object, patch: Object, field: str) -> None:
    assert_immutable(api, "full", patch, field)


@pytest.mark.parametrize("field", BEFORE)
def test_a_field_of_a_run_cannot_be_removed(api: ApiServer, full_run: Object, field: str) -> None:
    assert_immutable(api, "full", {field: None}, field)


@pytest.mark.parametrize("field", BEFORE)
def test_a_field_of_a_run_cannot_be_added(api: ApiServer, bare_run: Object, field: str) -> None:
    assert_immutable(api, "bare", {field: BEFORE[field]}, field)


def assert_immutable(api: ApiServer, name: str, spec: Object, field: str) -> None:
    with pytest.raises(Refused) as refused:
        api.admin.merge("jobruns", "api", name, {"spec": spec})
    message = refused.value.message
    assert f"spec.{field}: " in message, message
    assert f"{field} is immutable" in message
    assert WHAT_TO_DO in message


def test_two_changed_fields_are_both_named(api: ApiServer, full_run: Object) -> None:
    with pytest.raises(Refused) as refused:
        api.admin.merge("jobruns", "api", "full", {"spec": {"retries": 5, "logs": "None"}})
    assert "retries is immutable" in refused.value.message
    assert "logs is immutable" in refused.value.message


def test_priority_and_suspend_can_be_changed_as_often_as_one_likes(api: ApiServer) -> None:
    api.admin.create("jobruns", run("waits", suspend=True), strict=True)
    for change in (
        {"priority": 5, "suspend": False},
        {"priority": -5, "suspend": True},
        {"priority": None, "suspend": None},
    ):
        spec = api.admin.merge("jobruns", "api", "waits", {"spec": change})["spec"]
        assert {field: spec.get(field) for field in change} == change


def test_cancel_can_be_set_and_not_taken_back(api: ApiServer) -> None:
    api.admin.create("jobruns", run("cancelled"), strict=True)
    api.admin.merge("jobruns", "api", "cancelled", {"spec": {"cancel": False}})
    assert api.admin.merge("jobruns", "api", "cancelled", {"spec": {"cancel": True}})["spec"]["cancel"] is True
    for back in (False, None):
        with pytest.raises(Refused) as refused:
            api.admin.merge("jobruns", "api", "cancelled", {"spec": {"cancel": back}})
        assert "spec.cancel: " in refused.value.message
        assert "cancel cannot be taken back; create a new JobRun instead" in refused.value.message


ASSET = {
    "apiVersion": "millrace.dev/v1alpha1",
    "kind": "DataAsset",
    "metadata": {"name": "heart", "namespace": "api"},
    "spec": {"path": "heart/3", "dataStore": "lake", "reclaim": "Retain"},
}


def test_reclaim_delete_names_its_store_and_is_not_taken_back(api: ApiServer) -> None:
    placeless = {**ASSET, "spec": {"path": "heart/3", "reclaim": "Delete"}}
    with pytest.raises(Refused, match=r"spec\.reclaim: .*reclaim Delete needs dataStore"):
        api.admin.create("dataassets", placeless, strict=True)
    api.admin.create("dataassets", ASSET, strict=True)
    api.admin.merge("dataassets", "api", "heart", {"spec": {"reclaim": "Delete"}})
    for back in ("Retain", None):
        with pytest.raises(Refused, match=r"spec\.reclaim: .*cannot be taken back"):
            api.admin.merge("dataassets", "api", "heart", {"spec": {"reclaim": back}})
    with pytest.raises(Refused, match=r"spec\.path: .*path is immutable"):
        api.admin.merge("dataassets", "api", "heart", {"spec": {"path": "heart/4"}})
