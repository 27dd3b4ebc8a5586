"""Whole objects, compared with files. README.md tells how they are rewritten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fixtures.objects import DATA, SETTINGS, T0, function, metadata, run, store
from millrace import protocol as p
from millrace.api.base import Metadata
from millrace.api.crd import KINDS, definition
from millrace.api.dataasset import DataAsset
from millrace.api.datastore import DataStore
from millrace.api.function import Function
from millrace.api.notification import Notification
from millrace.api.schedule import Schedule
from millrace.build.chore import probe_job
from millrace.build.cronjob import cron_job
from millrace.build.job import next_job, run_job
from millrace.build.keep import keep_job
from millrace.build.notify import notify_job
from millrace.build.parallel import next_shards, run_jobs
from millrace.build.pod import compact
from millrace.build.reclaim import reclaim_job
from millrace.build.revision import authorities, revision
from millrace.domain.notifications import Message
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Origin, Resolved
from millrace.domain.retention import Stored
from millrace.domain.shards import Shards

Object = dict[str, Any]
HERE = Path(__file__).resolve().parent
SECRET = {"credentials": {"secretRef": {"name": "lake-keys"}}}
LAKE = store(**SECRET)
WAREHOUSE = store(
    "warehouse",
    default=False,
    s3={"bucket": "warehouse", "prefix": "team", "region": "eu-west-1", "pathStyle": False, "endpoint": "https://s3.test"},
    credentials={"secretRef": {"name": "keys"}, "keys": {"accessKey": "id", "secretKey": "secret"}},
    caBundleRef={"configMap": "ca", "key": "bundle.pem"},
)
ASSET = DataAsset.model_validate(
    {
        "metadata": metadata("heart-3", "0a1b2c3d-uid"),
        "spec": {"asset": "heart", "path": "heart/3", "dataStore": "warehouse", "reclaim": "Delete"},
    }
)
SAFE = store("safe", **SECRET, caBundleRef={"configMap": "safe-ca"})
AZURE = store(
    "lake", s3=None, azureBlob={"account": "lakes", "container": "data", "prefix": "team"}
)  # reached by the identity of the run
GOOGLE = store(
    "warehouse",
    default=False,
    s3=None,
    gcs={"bucket": "warehouse"},
    credentials={"secretRef": {"name": "keys"}, "keys": {"secretKey": "key.json"}},
)
OWN = store(
    s3={
        "endpoint": "https://minio.test",
        "bucket": "lake",
        "webIdentity": {"audience": "minio", "roleArn": "arn:minio:iam:::role/x"},
    }
)
CLAIM = store("lake", s3=None, volume={"claimName": "heart", "subPath": "team/a"})
SHARED = store("warehouse", default=False, s3=None, volume={"claimName": "shared", "readOnly": True})
SERVER = store(
    "archive",
    default=False,
    s3=None,
    http={"baseUrl": "https://data.test/files/"},
    credentials={"secretRef": {"name": "token"}},
    caBundleRef={"configMap": "archive-ca"},
)
ARCHIVE = store("archive", default=False, caBundleRef={"configMap": "archive-ca"})
AUTHORITIES = SETTINGS.model_copy(
    update={
        "ca_bundle_file": "/etc/millrace/ca.crt",
        "index_url": "https://index.test/simple",
        "image_pull_secrets": ["pull"],
        "stage_resources": {"requests": {"cpu": "100m"}},
        "collect_resources": {"limits": {"memory": "96Mi"}},
        "chore_resources": {"requests": {"cpu": "10m"}},
    }
)
EVERYTHING: Object = {
    "description": "all that is passed through",
    "parameters": {"threshold": 0.5, "text": 'ü"$(HOME)', "list": [1, None, {"a": True}]},
    "inputData": [{"fields": ["a", "b"], "values": [[1, "x"], [2, None]]}],
    "environmentVariables": {"COST": "$5 $(A) $$", "EMPTY": ""},
    "env": [
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "t", "key": "k"}}},
        {"name": "PRICE", "value": "$1"},
    ],
    "resources": {"limits": {"memory": "1Gi", "nvidia.com/gpu": 1}},
    "nodeSelector": {"disk": "fast"},
    "tolerations": [{"key": "gpu", "operator": "Exists"}],
    "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "high",
    "runtimeClassName": "kata",
    "serviceAccountName": "runner",
    "imagePullSecrets": [{"name": "own"}],
    "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}],
    "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    "podSecurityContext": {"runAsUser": 1000, "supplementalGroups": [7]},
    "scratch": {"size": "10Gi"},
    "timeouts": {"scheduling": "10m", "staging": "1h", "running": "2h", "uploading": "5m"},
    "retries": 3,
}


def resolved(spec: Object, *stores: DataStore, code: Function | None = None, settings: Any = SETTINGS) -> Resolved:
    found = resolve(run(**spec), code or function(), {s.metadata.name: s for s in stores}, (), settings)
    assert isinstance(found, Resolved), found
    return found


def job(
    spec: Object, *stores: DataStore, code: Function | None = None, settings: Any = SETTINGS, attempt: int = 1
) -> Object:
    return run_job(resolved(spec, *stores, code=code, settings=settings), settings, attempt)


def as_stored(manifest: Object) -> Object:
    """A Job as the API server gives it back: with defaults and labels of its own, and ended by us."""
    found: Object = json.loads(json.dumps(manifest))
    found["metadata"] |= {"uid": "job-1", "resourceVersion": "7", "creationTimestamp": "2026-01-31T08:00:00Z"}
    found["metadata"]["annotations"]["millrace.dev/ended"] = "Cancelled: why"
    found["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "score"
    found["spec"] |= {
        "suspend": True,
        "completions": 1,
        "parallelism": 1,
        **found["spec"],
        "selector": {"matchLabels": {"uid": "job-1"}},
    }
    found["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/controller-uid"] = "job-1"
    found["status"] = {"failed": 1}
    return found


def kueues() -> Object:
    spec = {"nodeSelector": {"disk": "fast"}, "timeouts": {"running": "1h"}}
    return run_job(Resolved(**{**vars(resolved(spec)), "kueue_queue": "team-a"}), SETTINGS, 1)


def admitted(manifest: Object) -> Object:
    """A Job that Kueue has admitted for a flavor, and we have ended."""
    found = as_stored(manifest)
    found["spec"]["activeDeadlineSeconds"] = 0
    pod = found["spec"]["template"]["spec"]
    pod["nodeSelector"] = {**pod["nodeSelector"], "pool": "spot"}
    pod["tolerations"] = [{"key": "spot", "operator": "Exists"}]
    return found


DATA_RUN: Object = {
    "inputs": [{"name": "data", **DATA, "glob": "*.csv"}],
    "outputs": [{"name": "scores", "dataStore": {"name": "lake", "path": "out/{run}/{date}"}}],
}
INLINE: Object = [
    {"name": "rows", "inline": {"fields": ["age", "sex"], "values": [[63, None], [41, "f"]]}, "type": "uri_file"},
    {"name": "limits", "inline": {"values": [[{"deep": None}]]}, "glob": "*.json"},
    {"name": "data", **DATA},
]
WEB: Object = [
    {"name": "rows", "uri": "https://data.test/a/rows.csv?v=2", "type": "uri_file", "sha256": "0" * 64},
    {"name": "model", "uri": "https://data.test/models/", "type": "uri_file", "optional": True},
    {"name": "raw", "uri": "https://data.test/raw", "type": "uri_file", "stage": "Never"},
]
TWO_STORES: Object = {
    "inputs": [
        {"name": "data", **DATA},
        {
            "name": "labels",
            "dataStore": {"name": "warehouse", "path": "labels.csv"},
            "type": "uri_file",
            "stage": "Download",
        },
        {"name": "raw", "dataStore": {"name": "archive", "path": "raw"}, "optional": True},
    ],
    "outputs": [
        {"name": "scores", "dataStore": {"name": "warehouse", "path": "scores"}, "archive": "None", "when": "Always"},
        {"name": "model", "asset": "heart-model"},
        {"name": "report", "href": "s3://elsewhere/report"},
    ],
}

MOUNTED: Object = {
    "inputs": [
        {"name": "data", **DATA, "stage": "Mount"},
        {"name": "labels", "dataStore": {"name": "warehouse", "path": "l/labels.csv"}, "type": "uri_file", "stage": "Mount"},
        {
            "name": "web",
            "dataStore": {"name": "archive", "path": "2026/a b.csv"},
            "type": "uri_file",
            "stage": "Download",
            "optional": True,
        },
        {"name": "raw", "dataStore": {"name": "warehouse", "path": "raw"}},
    ],
    "outputs": [{"name": "scores", "dataStore": {"name": "lake", "path": "out"}}],
}


NOBODY = SETTINGS.model_copy(update={"run_as_user": None})
BERLIN = Schedule(cron="0 9 * * mon-fri", time_zone="Europe/Berlin", suspend=True)


def clock_of(name: str, schedule: Schedule, *, settings: Any = SETTINGS, ended: bool = False) -> Object:
    return cron_job(Metadata.model_validate(metadata(name, "deployment-uid")), schedule, settings, ended=ended)


SHARDED: Object = {**DATA_RUN, "parallel": {"shards": 8, "parallelism": 3, "maxFailedShards": 1}}


def sharded(name: str, *stores: DataStore, **changes: Any) -> Object:
    """One of the Jobs of a run in shards."""
    jobs = run_jobs(resolved({**SHARDED, **changes}, *stores), SETTINGS, 1)
    return next(found for found in jobs if found["metadata"]["name"] == name)


ZIP: Object = {"uri": "s3://warehouse/team/code/heart.zip", "sha256": "5" * 64}
WEB_ZIP: Object = {"uri": "https://code.test/heart/archive/main.zip", "sha256": "5" * 64}
GOLDEN: dict[str, Callable[[], Object]] = {
    "job-without-data": lambda: job({}),
    "job-with-data-and-logs": lambda: job(DATA_RUN, LAKE),
    "job-with-two-stores-and-authorities": lambda: job(TWO_STORES, LAKE, WAREHOUSE, ARCHIVE),
    "job-with-inline-data": lambda: job({"inputs": INLINE, "inputData": EVERYTHING["inputData"]}, LAKE),
    "job-with-web-addresses": lambda: job({"inputs": WEB}, settings=AUTHORITIES),
    "job-with-azure-and-google": lambda: job(TWO_STORES, AZURE, GOOGLE, ARCHIVE),
    "job-with-claims-and-a-web-server": lambda: job(MOUNTED, CLAIM, SHARED, SERVER, settings=AUTHORITIES),
    "job-with-a-mounted-input-alone": lambda: job({"inputs": MOUNTED["inputs"][1:2], "logs": "None"}, SHARED),
    "job-by-web-identity": lambda: job({**DATA_RUN, "serviceAccountName": "scorer"}, OWN),
    "job-on-a-base-image": lambda: job({}, code=function(baseImage="base:1")),
    "job-on-an-own-image": lambda: job({}, code=function(image="own@sha256:0", pythonVersion="3.9")),
    "job-with-requirements": lambda: job({}, code=function(requirements=["pandas==2.3.3"]), settings=AUTHORITIES),
    "job-with-requirements-kept-in-a-store": lambda: job({}, SAFE, code=function(requirements=["pandas==2.3.3"])),
    "job-with-everything-passed-through": lambda: job(EVERYTHING, settings=AUTHORITIES),
    "job-of-a-deployment": lambda: run_job(
        Resolved(**{**vars(resolved(DATA_RUN, LAKE)), "origin": Origin("scoring", "deployment-uid", "scoring-1a2b")}),
        SETTINGS,
        1,
    ),
    "job-that-kueue-admits": kueues,
    "job-of-the-second-attempt-that-kueue-admits": lambda: next_job(admitted(kueues()), "score", 2, 0),
    "job-of-a-script": lambda: job({"logs": "None", **DATA_RUN}, LAKE, code=function(script="jobs/main.py")),
    "job-with-a-long-name": lambda: run_job(Resolved(**{**vars(resolved({})), "run": run("n" * 253)}), SETTINGS, 12),
    "job-without-a-user": lambda: job({}, settings=NOBODY),
    "job-of-a-zip": lambda: job({}, LAKE, WAREHOUSE, code=function(source={"zip": ZIP})),
    "job-of-a-zip-at-a-web-address": lambda: job({}, code=function(source={"zip": WEB_ZIP}), settings=AUTHORITIES),
    "job-of-the-second-attempt": lambda: next_job(as_stored(job({**DATA_RUN, "retries": 1}, LAKE)), "score", 2, 1),
    "shards": lambda: sharded("score", LAKE),
    "shards-of-the-second-attempt": lambda: next_shards(
        as_stored(sharded("score", LAKE)), "score", 2, Shards(count=8, tolerated=1, only=[2, 5], charged={5: 1}, failed=[7])
    ),
    "shards-plan": lambda: sharded("score-plan", LAKE),
    "shards-plan-of-the-second-attempt": lambda: next_job(as_stored(sharded("score-plan", LAKE)), "score", 2, 0),
    "shards-plan-in-a-claim": lambda: sharded("score-plan", CLAIM, outputs=[], logs="None"),
    "shards-merge": lambda: sharded("score-merge", LAKE),
    "probe-by-identity": lambda: probe_job(AZURE, SETTINGS),
    "keep": lambda: keep_job(
        Metadata.model_validate(metadata("scoring", "deployment-uid")),
        [
            Stored("logs", "s3://lake/logs/a/1/", "a-uid", True, T0, "lake", "logs/a/"),
            Stored("artifacts", "s3://warehouse/a/o.zip", "a-uid", True, T0, "warehouse", "a/o.zip"),
        ],
        (LAKE, WAREHOUSE),
        AUTHORITIES,
        waits="artifacts",
    ),
    "notify": lambda: notify_job(
        Metadata.model_validate(metadata("scoring", "deployment-uid")),
        Notification.model_validate({"on": ["Failed"], "urlSecretRef": {"name": "hook", "key": "url"}}),
        [Message("a-uid.Failed", "application/json; charset=utf-8", {"text": 'cost: $5, "$(MILLRACE_NOTIFY_URL)"'})],
        AUTHORITIES,
    ),
    "reclaim": lambda: reclaim_job(ASSET, "3", WAREHOUSE, AUTHORITIES),
    "probe": lambda: probe_job(LAKE, SETTINGS),
    "probe-by-web-identity": lambda: probe_job(OWN, SETTINGS),
    "probe-of-a-claim": lambda: probe_job(CLAIM, SETTINGS),
    "probe-of-a-web-server": lambda: probe_job(SERVER, SETTINGS),
    "probe-with-authorities": lambda: probe_job(WAREHOUSE, AUTHORITIES),
    "cronjob": lambda: clock_of("report", Schedule(cron="*/2 * * * *")),
    "cronjob-with-a-zone": lambda: clock_of("report", BERLIN, settings=NOBODY),
    "cronjob-that-has-ended": lambda: clock_of("n" * 253, Schedule(cron="@hourly"), ended=True),
    "revision": lambda: revision(function(description="what it does", source={"inline": "def main():\n    return 'ü'\n"})),
    "revision-of-a-zip": lambda: revision(function(source={"zip": ZIP})),
    "authorities": lambda: authorities("tenant", "-----BEGIN CERTIFICATE-----\n"),
}


def readable(found: Object) -> Object:
    """The annotations that are JSON texts as objects, after a look at the texts."""
    found = json.loads(json.dumps(found))
    template = (found.get("spec") or {}).get("template") or {}
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    for name in (p.PLAN_ANNOTATION, p.PAYLOAD_ANNOTATION):
        if name in annotations:
            text = annotations[name]
            annotations[name] = json.loads(text)
            assert compact(annotations[name]) == text
    return found


class Dumper(yaml.SafeDumper):
    """Without anchors; texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


