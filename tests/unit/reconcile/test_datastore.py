"""What is done about a DataStore."""

from __future__ import annotations

from typing import Any

import pytest

from fixtures.objects import SETTINGS, at, merge_patch, pod, recorded_pod, stamp, status_writes, store, waiting_for
from millrace.api.datastore import DataStore
from millrace.observe.job import JobFacts
from millrace.observe.pod import ContainerFacts, PodFacts
from millrace.reconcile.datastore import DataStoreSnapshot, reconcile_datastore
from millrace.reconcile.plan import Learned, Plan
from unit.reconcile.cases import short


def probe(generation: int = 1, **changes: Any) -> JobFacts:
    facts: dict[str, Any] = {
        "name": f"lake-probe-{generation}",
        "uid": f"probe-{generation}",
        "attempt": 0,
        "created": stamp(0),
        "suspended": False,
        "active": 1,
        "terminating": 0,
        "complete": False,
        "failed": None,
        "finished": None,
        "deleted": False,
    }
    return JobFacts(**{**facts, **changes})


def seen(
    subject: DataStore, *jobs: JobFacts, now: float = 0, found: PodFacts | None = None, learned: Learned | None = None
) -> DataStoreSnapshot:
    return DataStoreSnapshot(subject, jobs, found, learned or Learned(), SETTINGS, at(now))


def says(**facts: Any) -> PodFacts:
    return pod(ContainerFacts("probe", **facts))


REPORT = '{"reason": "BucketNotFound", "message": "no bucket lake"}'
NEW = store(ready=None)
PROBING = store(ready="Unknown", reason="Probing", message="the probe has not answered yet")
BAD = store(ready="False", reason="BucketNotFound", message="no bucket lake")
QUOTA = "exceeded quota: none"


def refused(status: int, message: str) -> Learned:
    return Learned(refusal=(status, message, at(0).timestamp()))


