"""Azure Blob Storage and Google Cloud Storage: what is not as with S3."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerSasPermissions, generate_container_sas

from integration.data.servers import Proxy
from integration.data.witnesses import AZURE_VERSION, ON_EACH, AnyBucket, Container, GoogleBucket
from millrace.data import Attempt, Credentials, DataError, Store, commit, open_store, put_file, stage_input, upload_output
from millrace.data.errors import from_status
from millrace.protocol import PROBE_VARIABLE
from support.authority import Authority as CertificateAuthority
from support.emulators import ACCOUNT, ACCOUNT_KEY, running_azurite
from support.identities import CLIENT, POD_TOKEN, TENANT, Authority, running_authority

OPERATOR = Path(__file__).resolve().parents[3] / "operator"
ZIP_KEY = "scores/a.zip"


def reason(entry: dict[str, Any], keys: Credentials | None, seconds: float = 5) -> str:
    opened = open_store(entry, keys)
    try:
        opened.probe(seconds=seconds)
    except DataError as error:
        assert keys is None or keys.secret_key not in str(error)
        assert "canary" not in str(error)
        return error.reason
    finally:
        opened.close()
    return "ok"


def publish(store: Store, tree: Path, uid: str) -> str:
    """Publishes a tree as a zip; its SHA-256."""
    attempt, deadline = Attempt(run_uid=uid, number=1, stores={0: store}, record=0), time.monotonic() + 60
    output = {"name": "a", "path": str(tree), "store": 0, "key": ZIP_KEY, "archive": "Zip"}
    pending = upload_output(attempt, output, deadline=deadline)
    return commit(attempt, "success", [pending], deadline=deadline)[0].sha256


@ON_EACH
@pytest.mark.parametrize("prefix", ["", "team/a"])
def test_a_tree_that_is_staged_is_what_was_there(bucket: AnyBucket, tmp_path: Path, deadline: float, prefix: str) -> None:
    """Small, in ranges, with names that must be quoted and a marker of a folder."""
    start = f"{prefix}/" if prefix else ""
    files = {"a b/ü+%41.txt": b"1", "deep/er/empty": b"", "big": os.urandom(9 << 20), "#?": b"x" * 300_000}
    for name, content in files.items():
        bucket.put(f"{start}in/{name}", content)
    bucket.put(f"{start}in/marker/", b"")
    bucket.put(f"{start}in-not", b"no")
    item = {"type": "uri_folder", "key": "in", "path": str(tmp_path / "in")}
    staged = stage_input(bucket.store(prefix=prefix), item, deadline=deadline)
    found = {
        str(path.relative_to(tmp_path / "in")): path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()
    }
    assert found == files
    assert (tmp_path / "in/marker").is_dir()
    assert (staged.bytes, staged.files, staged.identity) == (sum(map(len, files.values())), 4, "Store")


@ON_EACH
def test_bytes_that_are_damaged_on_their_way_never_arrive(
    bucket: AnyBucket, proxy: Proxy, tmp_path: Path, deadline: float
) -> None:
    content = b"x" * 100_000
    bucket.put("in/file", content)
    rule = proxy.on("GET", "in%2Ffile?gen" if bucket.scheme == "gs" else f"{bucket.name}/in/file", "damage-response")
    item = {"type": "uri_file", "key": "in/file", "path": str(tmp_path)}
    stage_input(bucket.store(proxy.address), item, deadline=deadline)
    assert rule.seen == 2
    assert (tmp_path / "file").read_bytes() == content


@ON_EACH
def test_many_objects_take_several_pages(bucket: AnyBucket, deadline: float, monkeypatch: Any) -> None:
    for number in range(7):
        bucket.put(f"in/{number}", b"%d" % number)
    store = bucket.store()
    service = store.service  # type: ignore[attr-defined]
    original, asked = service.page, []

    def page(prefix: str, token: str, *, limit: int | None, seconds: float | None = None) -> Any:
        asked.append(token)
        return original(prefix, token, limit=min(limit or 3, 3), seconds=seconds)

    monkeypatch.setattr(service, "page", page)
    assert [entry.key for entry in store.list("in/", deadline=deadline)] == [f"in/{number}" for number in range(7)]
    assert len(asked) == 3
    assert [entry.key for entry in store.list("in/", deadline=deadline, limit=4)] == [f"in/{number}" for number in range(4)]


# --- The probe -----------------------------------------------------------------------------------------------------------


def test_reasons_of_azure(azure_bucket: Container) -> None:
    entry, keys = azure_bucket.entry(), azure_bucket.keys_of_store
    spec = entry["azureBlob"]
    assert reason(entry, keys) == "ok"
    assert reason({**entry, "azureBlob": {**spec, "container": "no-such-container"}}, keys) == "ContainerNotFound"
    assert reason({**entry, "azureBlob": {**spec, "account": "another"}}, keys) == "AccessDenied"
    assert reason(entry, Credentials("", "d3Jvbmcga2V5")) == "AccessDenied"
    assert reason(entry, Credentials("", "this is no key")) == "AccessDenied"
    assert reason({**entry, "credentials": False}, None) == "AccessDenied"
    assert reason({**entry, "azureBlob": {**spec, "endpoint": "http://127.0.0.1:9/x"}}, keys) == "Unreachable"
    assert reason({**entry, "azureBlob": {**spec, "endpoint": "http://store.invalid"}}, keys) == "Unreachable"


def test_reasons_of_google(gcs_bucket: GoogleBucket, authority: Authority) -> None:
    entry, keys = gcs_bucket.entry(), gcs_bucket.keys_of_store
    spec = entry["gcs"]
    assert reason(entry, keys) == "ok"
    assert reason({**entry, "gcs": {**spec, "bucket": "no-such-bucket"}}, keys) == "BucketNotFound"
    assert reason({**entry, "gcs": {**spec, "endpoint": "http://127.0.0.1:9"}}, keys) == "Unreachable"
    with running_authority() as stranger:
        unknown = {**authority.key_file, "private_key": stranger.key_file["private_key"]}
    for key in (unknown, {**authority.key_file, "private_key": "none"}, ["no object"], {}):
        assert reason(entry, Credentials("", json.dumps(key))) == "AccessDenied", key
    away = {**authority.key_file, "token_uri": "http://127.0.0.1:9/token"}
    assert reason(entry, Credentials("", json.dumps(away))) == "Unreachable"


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (404, "ContainerNotFound", "ContainerNotFound"),
        (404, "BlobNotFound", "NotFound"),
        (404, "ResourceNotFound", "AccessDenied"),
        (409, "PublicAccessNotPermitted", "AccessDenied"),
        (400, "Md5Mismatch", "ChecksumMismatch"),
        (503, "ServerBusy", "Throttled"),
    ],
)
def test_azure_s_words(status: int, code: str, reason: str) -> None:
    """What Azurite never says. The answer to a HEAD has its code in a header."""
    assert from_status(status, f"<Error><Code>{code}</Code></Error>", "h/c").reason == reason
    assert from_status(status, "", "h/c", code).reason == reason


@pytest.mark.parametrize("bucket", ["azure", "gcs"], indirect=True)
def test_a_store_without_credentials_is_probed_for_being_there(
    bucket: AnyBucket, proxy: Proxy, tmp_path: Path, monkeypatch: Any
) -> None:
    """The probe has another identity than a run: that it is refused says nothing of the run."""
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    proxy.tokens = set()
    entry = {**bucket.entry(proxy.address), "credentials": False}
    assert reason(entry, None) == "AccessDenied"
    (tmp_path / "dev").mkdir()
    program = [sys.executable, "-m", "millrace.inpod", "probe"]
    told = {PROBE_VARIABLE: json.dumps({"stores": [entry]}), "MILLRACE_ROOT": str(tmp_path), "PYTHONPATH": str(OPERATOR)}
    done = subprocess.run(program, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    proxy.down = True
    done = subprocess.run(program, env={**os.environ, **told}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.partition(":")[0]) == (1, "Unreachable")


@pytest.mark.parametrize("bucket", ["azure", "gcs"], indirect=True)
def test_answers_of_other_servers(bucket: AnyBucket, proxy: Proxy) -> None:
    for status, body, expected in (
        (200, b"<html>a login page", "BadResponse"),
        (200, b"<html></html>", "BadResponse"),
        (200, b"[1]", "BadResponse"),
        (429, b"", "Throttled"),
        (503, b"<Error><Code>ServerBusy</Code></Error>", "Throttled"),
        (403, b'{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}', "Throttled"),
        (500, b"", "ServerError"),
        (403, b"", "AccessDenied"),
    ):
        proxy.rules.clear()
        proxy.on("GET", "prefix=", "answer", status=status, body=body, times=99)
        assert reason(bucket.entry(proxy.address), bucket.keys_of_store) == expected


# --- Who asks -------------------------------------------------------------------------------------------------------------


def test_a_shared_access_signature_of_azure(azure_bucket: Container, tmp_path: Path, deadline: float) -> None:
    """What it grants is granted, and nothing else."""

    def signature(**rights: bool) -> Credentials:
        expiry = datetime.now(UTC) + timedelta(hours=1)
        permission = ContainerSasPermissions(**rights)
        text = generate_container_sas(
            ACCOUNT, azure_bucket.name, account_key=ACCOUNT_KEY, permission=permission, expiry=expiry, version=AZURE_VERSION
        )
        return Credentials("", f"?{text}")

    azure_bucket.put("in/file", b"content")
    (tmp_path / "out").mkdir()
    reader = open_store(azure_bucket.entry(), signature(read=True, list=True))
    item = {"type": "uri_folder", "key": "in", "path": str(tmp_path / "in")}
    assert stage_input(reader, item, deadline=deadline).bytes == 7
    with pytest.raises(DataError) as caught:
        publish(reader, tmp_path / "out", "reader")
    assert caught.value.reason == "AccessDenied"
    assert "sig=" not in str(caught.value)
    writer = open_store(azure_bucket.entry(), signature(read=True, write=True, create=True))
    assert publish(writer, tmp_path / "out", "writer") == hashlib.sha256(azure_bucket.get(ZIP_KEY)).hexdigest()
    assert reason(azure_bucket.entry(), signature(read=True, write=True)) == "AccessDenied"  # it may not list
    reader.close()
    writer.close()


@pytest.fixture(scope="module")
def strict_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An Azurite that takes tokens, for which it must speak https: (host:port, the authority's file)."""
    folder = tmp_path_factory.mktemp("strict")
    ca = CertificateAuthority(folder / "ca").make()
    for name, text in zip(("key.pem", "cert.pem"), ca.sign("127.0.0.1"), strict=True):
        (folder / name).write_text(text)
    flags = ("--oauth", "basic", "--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem"))
    with running_azurite(folder, *flags) as address:
        yield address, ca.folder / "ca.crt"


