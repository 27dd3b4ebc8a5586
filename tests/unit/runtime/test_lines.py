"""Who waits and who holds a slot, as the store sees it: against a count of everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fixtures.objects import metadata, stamp
from millrace.domain.queue import Line
from millrace.runtime.lines import place_of
from millrace.runtime.store import Key, Store

Object = dict[str, Any]
GROUP = ("tenant", "d")
version = iter(range(1, 10**9))


def run(name: str, phase: str | None = None, *, created: float = 0, status: Object | None = None, **spec: Any) -> Object:
    meta = metadata(name, f"uid-{name}", resourceVersion=str(next(version)), creationTimestamp=stamp(created))
    said = {"phase": phase} if phase else {}
    return {"metadata": meta, "spec": {"deploymentRef": {"name": "d"}, **spec}, "status": {**said, **(status or {})}}


def child(kind: str, name: str, of: str, owner: str, status: Object | None = None) -> Object:
    labels = {"millrace.dev/deployment": "d", "millrace.dev/jobrun": of}
    owners = [{"kind": "X", "name": "x", "uid": owner, "controller": True}]
    meta = metadata(name, f"{kind}-{name}", resourceVersion=str(next(version)), labels=labels, ownerReferences=owners)
    return {"metadata": meta, "spec": {}, "status": status or {}}


def job(of: str, *, closed: bool = False) -> Object:
    return child("Job", of, of, f"uid-{of}", {"conditions": [{"type": "Complete", "status": "True"}]} if closed else {})


def pod(of: str, phase: str = "Running") -> Object:
    return child("Pod", f"{of}-x", of, f"Job-{of}", {"phase": phase})


def seen(*objects: Object) -> Store:
    store = Store()
    for obj in objects:
        kind = obj["metadata"]["uid"].partition("-")[0]
        store.put(kind if kind in {"Job", "Pod"} else "JobRun", obj)
    return store


HELD: dict[str, tuple[list[Object], bool]] = {
    "a Job without a pod": ([run("a", "Pending"), job("a")], True),
    "a pod that runs": ([run("a", "Running"), job("a"), pod("a")], True),
    "a pod that is over, though the Job is not closed": ([run("a", "Running"), job("a"), pod("a", "Succeeded")], False),
    "a closed Job": ([run("a", "Running"), job("a", closed=True)], False),
    "a pod whose Job is gone": ([run("a", "Running"), pod("a")], True),
    "a pod on a lost node, of a run that is over": ([run("a", "Failed"), job("a"), pod("a")], False),
    "a Job whose run is deleted": ([job("a")], True),
    "no Job": ([run("a", "Queued")], False),
}


@pytest.mark.parametrize("case", HELD)
def test_what_holds_a_slot(case: str) -> None:
    objects, expected = HELD[case]
    assert (seen(*objects).lines.busy(GROUP) == {"a"}) is expected


ASKS: dict[str, tuple[Object, bool]] = {
    "not looked at yet": (run("a"), True),
    "queued": (run("a", "Queued"), True),
    "queued for another attempt": (run("a", "Queued", status={"jobName": "a"}), True),
    "it has its slot and waits for Kueue": (
        run("a", "Queued", status={"jobName": "a", "reason": "AwaitingAdmission"}),
        False,
    ),
    "its store is being checked": (run("a", "Pending"), True),
    "blocked by something of its own": (run("a", "Blocked", status={"reason": "DataStoreNotReady"}), False),
    "its Deployment is not there, like that of all others": (
        run("a", "Blocked", status={"reason": "DeploymentNotFound"}),
        True,
    ),
    "its Deployment's Function is not there": (run("a", "Blocked", status={"reason": "FunctionNotFound"}), True),
    "its Job was made": (run("a", "Pending", status={"jobName": "a"}), False),
    "it runs": (run("a", "Running", status={"jobName": "a"}), False),
    "it is over": (run("a", "Failed"), False),
    "suspended": (run("a", "Queued", suspend=True), False),
    "cancelled": (run("a", "Queued", cancel=True), False),
}


@pytest.mark.parametrize("case", ASKS)
def test_who_asks_for_a_slot(case: str) -> None:
    found, expected = ASKS[case]
    assert list(seen(found).lines.queue(GROUP)) == (["a"] if expected else [])


def test_the_order_is_priority_then_creation_then_name() -> None:
    runs = [
        run("b", created=1),
        run("a", created=1),
        run("old", created=0),
        run("high", created=9, priority=1),
        run("low", priority=-1),
    ]
    assert list(seen(*runs).lines.queue(GROUP)) == ["high", "old", "a", "b", "low"]


def test_a_changed_priority_moves_a_run_and_a_deleted_one_leaves() -> None:
    store = seen(run("a"), run("b"))
    store.put("JobRun", run("b", priority=1))
    assert list(store.lines.queue(GROUP)) == ["b", "a"]
    store.remove("JobRun", "tenant", "b", "uid-b")
    assert list(store.lines.queue(GROUP)) == ["a"]
    store.remove("JobRun", "tenant", "a", "uid-a")
    assert GROUP not in store.lines


def test_a_job_that_is_being_made_holds_its_slot_and_who_comes_after_it_is_held() -> None:
    store = seen(run("a"), run("b"), run("c", "Blocked", priority=1))
    store.lines.set_starting(GROUP, "a", place_of(run("a")))
    line = lambda name: store.lines.line(GROUP, name, place_of(store.get(Key("JobRun", "tenant", name))))  # type: ignore[arg-type] # noqa: E731
    assert line("b") == Line(running=1, ahead=0, waiting=1, lower=0, older=0, held=True)
    assert line("c") == Line(running=1, ahead=0, waiting=2, lower=1, older=0, held=False), "it comes before"
    assert line("a").running == 0, "its own slot is not another's"
    store.put("Job", job("a"))
    assert line("b") == Line(running=1, ahead=0, waiting=1, lower=0, older=0, held=False)
    store.lines.forget_starting()
    assert store.lines.busy(GROUP) == {"a"}


LETS_GO: dict[str, tuple[list[Object], bool]] = {  # what stands ahead of a run for which there is a slot
    "one that was not looked at yet": ([run("a")], True),
    "one that is queued": ([run("a", "Queued")], True),
    "one whose Deployment was missing a moment ago": ([run("a", "Blocked", status={"reason": "DeploymentNotFound"})], True),
    "one whose Job is there already": ([run("a", "Queued"), job("a")], False),
    "one whose store is being checked": ([run("a", "Pending", status={"reason": "DataStoreNotChecked"})], False),
    "one that is blocked by something of its own": ([run("a", "Blocked", status={"reason": "DataStoreNotReady"})], False),
    "one that is blocked like all of its revision": (
        [run("a", "Blocked", status={"reason": "FunctionNotFound"})],
        False,
    ),
    "the last one, which has gone by now": ([run("a"), run("a", "Failed")], False),
    "one that came later": ([run("c")], False),
}


@pytest.mark.parametrize("case", LETS_GO)
def test_who_comes_later_lets_those_go_first_that_are_about_to_start(case: str) -> None:
    objects, expected = LETS_GO[case]
    store = seen(*objects, run("b"))
    assert store.lines.line(GROUP, "b", place_of(run("b"))).held is expected


def test_of_many_free_slots_only_the_next_to_take_one_is_looked_at() -> None:
    held = run("a", "Pending", status={"reason": "DataStoreNotChecked"})
    store = seen(held, run("b"), run("c"), run("d", priority=1))
    looked_at = lambda slots=10: list(store.lines.upcoming(GROUP, slots))  # noqa: E731
    assert looked_at() == ["d"]
    store.lines.set_starting(GROUP, "d", place_of(run("d", priority=1)))
    assert looked_at() == [], "they would only see that a Job is being made"
    store.put("Job", job("d"))
    assert looked_at() == ["a", "b"], "who is held up by something of its own holds up nobody"
    assert looked_at(1) == ["a"]
    assert looked_at(0) == []


NAMES = ["a", "b", "c", "d"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["new", "queue", "block", "job", "pod", "over", "close", "end", "delete", "raise"]),
    ),
    max_size=40,
)


@settings(max_examples=200)
@given(STEPS)
def test_counts_agree_with_a_look_at_everything(steps: list[tuple[str, str]]) -> None:
    """Whatever happens in whatever order: the indexes say what a scan of all objects says."""
    store = Store()
    phases: dict[str, str | None] = {}
    jobs: dict[str, bool] = {}
    pods: dict[str, bool] = {}
    ranks = dict.fromkeys(NAMES, 0)
    for name, step in steps:
        match step:
            case "new" | "queue" | "block" | "end" | "raise":
                ranks[name] += step == "raise"
                phases[name] = {"new": None, "queue": "Queued", "block": "Blocked", "end": "Failed"}.get(
                    step, phases.get(name)
                )
                store.put("JobRun", run(name, phases[name], priority=ranks[name]))
            case "delete":
                phases.pop(name, None)
                store.remove("JobRun", "tenant", name, f"uid-{name}")
            case "job" | "close":
                jobs[name] = step == "close"
                store.put("Job", job(name, closed=jobs[name]))
            case _:
                pods[name] = step == "over"
                store.put("Pod", pod(name, "Succeeded" if pods[name] else "Running"))
    busy = {
        name
        for name in NAMES
        if phases.get(name) != "Failed" and (pods.get(name) is False or (jobs.get(name) is False and name not in pods))
    }
    waits = sorted((-ranks[name], name) for name, phase in phases.items() if phase in {None, "Queued"} and name not in busy)
    assert store.lines.busy(GROUP) == busy
    assert list(store.lines.queue(GROUP)) == [name for _, name in waits]
    assert list(store.lines.upcoming(GROUP, len(NAMES))) == [name for _, name in waits[:1]]
    for index, (_, name) in enumerate(waits):
        found = store.get(Key("JobRun", "tenant", name))
        assert found
        line = store.lines.line(GROUP, name, place_of(found))
        assert (line.running, line.ahead, line.waiting, line.held) == (len(busy), index, len(waits), index > 0)
