"""Who reads and who writes: kind of store x kind of credential x read or write (rows D6, D21 to D25).

What the seed's table grants is granted; the rest is AccessDenied with host and key, and never the credential.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from minio import MinioAdmin
from minio.credentials import StaticProvider

from support.cluster import API_VERSION, Namespace, Object, condition, function, job_run
from support.command import Command
from support.emulators import ACCOUNT, ACCOUNT_KEY, running_azurite, running_fake_gcs
from support.identities import Authority, running_authority
from support.store import ENDPOINT, new_bucket, root_keys, secret
from support.waiting import wait_for

CANARY = "wrong-key-canary"
MINIO = os.environ.get("MILLRACE_MINIO_ENDPOINT", "").removeprefix("http://")
HOST = ".".join([*MINIO.partition(":")[0].split(".")[:3], "1"])  # this machine, as pods of a local cluster reach it
AZURE_VERSION = "2025-07-05"  # the newest that Azurite knows
AUDIENCE = "minio"
ROLE = "arn:minio:iam:::role/" + base64.urlsafe_b64encode(hashlib.sha1(AUDIENCE.encode()).digest()).decode().rstrip("=")
READ = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
WRITE = ["s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:PutObject"]
CODE = """
import os, pathlib
def main(data=None):
    if data:
        assert pathlib.Path(data, "a.txt").read_text() == "content"
    else:
        pathlib.Path(os.environ["BATCH_OUTPUT_DIR"], "b.txt").write_text("made")
"""


def policy(*statements: tuple[list[str], Object]) -> Object:
    """A policy on all buckets of tests."""
    there = ["arn:aws:s3:::t-*", "arn:aws:s3:::t-*/*"]
    allowed = [{"Effect": "Allow", "Action": actions, "Resource": there, **more} for actions, more in statements]
    return {"Version": "2012-10-17", "Statement": allowed}


def accounts(*names: str) -> Object:
    """The condition that it is a token of one of these ServiceAccounts."""
    return {"Condition": {"StringLike": {"jwt:sub": [f"system:serviceaccount:*:{name}" for name in names]}}}


@dataclass
class Place:
    """A store as the tests see it: its spec, its Secret, what stands in messages, and whether an output is there."""

    spec: Object
    where: str
    written: Callable[[], bool]
    keys: dict[str, str]


@pytest.fixture(scope="module")
def admin() -> MinioAdmin:
    """MinIO's administrator; tokens of accounts `reader` and `writer` are worth what their names say."""
    keys = root_keys()
    made = MinioAdmin(endpoint=MINIO, credentials=StaticProvider(keys["access_key"], keys["secret_key"]), secure=False)
    made.policy_add("runs", policy=policy((READ, accounts("reader", "writer")), (WRITE, accounts("writer"))))
    return made


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlobServiceClient]:
    with running_azurite(tmp_path_factory.mktemp("azurite"), "--blobHost", "0.0.0.0") as address:
        credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        endpoint = f"http://{HOST}:{address.rpartition(':')[2]}/{ACCOUNT}"
        with BlobServiceClient(endpoint, credential=credential, api_version=AZURE_VERSION) as client:
            yield client


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Authority]]:
    """fake-gcs-server asks nobody for a token; the authority gives one for a key that it knows."""
    with running_fake_gcs(tmp_path_factory.mktemp("gcs"), HOST) as address, running_authority(HOST) as authority:
        yield address, authority


def in_minio(admin: MinioAdmin, credential: str) -> Place:
    bucket = new_bucket()
    bucket.put("in/a.txt", b"content")
    s3: Object = {"endpoint": ENDPOINT, "bucket": bucket.name}
    keys: dict[str, str] = {}
    if credential.startswith("Secret"):
        keys = root_keys()
    if credential == "Secret that may read":
        made = admin.add_service_account(policy=policy((READ, {})))
        found = json.loads(made)["credentials"]
        keys = {"access_key": found["accessKey"], "secret_key": found["secretKey"]}
    if credential == "Secret that is wrong":
        keys["secret_key"] = CANARY
    if credential.startswith("identity"):
        s3["webIdentity"] = {"audience": AUDIENCE, "roleArn": ROLE}
    if credential == "anonymous, public":
        there = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
        public = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": READ, "Resource": there}
        bucket.client.set_bucket_policy(bucket.name, json.dumps({"Version": "2012-10-17", "Statement": [public]}))
    where = f"{ENDPOINT.removeprefix('http://')}/{bucket.name}"
    return Place({"s3": s3}, where, lambda: "out/res.zip" in bucket.names(), keys)