def test_azure_s_workload_identity(
    strict_azurite: tuple[str, Path], authority: Authority, tmp_path: Path, deadline: float, monkeypatch: Any
) -> None:
    """The variables and the file that Azure's webhook gives to a pod are all that is needed."""
    from azure.storage.blob import BlobServiceClient

    address, cert = strict_azurite
    endpoint = f"https://{address}/{ACCOUNT}"
    credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
    with (
        BlobServiceClient(endpoint, credential=credential, api_version=AZURE_VERSION, connection_verify=str(cert)) as client,
        client.create_container("identity") as container,
    ):
        container.upload_blob("in/file", b"content")
    spec = {"account": ACCOUNT, "container": "identity", "endpoint": endpoint}
    entry = {"name": "t", "azureBlob": spec, "credentials": False, "ca": str(cert)}
    assert reason(entry, None) == "AccessDenied"
    (tmp_path / "token").write_text(POD_TOKEN)
    for name, value in {
        "AZURE_AUTHORITY_HOST": f"{authority.address}/",
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
    }.items():
        monkeypatch.setenv(name, value)
    store = open_store(entry, None)
    item = {"type": "uri_folder", "key": "in", "path": str(tmp_path / "in")}
    staged = stage_input(store, item, deadline=deadline)
    assert (staged.bytes, staged.identity) == (7, "Job")
    publish(store, tmp_path / "in", "identity")
    assert len([path for path, _ in authority.asked if path.startswith(f"/{TENANT}/")]) == 1, "the token is kept"
    store.close()
    (tmp_path / "token").write_text("another pod's")
    assert reason(entry, None) == "AccessDenied"
    assert reason({**entry, "ca": None}, None) == "AccessDenied"  # the authority refuses before the store is asked


