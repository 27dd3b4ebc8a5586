"""Data that goes with its DataAsset: noticed whenever the deletion happened, never for data that another one names."""

from __future__ import annotations

import pytest

from integration.operator.kubelet import answer_probe, pods
from integration.operator.rig import Rig, operator, patiently
from support.apiserver import ApiServer, Object
from support.store import data_store


def prepare(rig: Rig) -> None:
    rig.api.create("datastores", rig.placed(data_store("store", "bucket", default=False)))
    answer_probe(rig, "store")
    patiently("the store is ready", lambda: "Reachable" in str(rig.api.get("datastores", rig.namespace, "store")))


def asset(rig: Rig, name: str, path: str, reclaim: str = "Delete") -> Object:
    spec = {"dataStore": "store", "path": path, "reclaim": reclaim}
    obj = {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataAsset", "metadata": {"name": name}, "spec": spec}
    made: Object = rig.api.create("dataassets", rig.placed(obj))
    patiently(f"{name} is ready", lambda: "'Valid'" in str(rig.api.get("dataassets", rig.namespace, name).get("status")))
    return made


def reclaims(rig: Rig) -> dict[str, bool]:
    """Whether each Job that deletes data has been started."""
    jobs = rig.api.list("jobs", rig.namespace, labelSelector="millrace.dev/component=chore")
    found = (job for job in jobs if "millrace.dev/reclaims" in job["metadata"].get("annotations", {}))
    return {job["metadata"]["name"].partition("-reclaim-")[0]: job["spec"]["parallelism"] > 0 for job in found}


@pytest.mark.parametrize("away", [False, True], ids=["while it works", "while it is away"])
def test_a_deletion_is_noticed(api_server: ApiServer, away: bool) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        for name in ("goes", "stays"):
            asset(rig, name, name)
        asset(rig, "retained", "retained", "Retain")
        assert reclaims(rig) == {"goes": False, "stays": False}
        if away:
            rig.kill()
        for name in ("goes", "retained"):
            rig.api.delete("dataassets", rig.namespace, name)
        if away:
            rig.start()
        patiently("the Job is started", lambda: reclaims(rig).get("goes"))
        assert reclaims(rig) == {"goes": True, "stays": False}


def test_a_job_that_somebody_else_resumes_waits_all_the_same(api_server: ApiServer) -> None:
    """As Kueue does it, where a namespace has a LocalQueue `default`."""
    with operator(api_server) as rig:
        prepare(rig)
        made = asset(rig, "heart", "heart")
        name = f"heart-reclaim-{made['metadata']['uid'][:8]}"
        rig.api.merge("jobs", rig.namespace, name, {"spec": {"suspend": False}})
        patiently("it is resumed", lambda: rig.api.get("jobs", rig.namespace, name)["status"].get("startTime"))
        assert pods(rig, name) == []
        rig.api.delete("dataassets", rig.namespace, "heart")
        patiently("it has its pod once the DataAsset is gone", lambda: pods(rig, name))
        rig.api.merge("jobs", rig.namespace, name, {"spec": {"suspend": True}})
        patiently("its pod is taken away", lambda: not pods(rig, name))
        asset(rig, "later", "later")
        patches = [request for request in rig.proxy.log if (request.verb, request.name) == ("patch", name)]
        assert len(patches) == 1, "it is Kueue's to start it again"


def test_data_that_another_one_names_is_kept_and_so_is_a_name_that_came_back(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        asset(rig, "first", "heart")
        asset(rig, "second", "heart/3", "Retain")
        rig.api.delete("dataassets", rig.namespace, "first")
        patiently("the Job is gone", lambda: not reclaims(rig))
        events = rig.api.list("events", rig.namespace)
        assert [event["message"] for event in events if event["reason"] == "DataKept"] == [
            "the data of first@1 at store/paths/heart is kept: DataAsset second names it too"
        ]
        rig.kill()
        asset_again = {"dataStore": "store", "path": "again", "reclaim": "Delete"}
        rig.start()
        asset(rig, "third", "again")
        rig.kill()
        rig.api.delete("dataassets", rig.namespace, "third")
        obj = {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "DataAsset",
            "metadata": {"name": "third"},
            "spec": asset_again,
        }
        rig.api.create("dataassets", rig.placed(obj))
        rig.start()
        patiently("only the new one's Job is there", lambda: len(reclaims(rig)) == 1)
        patiently("it is ready", lambda: "'Valid'" in str(rig.api.get("dataassets", rig.namespace, "third").get("status")))
        assert reclaims(rig) == {"third": False}


def test_a_job_that_somebody_deletes_is_made_again(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        prepare(rig)
        made = asset(rig, "heart", "heart")
        name = f"heart-reclaim-{made['metadata']['uid'][:8]}"
        before = rig.api.get("jobs", rig.namespace, name)["metadata"]["uid"]
        rig.api.delete("jobs", rig.namespace, name)

        def again() -> bool:
            found = rig.api.find("jobs", rig.namespace, name)
            return found is not None and found["metadata"]["uid"] != before

        patiently("it is made again", again)
        assert reclaims(rig) == {"heart": False}
