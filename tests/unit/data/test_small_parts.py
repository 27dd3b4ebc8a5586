"""Globs, keys, errors, part sizes, retries: the parts of the data plane that need no server."""

from __future__ import annotations

import errno
import hashlib
import ssl
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.data import Credentials, DataError, Store, folder_digest, open_store, staged_path
from millrace.data.errors import classify, from_status
from millrace.data.globs import compile_glob
from millrace.data.parts import LEAST_PART, MAX_PARTS, part_size, whole_etag
from millrace.data.retry import Backoff, retrying

GIB = 1 << 30
KEYS = Credentials("AKIA-canary-access", "canary-secret")


def store(**s3: Any) -> Store:
    spec = {"endpoint": "http://127.0.0.1:1", "bucket": "bucket", "region": "us-east-1", "prefix": "", "pathStyle": True}
    return open_store({"name": "s", "s3": {**spec, **s3}, "credentials": True}, KEYS)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.csv", ["a.csv", ".csv"], ["a/b.csv", "a.csvx", "a_csv"]),
        ("**/*.csv", ["a.csv", "a/b.csv", "a/b/c.csv"], ["a.txt"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("part-?.json", ["part-1.json"], ["part-12.json", "part-/.json"]),
        ("[ab]/[!c]", ["a/d", "b/x"], ["c/d", "a/c", "a//"]),
        ("a[1", ["a[1"], ["a1"]),
        ("ü*", ["über"], ["u"]),
        ("(a|b)+", ["(a|b)+"], ["a", "b"]),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = compile_glob(pattern).fullmatch
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


@given(st.text(max_size=30), st.text(max_size=30))
def test_no_glob_makes_an_error(pattern: str, path: str) -> None:
    found = compile_glob(pattern).fullmatch(path)
    assert found is None or found[0] == path


@given(st.text(max_size=60))
def test_keys_stay_below_the_prefix(relative: str) -> None:
    opened = KEYED
    try:
        key = opened.full_key(relative)
    except DataError as error:
        assert error.reason == "KeyRefused"
        return
    assert key == f"tenant/one/{relative}".rstrip("/" * (not relative))
    assert not {"", ".", ".."} & set(relative.removesuffix("/").split("/")) or relative == ""
    assert "\0" not in key


KEYED = store(prefix="/tenant/one/")


@pytest.mark.parametrize("bad", ["../x", "a/../../x", "/etc", "a//b", "a/./b", "a\0b", "..", "/", "x" * 1100, "ü" * 520])
def test_keys_that_are_refused(bad: str) -> None:
    with pytest.raises(DataError) as caught:
        KEYED.full_key(bad)
    assert caught.value.reason == "KeyRefused"


@pytest.mark.parametrize("endpoint", ["ftp://h", "http://user:pw@h", "h:9000", "http://h/path", "http://"])
def test_endpoints_that_are_refused(endpoint: str) -> None:
    with pytest.raises(DataError) as caught:
        store(endpoint=endpoint)
    assert caught.value.reason == "InvalidStore"
    assert "pw" not in str(caught.value)


def test_a_store_without_its_keys() -> None:
    with pytest.raises(DataError) as caught:
        open_store({"name": "s", "s3": {"bucket": "b"}, "credentials": True}, None)
    assert caught.value.reason == "CredentialsMissing"


def test_virtual_hosted_addresses() -> None:
    opened = store(endpoint="https://objects.example", pathStyle=False)
    assert opened.service.url("GET", "k", {}).startswith("https://bucket.objects.example/k?")
    assert opened.service.url("GET", "", {"uploads": ""}).startswith("https://bucket.objects.example/?uploads=")


def test_anonymous_addresses_are_not_signed() -> None:
    opened = open_store({"name": "s", "s3": {"endpoint": "http://127.0.0.1:1", "bucket": "bucket"}}, None)
    assert opened.service.url("GET", "a b", {}) == "http://127.0.0.1:1/bucket/a%20b"
    assert opened.service.url("GET", "", {"prefix": "a/"}) == "http://127.0.0.1:1/bucket?prefix=a%2F"


def test_a_callable_source_of_keys_is_asked_again() -> None:
    asked: list[int] = []

    def source() -> Credentials:
        asked.append(1)
        return Credentials(f"key-{len(asked)}", "secret")

    opened = open_store(
        {"name": "s", "s3": {"endpoint": "http://127.0.0.1:1", "bucket": "bucket"}, "credentials": True}, source
    )
    assert "key-1" in opened.service.url("GET", "k", {})
    assert "key-1" in opened.service.url("GET", "k", {})
    opened.service.reload_keys()
    assert "key-2" in opened.service.url("GET", "k", {})


CODE = "<Error><Code>{}</Code><Message>AKIA-canary</Message><AWSAccessKeyId>AKIA-canary</AWSAccessKeyId></Error>"


@pytest.mark.parametrize(
    ("status", "code", "reason", "retryable"),
    [
        (404, "NoSuchBucket", "BucketNotFound", False),
        (404, "NoSuchKey", "NotFound", False),
        (404, "NoSuchUpload", "UploadGone", False),
        (403, "AccessDenied", "AccessDenied", False),
        (403, "InvalidAccessKeyId", "AccessDenied", False),
        (403, "RequestTimeTooSkewed", "AccessDenied", False),
        (400, "BadDigest", "ChecksumMismatch", True),
        (400, "ExpiredToken", "AccessDenied", False),
        (503, "SlowDown", "Throttled", True),
        (429, "", "Throttled", True),
        (500, "InternalError", "ServerError", True),
        (502, "", "ServerError", True),
        (301, "PermanentRedirect", "WrongRegion", False),
        (507, "XMinioStorageFull", "StoreFull", False),
        (412, "PreconditionFailed", "ObjectChanged", False),
        (409, "ConditionalRequestConflict", "ServerError", True),
        (418, "", "BadResponse", True),
    ],
)
def test_answers_and_their_reasons(status: int, code: str, reason: str, retryable: bool) -> None:
    error = from_status(status, CODE.format(code) if code else "", "h/b/k")
    assert (error.reason, error.retryable) == (reason, retryable)
    assert "AKIA" not in str(error)
    assert str(error).startswith("h/b/k: ")


def _tls() -> Exception:
    try:
        try:
            raise ssl.SSLCertVerificationError(1, "self-signed certificate")
        except ssl.SSLError as inner:
            raise httpx.ConnectError("failed https://h/?X-Amz-Signature=canary") from inner
    except httpx.ConnectError as outer:
        return outer


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (_tls(), "TlsUntrusted"),
        (httpx.ReadTimeout("https://h/?X-Amz-Signature=canary"), "Unreachable"),
        (OSError(errno.ENOSPC, "full"), "NoSpace"),
        (OSError(errno.ECONNRESET, "reset"), "Unreachable"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "no"), "Unreachable"),
        (RuntimeError("canary"), "ServerError"),
    ],
)
def test_exceptions_and_their_reasons(exc: Exception, reason: str) -> None:
    error = classify(exc, "h/b/k")
    assert error.reason == reason
    assert "canary" not in str(error)