def google_identity(kind: str, authority: Authority, folder: Path) -> dict[str, str]:
    """The environment of a pod with an identity of Google's."""
    (folder / "token").write_text(json.dumps({"value": POD_TOKEN}))
    form = {"type": "json", "subject_token_field_name": "value"}
    federated = {
        "type": "external_account",
        "audience": "//iam/pool",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{authority.address}/sts",
        "credential_source": {"file": str(folder / "token"), "format": form},
    }
    acting = {**federated, "service_account_impersonation_url": f"{authority.address}/act"}
    known = {"a key": authority.key_file, "federation": federated, "federation for an account": acting}
    if kind not in known:
        return {"GCE_METADATA_HOST": authority.address.removeprefix("http://")}
    (folder / "credentials").write_text(json.dumps(known[kind]))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(folder / "credentials")}


@pytest.mark.parametrize("kind", ["a key", "federation", "federation for an account", "the metadata server"])
@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_google_s_identities(
    bucket: GoogleBucket, proxy: Proxy, tmp_path: Path, deadline: float, monkeypatch: Any, kind: str
) -> None:
    """fake-gcs-server asks nobody for a token: the proxy before it takes only those that were given out."""
    with running_authority() as authority:
        proxy.tokens = authority.given
        bucket.put("in/file", b"content")
        entry = {**bucket.entry(proxy.address), "credentials": False}
        monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
        assert reason(entry, None) == "AccessDenied"
        for name, value in google_identity(kind, authority, tmp_path).items():
            monkeypatch.setenv(name, value)
        store = open_store(entry, None)
        item = {"type": "uri_folder", "key": "in", "path": str(tmp_path / "in")}
        staged = stage_input(store, item, deadline=deadline)
        assert (staged.bytes, staged.identity) == (7, "Job")
        sha256 = publish(store, tmp_path / "in", "identity")
        assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == sha256
        assert len(authority.given) == (2 if "account" in kind else 1), "the token is kept"
        store.close()


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_a_token_is_renewed_before_it_ends(bucket: GoogleBucket, proxy: Proxy, tmp_path: Path, monkeypatch: Any) -> None:
    with running_authority() as authority:
        proxy.tokens = authority.given
        keys = Credentials("", json.dumps(authority.key_file))
        store = open_store(bucket.entry(proxy.address), keys)
        store.probe(seconds=5)
        later = time.time() + 3600 - 200
        monkeypatch.setattr("millrace.data.tokens.time.time", lambda: later)
        store.probe(seconds=5)
        assert len(authority.given) == 2
        store.close()


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_a_public_bucket_needs_nobody(bucket: GoogleBucket, tmp_path: Path, deadline: float, monkeypatch: Any) -> None:
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")
    bucket.put("in/file", b"content")
    store = open_store({**bucket.entry(), "credentials": False}, None)
    item = {"type": "uri_file", "key": "in/file", "path": str(tmp_path)}
    assert stage_input(store, item, deadline=deadline).identity == "Anonymous"
    store.close()