# name -> what is seen; status and reason of Ready that are written (None: nothing is); what else is done
CASES: dict[str, tuple[DataStoreSnapshot, tuple[str, str] | None, tuple[str, ...]]] = {
    "a new store": (seen(NEW), ("Unknown", "Probing"), ("Create Job lake-probe-1",)),
    "its probe has no pod yet": (seen(NEW, probe(), now=2), ("Unknown", "Probing"), ()),
    "its probe has no pod after five seconds": (seen(PROBING, probe(), now=6), None, ("Look at events of lake-probe-1",)),
    "its probe's pod is refused by a quota": (
        seen(PROBING, probe(), now=7, learned=Learned(events=("probe-1", "QuotaExceeded", QUOTA, at(6).timestamp()))),
        ("False", "QuotaExceeded"),
        (),
    ),
    "its probe is refused by a quota": (seen(PROBING, now=1, learned=refused(403, QUOTA)), ("False", "QuotaExceeded"), ()),
    "its probe was refused a while ago": (
        seen(PROBING, now=11, learned=refused(403, QUOTA)),
        None,
        ("Create Job lake-probe-1",),
    ),
    "its probe's name is somebody else's": (
        seen(PROBING, now=1, learned=refused(409, "Job lake-probe-1 exists and is not of DataStore lake")),
        ("False", "NameTaken"),
        (),
    ),
    "its probe is being started": (seen(PROBING, probe(), found=pod(waiting_for("probe"))), None, ()),
    "its probe has no container after twenty seconds": (
        seen(PROBING, probe(), now=21, found=pod(waiting_for("probe"))),
        None,
        ("Look at events of score-x7k2p",),
    ),
    "a volume of its probe is not there": (
        seen(
            PROBING,
            probe(),
            now=22,
            found=pod(waiting_for("probe")),
            learned=Learned(events=("pod-uid", "VolumeNotMounted", 'configmap "ca" not found', at(21).timestamp())),
        ),
        ("False", "VolumeNotMounted"),
        (),
    ),
    "its probe runs for long": (seen(PROBING, probe(), now=60, found=says(running=True)), None, ()),
    "its probe's Job was ended by somebody": (
        seen(PROBING, probe(active=0, failed=("DeadlineExceeded", ""), finished=stamp(9)), now=10),
        None,
        ("Delete lake-probe-1",),
    ),
    "its Secret is missing": (
        seen(PROBING, probe(), found=recorded_pod("secret-key-missing")),
        ("False", "CredentialsMissing"),
        (),
    ),
    "the image of the probe is missing": (
        seen(PROBING, probe(), found=pod(waiting_for("probe", "ImagePullBackOff"))),
        ("False", "ImagePull"),
        (),
    ),
    "its probe failed": (seen(PROBING, probe(), found=says(exit_code=1, message=REPORT)), ("False", "BucketNotFound"), ()),
    "its probe failed and is started again": (
        seen(PROBING, probe(), found=says(running=True, restarts=1, last_message=REPORT)),
        ("False", "BucketNotFound"),
        (),
    ),
    "its probe failed again": (seen(BAD, probe(), found=says(exit_code=1, message=REPORT)), None, ()),
    "it is healthy": (
        seen(PROBING, probe(complete=True, finished=stamp(5))),
        ("True", "Reachable"),
        ("Delete lake-probe-1",),
    ),
    "it waits in its back-off and the installation was upgraded": (
        seen(BAD, probe(stage_image="localhost/old")),
        None,
        ("Delete lake-probe-1",),
    ),
    "it has healed": (seen(BAD, probe(complete=True)), ("True", "Reachable"), ("Delete lake-probe-1",)),
    "it is healthy and its probe still there": (seen(store(), probe(complete=True)), None, ("Delete lake-probe-1",)),
    "it is healthy and nothing is left": (seen(store()), None, ()),
    "it was changed": (
        seen(store(meta={"generation": 2})),
        ("Unknown", "Probing"),
        ("Create Job lake-probe-2",),
    ),
    "it was changed while its probe failed": (
        seen(store(ready="False", reason="BucketNotFound", meta={"generation": 2}), probe(1)),
        ("Unknown", "Probing"),
        ("Delete lake-probe-1", "Create Job lake-probe-2"),
    ),
    "it is being deleted": (seen(store(meta={"deletionTimestamp": stamp(0)}), probe()), None, ()),
}


def after(subject: DataStore, plan: Plan) -> DataStore:
    found = subject.model_dump(by_alias=True, exclude_none=True, mode="json")
    for status in status_writes(plan):
        found["status"] = merge_patch(found["status"], status)
    return DataStore.model_validate(found)


@pytest.mark.parametrize("name", CASES)
def test_what_is_done(name: str) -> None:
    shot, wanted, does = CASES[name]
    plan = reconcile_datastore(shot)
    assert tuple(text for action in plan.actions if (text := short(action))) == does
    if wanted is None:
        assert status_writes(plan) == []
    else:
        [status] = status_writes(plan)
        [ready] = status["conditions"]
        assert (ready["status"], ready["reason"]) == wanted
        assert ready["observedGeneration"] == shot.store.metadata.generation
        assert ("checked" in status) == (wanted[0] == "True")


@pytest.mark.parametrize("name", CASES)
def test_a_second_pass_writes_nothing(name: str) -> None:
    shot = CASES[name][0]
    plan = reconcile_datastore(shot)
    again = DataStoreSnapshot(after(shot.store, plan), shot.jobs, shot.pod, shot.learned, shot.settings, shot.now)
    assert status_writes(reconcile_datastore(again)) == []


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0].pod is None])
def test_a_store_whose_probe_has_no_pod_is_looked_at_again(name: str) -> None:
    shot, wanted, _ = CASES[name]
    plan = reconcile_datastore(shot)
    settled = shot.store.metadata.deletion_timestamp or ((wanted or ("True",))[0] == "True" and shot.learned == Learned())
    assert plan.again or settled