def test_secrets_never_show() -> None:
    assert "canary-secret" not in repr(KEYS)
    assert "canary-secret" not in repr(store().__dict__)


@pytest.mark.parametrize("most", [0, 1, 20 * 10**9, 74 * GIB, 75 * GIB, 200 * GIB, 5 << 40, 46 << 40])
def test_part_sizes(most: int) -> None:
    size = part_size(most)
    assert size >= LEAST_PART
    assert size % (1 << 20) == 0
    assert -(-most // size) <= MAX_PARTS
    if most <= 74 * GIB:
        assert size == LEAST_PART, "three of these must fit into the memory of collect"


def test_more_than_any_object_can_hold() -> None:
    with pytest.raises(DataError) as caught:
        part_size(60 << 40)
    assert caught.value.reason == "TreeTooLarge"


def test_the_etag_of_a_whole() -> None:
    parts = ["900150983cd24fb0d6963f7d28e17f72", "d41d8cd98f00b204e9800998ecf8427e"]
    both = hashlib.md5(bytes.fromhex(parts[0]) + bytes.fromhex(parts[1]))
    assert whole_etag(parts) == f"{both.hexdigest()}-2"
    assert whole_etag(["2", "zz"]) == ""


def test_folder_digest_is_independent_of_order() -> None:
    files = [("b", 1, "11"), ("a/x", 2, "22"), ("a.x", 0, "33")]
    assert folder_digest(files) == folder_digest(reversed(files))
    assert folder_digest(files) != folder_digest(files[:2])


def test_staged_paths() -> None:
    assert staged_path({"type": "uri_file", "key": "a/b/c.csv", "path": "/millrace/in"}) == "/millrace/in/c.csv"
    assert staged_path({"type": "uri_folder", "key": "a/b", "path": "/millrace/in/x"}) == "/millrace/in/x"


def test_retrying_gives_up_at_its_deadline_and_at_once_when_useless() -> None:
    calls: list[float] = []

    def failing() -> None:
        calls.append(time.monotonic())
        raise httpx.ConnectError("no")

    begun = time.monotonic()
    with pytest.raises(DataError) as caught:
        retrying(failing, where="h", deadline=begun + 1.0)
    assert caught.value.reason == "Unreachable"
    assert 3 <= len(calls) <= 8
    assert time.monotonic() - begun < 1.2
    with pytest.raises(DataError):
        Backoff(time.monotonic() + 60).wait(DataError("AccessDenied", "no"))
