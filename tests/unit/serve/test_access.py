"""Who is let in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.serve.access import Access, Token, Unreadable, parse, refusal
from millrace.serve.problems import Problem

NOW = 1_800_000_000.0


def sha(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


TOKENS = (
    Token("one", sha("one").encode(), float("inf")),
    Token("two", sha("two").encode(), NOW + 1),
    Token("old", sha("old").encode(), NOW),
)


@pytest.mark.parametrize("header", [b"Bearer one", b"bearer one", b"BEARER   one", b"Bearer two"])
def test_a_known_token_is_let_in(header: bytes) -> None:
    assert refusal(header, TOKENS, NOW) is None


@pytest.mark.parametrize(
    ("header", "told"),
    [
        (None, "is needed"),
        (b"", "no single bearer token"),
        (b"Bearer", "no single bearer token"),
        (b"Bearer ", "no single bearer token"),
        (b"Bearer nothing", "not known"),
        (b"Bearer one two", "no single bearer token"),
        (b"Bearer one, Bearer one", "no single bearer token"),
        (b"Bearer one ", "no single bearer token"),
        (b" Bearer one", "no single bearer token"),
        (b"Bearer\tone", "no single bearer token"),
        (b"Bearer one\x00", "no single bearer token"),
        (b"one", "no single bearer token"),
        (b"Basic b25lOg==", "no single bearer token"),
        (b"Token one", "no single bearer token"),
        (b"Bearer ONE", "not known"),
        (b"Bearer on", "not known"),
        (b"Bearer " + sha("one").encode(), "not known"),
        (b"Bearer old", "has expired"),
        (b"Bearer " + b"a" * 513, "no single bearer token"),
        (b"Bearer \xc3\xa4", "no single bearer token"),
    ],
)
def test_anything_else_is_not(header: bytes | None, told: str) -> None:
    assert told in str(refusal(header, TOKENS, NOW))


def test_nobody_is_let_in_where_there_is_no_token() -> None:
    assert refusal(b"Bearer one", (), NOW) == "the token is not known"


def test_a_token_that_stands_twice_counts_until_its_last_end() -> None:
    twice = (Token("a", sha("x").encode(), NOW - 1), Token("b", sha("x").encode(), NOW + 1))
    assert refusal(b"Bearer x", twice, NOW) is None
    assert refusal(b"Bearer x", twice, NOW + 1) == "the token has expired"


@given(st.binary())
def test_no_header_breaks_the_check(header: bytes) -> None:
    assert isinstance(refusal(header, TOKENS, NOW), str)


def test_the_file_of_tokens() -> None:
    entries = [{"name": "a", "sha256": sha("a")}, {"name": "b", "sha256": sha("b"), "expires": "2026-11-22T05:00:00Z"}]
    assert parse(json.dumps({"tokens": entries}).encode()) == (
        Token("a", sha("a").encode(), float("inf")),
        Token("b", sha("b").encode(), 1795323600.0),
    )
    assert parse(b'{"tokens": []}') == ()


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "a", "sha256": "xyz"},
        {"name": "a", "sha256": sha("a").upper()},
        {"name": "a", "sha256": sha("a"), "expires": "tomorrow"},
        {"name": "a", "sha256": sha("a"), "expires": "2026-11-22T05:00:00"},
        {"name": "a", "sha256": sha("a"), "expires": 5},
        {"name": "a", "sha256": sha("a"), "revoked": True},
        {"name": "a"},
        {"sha256": sha("a")},
        "a",
        None,
    ],
)
def test_a_part_that_is_not_understood_makes_the_file_unreadable(entry: Any) -> None:
    with pytest.raises(Unreadable):
        parse(json.dumps({"tokens": [entry]}).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"tokens": 1}', b"null", b"\xff"])
def test_a_file_of_another_kind_is_unreadable(text: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(text)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def put(path: Path, *tokens: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"tokens": [{"name": token, "sha256": sha(token)} for token in tokens]}))
    new.rename(path)


def status(access: Access, header: bytes | None) -> int:
    try:
        access.check(header)
    except Problem as problem:
        return problem.status
    return 200


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path, clock = tmp_path / "tokens.json", Clock()
    put(path, "one", "two")
    access = Access(str(path), clock)
    assert [status(access, header) for header in (b"Bearer one", b"Bearer two", None)] == [200, 200, 401]
    put(path, "two", "new")
    clock.now += 1.1
    assert [status(access, header) for header in (b"Bearer one", b"Bearer two", b"Bearer new")] == [401, 200, 200]


def test_what_cannot_be_read_lets_nobody_in_until_it_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, clock = tmp_path / "tokens.json", Clock()
    access = Access(str(path), clock)
    assert status(access, b"Bearer one") == 503
    assert "cannot be read" in capsys.readouterr().err
    put(path, "one")
    clock.now += 1.1
    assert status(access, b"Bearer one") == 200
    path.write_text("{")
    clock.now += 1.1
    assert status(access, b"Bearer one") == 503
    put(path, "one")
    clock.now += 1.1
    assert status(access, b"Bearer one") == 200


def test_a_refusal_says_how_to_authenticate(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    put(path, "one")
    for header, challenge in (
        (None, b'Bearer realm="millrace"'),
        (b"Bearer x", b'Bearer realm="millrace", error="invalid_token"'),
    ):
        with pytest.raises(Problem) as refused:
            Access(str(path)).check(header)
        assert refused.value.headers == ((b"www-authenticate", challenge),)