# --- Publishing -----------------------------------------------------------------------------------------------------------

STEPS = {
    "azure": [
        ("PUT", "uploads.json"),
        ("PUT", "a.zip?comp=block&"),
        ("PUT", "commit.json"),
        ("PUT", "a.zip?comp=blocklist"),
    ],
    "gcs": [
        ("POST", "uploads.json"),
        ("POST", ".millrace%2Fuploads%2F"),
        ("POST", "commit.json"),
        ("POST", "a.zip/compose"),
    ],
}


@pytest.mark.parametrize("action", ["drop", "refuse", "answer", "after"])
@pytest.mark.parametrize(
    ("bucket", "step"), [(kind, step) for kind, steps in STEPS.items() for step in steps], indirect=["bucket"]
)
def test_each_answer_lost_once(bucket: AnyBucket, proxy: Proxy, tmp_path: Path, step: tuple[str, str], action: str) -> None:
    """Lost before or after the server did it, or answered with 500 before or after: one attempt gets through alone."""
    (tmp_path / "mark.txt").write_text("one")
    rule = proxy.on(*step, action, status=500, times=2)
    sha256 = publish(bucket.store(proxy.address), tmp_path, "lost")
    assert rule.seen, "the rule never matched"
    assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == sha256
    assert bucket.versions(ZIP_KEY) == 1
    assert bucket.uploads(ZIP_KEY) == []