def in_azurite(client: BlobServiceClient, credential: str) -> Place:
    name = f"t-{secrets.token_hex(5)}"
    container = client.create_container(name, public_access="container" if credential == "anonymous, public" else None)
    container.upload_blob("in/a.txt", b"content")
    endpoint = client.url.rstrip("/")
    keys = {"secret_key": ACCOUNT_KEY} if credential.startswith("Secret") else {}
    if credential == "Secret that may read":
        rights, expiry = ContainerSasPermissions(read=True, list=True), datetime.now(UTC) + timedelta(hours=1)
        keys["secret_key"] = generate_container_sas(
            ACCOUNT, name, account_key=ACCOUNT_KEY, permission=rights, expiry=expiry, version=AZURE_VERSION
        )
    if credential == "Secret that is wrong":
        keys["secret_key"] = base64.b64encode(CANARY.encode()).decode()
    spec = {"account": ACCOUNT, "container": name, "endpoint": endpoint}
    where = f"{endpoint.removeprefix('http://').partition('/')[0]}/{name}"
    return Place({"azureBlob": spec}, where, lambda: "out/res.zip" in container.list_blob_names(), keys)


def in_google(google: tuple[str, Authority], credential: str) -> Place:
    address, authority = google
    client = storage.Client("t", credentials=AnonymousCredentials(), client_options={"api_endpoint": f"http://{address}"})
    bucket = client.create_bucket(f"t-{secrets.token_hex(5)}")
    bucket.blob("in/a.txt").upload_from_file(io.BytesIO(b"content"))
    keys = {"secret_key": json.dumps(authority.key_file)} if credential.startswith("Secret") else {}
    where = f"{address}/{bucket.name}"
    if credential == "Secret that is wrong":
        with running_authority() as stranger:
            keys["secret_key"] = json.dumps({**authority.key_file, "private_key": stranger.key_file["private_key"]})
        where = authority.address.removeprefix("http://")  # it is asked before the store is
    spec = {"bucket": bucket.name, "endpoint": f"http://{address}"}
    return Place({"gcs": spec}, where, lambda: bucket.blob("out/res.zip").exists(), keys)


# kind, credential, ServiceAccount of the run, whether it may read, whether it may write, identityUsed
MATRIX = [
    ("s3", "Secret that may all", None, True, True, "Store"),
    ("s3", "Secret that may read", None, True, False, "Store"),
    ("s3", "Secret that is wrong", None, False, False, None),
    ("s3", "identity of the run", "writer", True, True, "Job"),
    ("s3", "identity of the run", "reader", True, False, "Job"),
    ("s3", "identity of the run", "stranger", False, False, None),
    ("s3", "anonymous, public", None, True, False, "Anonymous"),
    ("s3", "anonymous", None, False, False, None),
    ("azureBlob", "Secret that may all", None, True, True, "Store"),
    ("azureBlob", "Secret that may read", None, True, False, "Store"),
    ("azureBlob", "Secret that is wrong", None, False, False, None),
    ("azureBlob", "anonymous, public", None, True, False, "Anonymous"),
    ("azureBlob", "anonymous", None, False, False, None),
    ("gcs", "Secret that may all", None, True, True, "Store"),
    ("gcs", "Secret that is wrong", None, False, False, None),
    ("gcs", "anonymous, public", None, True, None, "Anonymous"),  # the emulator lets everybody write
]


