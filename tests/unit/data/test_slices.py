"""Which file is whose."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from millrace.data.slices import FILE_COST, deal
from millrace.data.stores import Entry

SIZES = st.lists(st.integers(0, 10**12), max_size=60)


def files(sizes: list[int]) -> list[tuple[str, Entry]]:
    return [(f"{number:03}", Entry(f"in/{number:03}", size, "etag")) for number, size in enumerate(sizes)]


@given(SIZES, st.integers(1, 12))
def test_every_file_has_one_shard_and_none_has_much_more_than_another(sizes: list[int], shards: int) -> None:
    given_to = deal(files(sizes), shards)
    assert len(given_to) == len(sizes)
    assert set(given_to) <= set(range(shards))
    load = Counter(dict.fromkeys(range(shards), 0))
    for size, shard in zip(sizes, given_to, strict=True):
        load[shard] += size + FILE_COST
    if sizes:  # the last file that the fullest got was no larger than the largest, and it was the emptiest then
        assert max(load.values()) - min(load.values()) <= max(sizes) + FILE_COST


def test_equal_files_go_round_so_that_counts_differ_by_one_at_most() -> None:
    counts = Counter(deal(files([100] * 1003), 8))
    assert sorted(counts.values()) == [125] * 5 + [126] * 3


@given(SIZES, st.integers(1, 12), st.randoms())
def test_the_order_of_the_listing_does_not_matter(sizes: list[int], shards: int, chance: object) -> None:
    listed = files(sizes)
    mixed = list(listed)
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    first = dict(zip((path for path, _ in listed), deal(listed, shards), strict=True))
    assert dict(zip((path for path, _ in mixed), deal(mixed, shards), strict=True)) == first
