"""Shards: what an attempt has settled, in numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.objects import DATA, SETTINGS, function, run, store
from millrace.api.datastore import DataStore
from millrace.domain.attempts import MAX_DISRUPTIONS, Failure
from millrace.domain.obstacle import Obstacle
from millrace.domain.resolve import resolve
from millrace.domain.resolved import Resolved
from millrace.domain.shards import Cause, Shards, numbers, ranges, settle
from millrace.protocol import part_key, parts_key

BROKEN = Failure("UserError", "boom")
EVICTED = Failure("Evicted", "drained", charged=False)
HOPELESS = Failure("HandlerNotFound", "no main", again=False)


@pytest.mark.parametrize(("text", "found"), [("", set()), ("3", {3}), ("0,2-4,7", {0, 2, 3, 4, 7}), ("10-11", {10, 11})])
def test_indexes_are_read_as_kubernetes_writes_them(text: str, found: set[int]) -> None:
    assert numbers(text) == found


@given(st.sets(st.integers(0, 30)))
def test_indexes_are_written_so_that_people_read_them_and_none_is_lost(found: set[int]) -> None:
    assert numbers(ranges(sorted(found)).replace(" ", "")) == found


def test_two_in_a_row_are_no_range() -> None:
    assert ranges([5, 0, 1, 7, 8, 9]) == "0, 1, 5, 7-9"


def test_without_retries_a_shard_that_fails_has_failed() -> None:
    settled = settle(Shards(count=4), 1, {2: BROKEN, 1: HOPELESS}, 0)
    assert settled.again is None
    assert settled.failed == (1, 2)
    assert settled.cause == Cause(shard=1, reason="HandlerNotFound", message="no main")


def test_only_what_has_failed_is_tried_again_and_each_shard_has_retries_of_its_own() -> None:
    first = settle(Shards(count=6), 1, {2: BROKEN, 4: EVICTED, 5: HOPELESS}, 1)
    assert first.again
    assert (first.again.only, first.again.charged, first.again.failed, first.pause) == ([2, 4], {2: 1}, [5], 1)
    second = settle(first.again, 2, {2: BROKEN, 4: BROKEN}, 1)
    assert second.again
    assert (second.again.only, second.again.charged, second.failed, second.pause) == ([4], {4: 1}, (2, 5), 1)
    third = settle(second.again, 3, {4: EVICTED}, 1)
    assert third.again
    assert (third.again.only, third.again.charged, third.pause) == ([4], {4: 1}, 0)
    last = settle(third.again, 4, {4: BROKEN}, 1)
    assert (last.again, last.failed) == (None, (2, 4, 5))
    assert last.cause == Cause(shard=5, reason="HandlerNotFound", message="no main")


def test_a_shard_that_is_disrupted_for_ever_has_an_end() -> None:
    shards = Shards(count=2)
    for attempt in range(1, MAX_DISRUPTIONS + 1):
        settled = settle(shards, attempt, {1: EVICTED}, 0)
        assert settled.again, attempt
        shards = settled.again
    assert settle(shards, MAX_DISRUPTIONS + 1, {1: EVICTED}, 0).failed == (1,)


def test_an_attempt_at_some_shards_knows_which_is_which() -> None:
    assert Shards(count=3).mine == [0, 1, 2]
    assert Shards(count=9, only=[2, 7]).mine == [2, 7]


@given(
    st.integers(1, 12).flatmap(
        lambda count: st.tuples(
            st.just(count), st.lists(st.dictionaries(st.integers(0, count - 1), st.booleans()), max_size=6)
        )
    )
)
def test_no_shard_is_lost_between_attempts(drawn: tuple[int, list[dict[int, bool]]]) -> None:
    """Every shard that has failed is tried again or has failed for good, never both."""
    count, attempts = drawn
    shards = Shards(count=count)
    for attempt, outcome in enumerate(attempts, 1):
        failures = {shard: BROKEN if charged else EVICTED for shard, charged in outcome.items() if shard in shards.mine}
        settled = settle(shards, attempt, failures, 2)
        again = set(settled.again.only) if settled.again else set()
        assert again | set(settled.failed) == set(failures) | set(shards.failed)
        assert not again & set(settled.failed)
        if settled.again is None:
            return
        shards = settled.again


@pytest.mark.parametrize(
    ("key", "part", "manifest"),
    [
        ("scores/scores.zip", "scores/scores-3.zip", "scores/scores.manifest.json"),
        ("scores/scores/", "scores/scores-3/", "scores/scores.manifest.json"),
        ("a.zip", "a-3.zip", "a.manifest.json"),
    ],
)
def test_a_part_and_the_manifest_have_their_keys_by_the_outputs(key: str, part: str, manifest: str) -> None:
    assert (part_key(key, 3), parts_key(key)) == (part, manifest)


MODEL = {"name": "model", "dataStore": {"name": "lake", "path": "model"}}
FILE = {"name": "list", "dataStore": {"name": "lake", "path": "a.csv"}, "type": "uri_file"}
FOLDER = {"name": "data", **DATA}


def found(*inputs: dict[str, object], stores: tuple[DataStore, ...] = (), **parallel: object) -> Resolved | Obstacle:
    known = {each.metadata.name: each for each in (store(), *stores)}
    subject = run(inputs=list(inputs), parallel={"shards": 2, **parallel})
    return resolve(subject, function(), known, (), SETTINGS)


@pytest.mark.parametrize(
    ("inputs", "parallel", "sliced"),
    [
        ((FOLDER, FILE), {}, "data"),
        ((FOLDER, MODEL), {"input": "model"}, "model"),
        ((FILE,), {}, None),
        ((), {}, None),
        (({**FOLDER, "stage": "Never"}, MODEL), {}, "model"),
    ],
    ids=["the only folder", "the named one", "no folder", "no input", "one that is not staged does not count"],
)
def test_the_folder_that_is_sliced(
    inputs: tuple[dict[str, object], ...], parallel: dict[str, object], sliced: str | None
) -> None:
    resolved = found(*inputs, **parallel)
    assert isinstance(resolved, Resolved), resolved
    assert (resolved.sliced.input.name if resolved.sliced else None) == sliced


@pytest.mark.parametrize(
    ("inputs", "parallel", "why"),
    [
        ((FOLDER, MODEL), {}, "several staged folders (data, model)"),
        ((FOLDER, FILE), {"input": "list"}, "list is no folder that is staged from a store; those are: data"),
        ((), {"input": "data"}, "those are: none"),
    ],
)
def test_a_folder_that_cannot_be_sliced_is_refused(
    inputs: tuple[dict[str, object], ...], parallel: dict[str, object], why: str
) -> None:
    obstacle = found(*inputs, **parallel)
    assert isinstance(obstacle, Obstacle)
    assert (obstacle.reason, obstacle.heals) == ("ParallelRejected", False)
    assert obstacle.message.startswith("spec.parallel.input: ")
    assert why in obstacle.message


def test_a_store_that_takes_no_plan_is_refused() -> None:
    shared = store("shared", default=False, s3=None, volume={"claimName": "shared", "readOnly": True})
    subject = run(
        inputs=[{"name": "data", "dataStore": {"name": "shared", "path": "in"}, "stage": "Download"}], parallel={"shards": 2}
    )
    obstacle = resolve(subject, function(), {"shared": shared}, (), SETTINGS)
    assert isinstance(obstacle, Obstacle)
    assert obstacle.reason == "DataStoreReadOnly"
