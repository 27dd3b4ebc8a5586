"""Names of everything we make."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.api.base import DNS_SUBDOMAIN
from millrace.domain.names import HASH, LIMIT, child_name, job_name, label_value, probe_name, revision_name

LABEL_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
EDGE = st.sampled_from("abcz019")
PART = st.text("abcz019-", min_size=0, max_size=70)
# Names of custom resources: DNS subdomains of up to 253 characters.
NAMES = (
    st.lists(st.tuples(EDGE, PART, EDGE).map("".join), min_size=1, max_size=6)
    .map(".".join)
    .map(lambda text: text[:253].rstrip("-."))
)


@pytest.mark.parametrize(
    ("run", "attempt", "name"),
    {
        "first attempt": ("score", 1, "score"),
        "second attempt": ("score", 2, "score-2"),
        "just fits": ("a" * 63, 1, "a" * 63),
        "just does not fit": ("a" * 64, 1, "a" * 54 + "-ffe054fe"),
        "fits but for its attempt": ("a" * 62, 2, "a" * 52 + "-f506898c-2"),
        "cut at a dash": ("a" * 53 + "-" + "b" * 20, 1, "a" * 53 + "-dc39a1c0"),
        "cut at dots and dashes": ("a" * 50 + "-.-." + "b" * 20, 1, "a" * 50 + "-b1c8b7d2"),
        "dots stay": ("nightly.2026-01-31", 1, "nightly.2026-01-31"),
        "the longest there is": ("x" * 253, 1, "x" * 54 + "-42f16b0c"),
    }.values(),
)
def test_names_of_jobs(run: str, attempt: int, name: str) -> None:
    found = job_name(run, attempt)
    if re.search(r"-[0-9a-f]{8}", name):  # the digest is not written down by hand
        assert re.sub(r"-[0-9a-f]{8}", "-H", found) == re.sub(r"-[0-9a-f]{8}", "-H", name)
    else:
        assert found == name


@given(NAMES, st.integers(1, 111))
def test_every_name_is_a_name_and_a_label_value(name: str, attempt: int) -> None:
    assert re.fullmatch(DNS_SUBDOMAIN.strip("^$"), name), "the strategy makes names"
    for found in (job_name(name, attempt), probe_name(name, 12), revision_name(name, {"a": 1})):
        assert len(found) <= LIMIT
        assert re.fullmatch(DNS_SUBDOMAIN.strip("^$"), found)
    assert re.fullmatch(LABEL_VALUE, label_value(name))


@given(NAMES, NAMES, st.integers(1, 111))
def test_different_runs_have_different_jobs(one: str, other: str, attempt: int) -> None:
    assume(one != other)
    assert job_name(one, attempt) != job_name(other, attempt)


@given(NAMES, st.integers(1, 111), st.integers(1, 111))
def test_different_attempts_have_different_jobs(name: str, one: int, other: int) -> None:
    assume(one != other)
    assert job_name(name, one) != job_name(name, other)


@given(NAMES)
def test_a_hash_only_where_something_is_cut(name: str) -> None:
    found = child_name(name)
    assert (found == name) == (len(name) <= LIMIT)
    if len(name) > LIMIT:
        assert re.fullmatch(rf".*-[0-9a-f]{{{HASH}}}", found)


@given(st.integers(20, 62))
def test_other_limits_hold_too(limit: int) -> None:
    assert len(child_name("a" * 253, "-2", limit=limit)) <= limit


def test_a_revision_is_the_function_without_its_description() -> None:
    spec = {"source": {"inline": "x"}, "handler": "main:main"}
    name = revision_name("heart", spec)
    assert name == revision_name("heart", {"handler": "main:main", "description": "new", "source": {"inline": "x"}})
    assert name != revision_name("heart", {**spec, "requirements": ["a"]})
    assert name != revision_name("lung", spec)