@pytest.mark.parametrize(
    ("bucket", "part"), [("azure", "comp=block&"), ("gcs", ".millrace%2Fuploads%2F")], indirect=["bucket"]
)
def test_a_part_that_is_damaged_on_its_way(bucket: AnyBucket, proxy: Proxy, tmp_path: Path, part: str) -> None:
    (tmp_path / "mark.txt").write_text("one")
    rule = proxy.on("PUT" if bucket.scheme == "az" else "POST", part, "damage-request")
    sha256 = publish(bucket.store(proxy.address), tmp_path, "damaged")
    assert rule.seen > 1
    assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == sha256


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_google_composes_over_what_it_has_looked_at_only(bucket: GoogleBucket, proxy: Proxy, tmp_path: Path) -> None:
    """The condition is sent, and when it does not hold the object is looked at again."""
    (tmp_path / "mark.txt").write_text("one")
    bucket.put(ZIP_KEY, b"last night's")
    generation = bucket.client.bucket(bucket.name).get_blob(ZIP_KEY).generation
    conflict = b'{"error": {"code": 412, "errors": [{"reason": "conditionNotMet"}]}}'
    rule = proxy.on("POST", f"/compose?ifGenerationMatch={generation}", "answer", status=412, body=conflict)
    publish(bucket.store(proxy.address), tmp_path, "compose")
    assert rule.seen == 2
    assert bucket.versions(ZIP_KEY) == 1


@pytest.mark.parametrize("bucket", ["gcs"], indirect=True)
def test_google_composes_more_parts_than_one_call_takes(bucket: GoogleBucket, deadline: float, monkeypatch: Any) -> None:
    monkeypatch.setattr("millrace.data.compose.AT_ONCE", 3)
    uploads = bucket.store().uploads
    upload_id = uploads.create("whole", deadline=deadline)[0]
    writer = uploads.writer("whole", 1000, lambda: upload_id, deadline=deadline)
    content = os.urandom(28_500)  # 29 parts: 10, 4, 2 objects
    writer.write(content)
    writer.finish()
    assert uploads.complete("whole", upload_id, writer.parts, deadline=deadline)
    assert bucket.get("whole") == content
    assert bucket.uploads("whole") == []
    assert not uploads.complete("elsewhere", upload_id, writer.parts, deadline=deadline)


def test_an_earlier_failure_s_blocks_do_not_cost_a_later_success(azure_bucket: Container, tmp_path: Path) -> None:
    """A block list discards all other blocks of its blob: what stands is completed before anything is uploaded."""
    from millrace.data import publish as module
    from millrace.data import take_over

    deadline = time.monotonic() + 60
    trees = []
    for mark in ("failed", "done"):
        trees.append(tmp_path / mark)
        trees[-1].mkdir()
        (trees[-1] / "mark.txt").write_text(mark)
    output = {"name": "a", "store": 0, "key": ZIP_KEY, "archive": "Zip"}

    def attempt(number: int) -> Attempt:
        return Attempt(run_uid="two", number=number, stores={0: azure_bucket.store()}, record=0)

    first = attempt(1)
    pending = upload_output(first, {**output, "path": str(trees[0])}, deadline=deadline)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "_roll_forward", lambda *_, **__: [])  # it dies right after its record
        commit(first, "failure", [pending], deadline=deadline)
    second = attempt(2)
    assert take_over(second, deadline=deadline) is None
    pending = upload_output(second, {**output, "path": str(trees[1])}, deadline=deadline)
    published = commit(second, "success", [pending], deadline=deadline)
    assert hashlib.sha256(azure_bucket.get(ZIP_KEY)).hexdigest() == published[0].sha256
    assert azure_bucket.versions(ZIP_KEY) == 2


@pytest.mark.parametrize("bucket", ["azure", "gcs"], indirect=True)
def test_files_are_put_whole_with_their_checksum(bucket: AnyBucket, proxy: Proxy, tmp_path: Path, deadline: float) -> None:
    (tmp_path / "log").write_bytes(os.urandom(400_000))
    rule = proxy.on("PUT" if bucket.scheme == "az" else "POST", "main.log", "damage-request")
    uri = put_file(bucket.store(proxy.address), "logs/main.log", tmp_path / "log", deadline=deadline)
    assert rule.seen == 2
    assert uri == f"{bucket.scheme}://{bucket.name}/logs/main.log"
    assert bucket.get("logs/main.log") == (tmp_path / "log").read_bytes()
