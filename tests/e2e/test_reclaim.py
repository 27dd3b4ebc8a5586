"""What becomes of an asset's data when its DataAsset is deleted."""

from __future__ import annotations

import pytest

from support.assets import asset, ready
from support.cluster import Namespace, Refused
from support.store import Bucket
from support.waiting import wait_for


def events(namespace: Namespace, reason: str) -> list[str]:
    return [event["message"] for event in namespace.list("events") if event["reason"] == reason]


def test_data_goes_with_its_dataasset_only_where_that_says_so(namespace: Namespace, store: Bucket) -> None:
    for key in ("a/1.csv", "a/sub/2.csv", "ab/1.csv", "b/1.csv", "c/1.csv"):
        store.put(key, b"id\n")
    delete = {"dataStore": "store", "reclaim": "Delete"}
    namespace.apply(
        asset("a", path="a", **delete),
        asset("b", path="b", dataStore="store"),
        asset("c", path="c/1.csv", type="uri_file", **delete),
        asset("whole-c", path="c", dataStore="store"),
    )
    for name in ("a", "b", "c", "whole-c"):
        ready(namespace, name)
    [job] = [job for job in namespace.list("jobs") if job["metadata"]["name"].startswith("a-reclaim-")]
    assert job["spec"]["suspend"]
    assert "ownerReferences" not in job["metadata"]
    with pytest.raises(Refused, match=r"spec\.reclaim.*cannot be taken back"):
        namespace.patch("dataassets", "a", {"spec": {"reclaim": "Retain"}})
    for name in ("a", "b", "c"):
        namespace.delete("dataassets", name)
    wait_for("the data is deleted", lambda: "a/1.csv" not in set(store.names()), seconds=60)
    [message] = wait_for("it is told", lambda: events(namespace, "DataDeleted"), seconds=30)
    assert message == "the data of a@1 at store/paths/a is deleted: 2 objects, 6 bytes"
    [kept] = wait_for("what is kept is told", lambda: events(namespace, "DataKept"), seconds=30)
    assert "DataAsset whole-c names it too" in kept
    assert sorted(store.names()) == ["ab/1.csv", "b/1.csv", "c/1.csv"]
    wait_for("nothing is left of it", lambda: not [j for j in namespace.list("jobs") if "reclaim" in j["metadata"]["name"]])


def test_what_is_in_the_way_is_told_and_the_data_goes_when_it_is_gone(namespace: Namespace, store: Bucket) -> None:
    store.put("a/1.csv", b"id\n")
    namespace.apply(asset("a", path="a", dataStore="store"))
    ready(namespace, "a")
    namespace.patch("dataassets", "a", {"spec": {"reclaim": "Delete"}})
    wait_for(
        "what will delete it is there", lambda: [j for j in namespace.list("jobs") if "a-reclaim" in j["metadata"]["name"]]
    )
    secret = namespace.get("secrets", "store")
    namespace.kubectl("delete", "secret", "store")
    namespace.delete("dataassets", "a")
    [message] = wait_for("it is told", lambda: events(namespace, "DataNotDeleted"), seconds=60)
    assert "secret" in message.lower()
    assert store.names() == ["a/1.csv"]
    namespace.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store"}, "data": secret["data"]})
    wait_for("the data is deleted", lambda: store.names() == [], seconds=90)