Dumper.add_representer(str, _text)


def assert_golden(name: str, found: object, *, update: bool) -> None:
    path = HERE / f"{name}.yaml"
    text = yaml.dump(found, Dumper=Dumper, sort_keys=False, width=140, allow_unicode=True)
    if update:
        path.write_text(text)
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(text), f"{path.name} differs; see tests/golden/README.md"
    assert path.read_text() == text, f"the order of fields in {path.name} differs"


@pytest.mark.parametrize("name", GOLDEN)
def test_manifests(name: str, request: pytest.FixtureRequest) -> None:
    assert_golden(name, readable(GOLDEN[name]()), update=bool(request.config.getoption("--update-golden")))


RULES = (
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
    "required",
    "pattern",
    "enum",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "maxItems",
    "maxProperties",
)


def rules(schema: Object, path: str) -> Iterator[tuple[str, Object]]:
    found = {key: schema[key] for key in RULES if key in schema}
    if found:
        yield path, found
    for name, part in (schema.get("properties") or {}).items():
        yield from rules(part, f"{path}.{name}")
    if "items" in schema:
        yield from rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from rules(schema["additionalProperties"], f"{path}{{}}")


def test_rules_of_the_crds(request: pytest.FixtureRequest) -> None:
    found = {}
    for kind in KINDS:
        [version] = definition(kind)["spec"]["versions"]
        found[kind.name] = dict(rules(version["schema"]["openAPIV3Schema"]["properties"]["spec"], "spec"))
    assert_golden("rules", found, update=bool(request.config.getoption("--update-golden")))


def test_every_file_has_its_test() -> None:
    assert {path.stem for path in HERE.glob("*.yaml")} == {*GOLDEN, "rules"}


def test_names_of_objects_stay_those_of_the_fixtures() -> None:
    assert metadata("score", "run-uid")["namespace"] == "tenant"
