"""S3 by a token of the run's ServiceAccount: MinIO exchanges it for keys, and asks the cluster's issuer who signed it."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from Crypto.Hash import SHA256
from Crypto.PublicKey import RSA
from Crypto.Signature import pkcs1_15
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider

from integration.data.servers import ACCESS, SECRET, Bucket, running_minio
from millrace.data import Attempt, DataError, Store, commit, open_store, stage_input, upload_output

AUDIENCE = "minio"
ROLE = "arn:minio:iam:::role/" + base64.urlsafe_b64encode(hashlib.sha1(AUDIENCE.encode()).digest()).decode().rstrip("=")
READER = {"StringLike": {"jwt:sub": ["*:reader", "*:writer"]}}
WRITER = {"StringLike": {"jwt:sub": ["*:writer"]}}


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


@dataclass
class Issuer:
    """What signs tokens of ServiceAccounts, and tells MinIO its key, as an API server does."""

    address: str
    key: RSA.RsaKey

    def token(self, account: str, audience: str = AUDIENCE, seconds: int = 3600) -> str:
        head = {"alg": "RS256", "typ": "JWT", "kid": "1"}
        now = int(time.time())
        claims = {"iss": self.address, "sub": f"system:serviceaccount:tenant:{account}", "aud": [audience]}
        claims |= {"iat": now, "exp": now + seconds}
        text = ".".join(_part(json.dumps(part).encode()) for part in (head, claims))
        return f"{text}.{_part(pkcs1_15.new(self.key).sign(SHA256.new(text.encode())))}"

    def document(self, path: str) -> Any:
        if path == "/keys":
            n = self.key.n.to_bytes((self.key.n.bit_length() + 7) // 8)
            return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": _part(n), "e": "AQAB"}]}
        return {"issuer": self.address, "jwks_uri": f"{self.address}/keys"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            return

        def do_GET(self) -> None:
            data = json.dumps(made.document(self.path)).encode()
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Issuer(f"http://127.0.0.1:{server.server_address[1]}", RSA.generate(2048))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[str]:
    """A MinIO that trusts the issuer; what a token allows is in the policy `runs`."""
    settings = {
        "IDENTITY_OPENID_CONFIG_URL": f"{issuer.address}/.well-known/openid-configuration",
        "IDENTITY_OPENID_CLIENT_ID": AUDIENCE,
        "IDENTITY_OPENID_ROLE_POLICY": "runs",
    }
    with running_minio(tmp_path_factory.mktemp("trusting"), **settings) as address:
        read = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::*"]}
        write = {"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"], "Condition": WRITER}
        policy = {"Version": "2012-10-17", "Statement": [{**read, "Condition": READER}, write]}
        MinioAdmin(endpoint=address, credentials=StaticProvider(ACCESS, SECRET), secure=False).policy_add(
            "runs", policy=policy
        )
        yield address


@dataclass
class Here:
    """A bucket, and a store on it that is reached with the token in a file."""

    bucket: Bucket
    file: Path
    issuer: Issuer

    def store(self, token: str, **identity: str) -> Store:
        self.file.write_text(token)
        entry = self.bucket.entry()
        entry["s3"]["webIdentity"] = {"audience": AUDIENCE, "roleArn": ROLE, **identity}
        return open_store({**entry, "credentials": False, "token": str(self.file)}, None)


@pytest.fixture
def here(trusting: str, issuer: Issuer, tmp_path: Path) -> Iterator[Here]:
    client = Minio(trusting, ACCESS, SECRET, secure=False, region="us-east-1")
    name = f"t-{secrets.token_hex(5)}"
    client.make_bucket(name)
    bucket = Bucket(client, name, trusting)
    bucket.put("in/a", b"content")
    yield Here(bucket, tmp_path / "token", issuer)
    client._http.clear()


def staged(store: Store, folder: Path) -> Any:
    item = {"type": "uri_folder", "key": "in", "path": str(folder)}
    return stage_input(store, item, deadline=time.monotonic() + 30)


def published(store: Store, tree: Path) -> None:
    attempt, deadline = Attempt(run_uid=secrets.token_hex(4), number=1, stores={0: store}, record=0), time.monotonic() + 30
    output = {"name": "a", "path": str(tree), "store": 0, "key": "out/a.zip", "archive": "Zip"}
    commit(attempt, "success", [upload_output(attempt, output, deadline=deadline)], deadline=deadline)


def test_each_account_may_what_it_is_allowed(here: Here, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    writer = here.store(here.issuer.token("writer"))
    found = staged(writer, tmp_path / "one")
    assert (found.bytes, found.identity) == (7, "Job")
    published(writer, tmp_path / "tree")
    assert here.bucket.versions("out/a.zip") == 1
    reader = here.store(here.issuer.token("reader"))
    assert staged(reader, tmp_path / "two").bytes == 7
    with pytest.raises(DataError) as caught:
        published(reader, tmp_path / "tree")
    assert caught.value.reason == "AccessDenied"
    for store in (writer, reader):
        store.close()


@pytest.mark.parametrize(
    ("account", "audience", "seconds", "identity", "where"),
    [
        ("stranger", AUDIENCE, 3600, {}, "/t-"),
        ("writer", "another", 3600, {}, "the token service gives no keys"),
        ("writer", AUDIENCE, -3600, {}, "the token service gives no keys"),
        ("writer", AUDIENCE, 3600, {"roleArn": "arn:minio:iam:::role/none"}, "the token service gives no keys"),
    ],
)
def test_what_is_no_token_of_an_account_that_may_is_denied_and_never_told(
    here: Here, account: str, audience: str, seconds: int, identity: dict[str, str], where: str
) -> None:
    token = here.issuer.token(account, audience, seconds)
    store = here.store(token, **identity)
    with pytest.raises(DataError) as caught:
        store.probe(seconds=5)
    assert caught.value.reason == "AccessDenied"
    assert where in str(caught.value)
    assert token not in str(caught.value)
    assert here.bucket.address in str(caught.value)
    store.close()


def test_a_service_that_is_away_is_not_a_denial_and_a_token_that_is_missing_is(here: Here) -> None:
    store = here.store("token", endpoint="http://127.0.0.1:9")
    with pytest.raises(DataError) as caught:
        store.probe(seconds=5)
    assert caught.value.reason == "Unreachable"
    store.close()
    store = here.store(here.issuer.token("writer"))
    here.file.unlink()
    with pytest.raises(DataError) as caught:
        store.probe(seconds=5)
    assert caught.value.reason == "AccessDenied"
    assert "the token of the run's ServiceAccount cannot be read" in str(caught.value)
    store.close()


def test_keys_are_asked_for_anew_before_they_end_with_the_token_of_then(here: Here, monkeypatch: Any) -> None:
    store, fresh = here.store(here.issuer.token("writer")), here.issuer.token("writer")
    store.probe(seconds=5)
    here.file.write_text("no token any more")
    store.probe(seconds=5)  # the keys hold
    later = time.time() + 3600 - 200
    monkeypatch.setattr("millrace.data.sts.time.time", lambda: later)
    service = store.service  # type: ignore[attr-defined]
    service.reload_keys()
    with pytest.raises(DataError) as caught:
        store.probe(seconds=5)
    assert caught.value.reason == "AccessDenied"
    here.file.write_text(fresh)
    store.probe(seconds=5)
    store.close()
