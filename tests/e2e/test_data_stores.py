"""DataStores: a reason for every failure, and healing without a touch (rows A3, A5)."""

from __future__ import annotations

import json

import pytest

from support.cluster import Namespace, Refused, condition, function, job_run
from support.store import Bucket, becomes, data_store, ready, root_keys, secret
from support.waiting import wait_for

NOOP = "def main(data):\n    pass\n"


def test_a_missing_secret_and_then_a_missing_key_are_named_and_the_waiting_run_starts_when_they_are_there(
    namespace: Namespace, bucket: Bucket
) -> None:
    bucket.put("in/x.txt", b"x")
    run = job_run("waits", "noop", inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}}])
    namespace.apply(data_store("store", bucket.name, secret_name="keys"), function("noop", NOOP), run)
    assert "keys" in becomes(namespace, "store", "False", "CredentialsMissing")["message"]
    blocked = namespace.phase("waits", "Blocked")
    assert blocked["reason"] == "DataStoreNotReady"
    assert "CredentialsMissing" in str(condition(blocked, "Resolved"))
    keys = root_keys()
    namespace.apply(secret("keys", access_key=keys["access_key"]))
    wait_for("the missing key is named", lambda: "secret_key" in (ready(namespace, "store") or {})["message"], seconds=30)
    namespace.apply(secret("keys", **keys))
    becomes(namespace, "store", "True", "Reachable")
    assert namespace.finished("waits")["phase"] == "Succeeded"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bucket": "there-is-no-such-bucket"}, "BucketNotFound"),
        ({"endpoint": "http://127.0.0.1:9"}, "Unreachable"),
        ({"endpoint": "http://no-such-host.invalid:9000"}, "Unreachable"),
    ],
    ids=["bucket", "port", "host"],
)
def test_what_is_wrong_with_a_store_is_its_reason_and_an_edit_heals_it(
    namespace: Namespace, bucket: Bucket, change: dict[str, str], reason: str
) -> None:
    broken = data_store("store", bucket.name)
    broken["spec"]["s3"] |= change
    namespace.apply(secret("store", **root_keys()), broken)
    becomes(namespace, "store", "False", reason, seconds=45)
    namespace.apply(data_store("store", bucket.name))
    becomes(namespace, "store", "True", "Reachable")
    assert namespace.list("jobs") == [] or wait_for("probes are gone", lambda: namespace.list("jobs") == [])


def test_a_run_is_reviewed_before_anything_of_it_is_created(namespace: Namespace, bucket: Bucket) -> None:
    """What is static by a dry run; stores, Secrets and keys in seconds, and before a pod."""
    inputs = [{"name": "data", "dataStore": {"name": "store", "path": "in"}}]
    review = ("apply", "--dry-run=server", "-f", "-")
    with pytest.raises(Refused) as refused:
        namespace.kubectl(*review, stdin=json.dumps(job_run("r", "noop", inputs=inputs, retries=-1)))
    assert "spec.retries" in str(refused.value)
    run = job_run("r", "noop", inputs=inputs)
    assert "created (server dry run)" in namespace.kubectl(*review, stdin=json.dumps(run))
    assert namespace.list("jr") == []
    broken = data_store("store", bucket.name)
    broken["spec"]["s3"]["bucket"] = "there-is-no-such-bucket"
    namespace.apply(secret("store", **root_keys()), broken, function("noop", NOOP), run)
    becomes(namespace, "store", "False", "BucketNotFound", seconds=45)
    blocked = namespace.phase("r", "Blocked")
    resolved = condition(blocked, "Resolved") or {}
    assert (resolved["status"], resolved["reason"]) == ("False", "DataStoreNotReady")
    assert "BucketNotFound" in resolved["message"]
    assert namespace.find("job", "r") is None
    assert namespace.pods("r") == []


def test_wrong_keys_are_access_denied_and_the_keys_are_nowhere_in_the_message(namespace: Namespace, bucket: Bucket) -> None:
    namespace.apply(
        secret("store", access_key="wrong-access", secret_key="wrong-secret-value"), data_store("store", bucket.name)
    )
    message = becomes(namespace, "store", "False", "AccessDenied")["message"]
    assert "wrong-secret-value" not in message
    assert bucket.name in message


def test_an_input_that_is_not_there_fails_with_store_and_path_and_an_optional_one_does_not(
    namespace: Namespace, store: Bucket
) -> None:
    missing = {"name": "data", "dataStore": {"name": "store", "path": "not/there"}}
    namespace.apply(
        function("noop", "def main(data=None):\n    pass\n"),
        job_run("missing", "noop", inputs=[missing]),
        job_run("optional", "noop", inputs=[{**missing, "optional": True}]),
    )
    failure = namespace.finished("missing")["failure"]
    assert (failure["reason"], failure["container"]) == ("StageFailed", "stage")
    assert "not/there" in failure["message"]
    assert namespace.finished("optional")["phase"] == "Succeeded"


def test_a_missing_store_or_function_blocks_until_it_is_there(namespace: Namespace, bucket: Bucket) -> None:
    bucket.put("in/x.txt", b"x")
    namespace.apply(
        job_run(
            "first", "later", inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}, "stage": "Download"}]
        )
    )
    assert namespace.phase("first", "Blocked")["reason"] == "FunctionNotFound"
    namespace.apply(function("later", NOOP))
    wait_for("the store is missed", lambda: namespace.status("first").get("reason") == "DataStoreNotFound")
    namespace.apply(secret("store", **root_keys()), data_store("store", bucket.name, default=False))
    assert namespace.finished("first")["phase"] == "Succeeded"