@pytest.mark.parametrize(
    ("kind", "credential", "account", "reads", "writes", "identity"),
    MATRIX,
    ids=[f"{kind}-{credential}-{account or 'default'}".replace(" ", "_") for kind, credential, account, *_ in MATRIX],
)
def test_what_is_granted_is_granted_and_the_rest_is_denied_with_host_and_key(
    request: pytest.FixtureRequest,
    namespace: Namespace,
    kind: str,
    credential: str,
    account: str | None,
    reads: bool,
    writes: bool | None,
    identity: str | None,
) -> None:
    make: dict[str, tuple[Callable[[Any, str], Place], str]] = {
        "s3": (in_minio, "admin"),
        "azureBlob": (in_azurite, "azurite"),
        "gcs": (in_google, "google"),
    }
    build, server = make[kind]
    place = build(request.getfixturevalue(server), credential)
    store = {"apiVersion": API_VERSION, "kind": "DataStore", "metadata": {"name": "store"}, "spec": dict(place.spec)}
    if place.keys:
        store["spec"]["credentials"] = {"secretRef": {"name": "keys"}}
        namespace.apply(secret("keys", **place.keys))
    more: Object = {"logs": "None", "timeouts": {"uploading": "10s"}}
    if account:
        namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
        more["serviceAccountName"] = account
    item = {"dataStore": {"name": "store", "path": "in"}, "name": "data", "stage": "Download"}
    output = {"dataStore": {"name": "store", "path": "out"}, "name": "res"}
    runs = [job_run("read", "use", inputs=[item], **more)]
    runs += [job_run("write", "use", outputs=[output], **more)] if writes is not None else []
    namespace.apply(store, function("use", CODE), *runs)

    said = {"read": granted_or_said(namespace, "read")}
    if reads:
        assert said["read"] == "", said
        assert namespace.status("read")["inputs"][0]["identityUsed"] == identity
    else:
        denied(said["read"], place.where)
    if writes is not None:
        said["write"] = granted_or_said(namespace, "write")
        assert place.written() is bool(writes)
        if writes:
            assert said["write"] == "", said
        else:
            denied(said["write"], place.where)
    whole = json.dumps([namespace.get("dstore", "store"), *namespace.list("jr"), *namespace.list("jobs"), said])
    whole += json.dumps([namespace.list("pods"), namespace.list("events")])
    for value in (*place.keys.values(), CANARY):
        assert value not in whole, "a credential is told"


def granted_or_said(namespace: Namespace, run: str) -> str:
    """Empty for a run that succeeds, else why it failed or what keeps it waiting."""

    def look() -> tuple[str] | None:
        status = namespace.status(run)
        if status.get("phase") == "Succeeded":
            return ("",)
        if status.get("phase") == "Failed":
            return (f"{status['failure']['reason']}: {status['failure']['message']}",)
        waits = condition(status, "Resolved")
        blocked = status.get("phase") == "Blocked" and waits and "AccessDenied" in waits["message"]
        return (waits["message"],) if blocked and waits else None

    return wait_for(f"run {run} is over or refused", look, seconds=120)[0]


def denied(text: str, where: str) -> None:
    """The message has the reason, and host and bucket."""
    assert "AccessDenied: " in text, text
    assert where in text, text


def test_what_only_runs_may_read_is_downloaded_through_one_with_its_account(
    millrace: Command, namespace: Namespace, admin: MinioAdmin
) -> None:
    place = in_minio(admin, "identity of the run")
    meta: Object = {"name": "store", "annotations": {"millrace.dev/is-default": "true"}}
    output = {"dataStore": {"name": "store", "path": "out"}, "name": "res"}
    namespace.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "writer"}},
        {"apiVersion": API_VERSION, "kind": "DataStore", "metadata": meta, "spec": place.spec},
        function("use", CODE),
        job_run("write", "use", outputs=[output], logs="None", serviceAccountName="writer"),
    )
    assert namespace.finished("write")["phase"] == "Succeeded"
    _, err = millrace("download", "write", "--extract")
    assert "knows the ServiceAccounts of runs only" in err
    assert (millrace.folder / "write/res/b.txt").read_text() == "made"
