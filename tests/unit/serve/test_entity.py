"""The request entity by content type."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.serve.entity import File, gather, media_type, read
from millrace.serve.problems import Problem

MULTIPART = "multipart/form-data; boundary=XX"


def part(disposition: str, data: bytes, kind: str = "") -> bytes:
    more = f"Content-Type: {kind}\r\n" if kind else ""
    return f"--XX\r\nContent-Disposition: {disposition}\r\n{more}\r\n".encode() + data + b"\r\n"


def entity(content_type: str, body: bytes) -> Any:
    return read(*media_type(content_type), body)


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("application/json; charset=utf-8", '"ä"'.encode(), "ä"),
        ("Application/JSON", b"0", 0),
        ("application/problem+json", b"{}", {}),
        ("application/json", b"", None),
        ("text/plain", "ä".encode(), "ä"),
        ("text/plain; charset=latin-1", b"\xe4", "ä"),
        ('text/csv; charset="UTF-8"; header=present', b"a,b\r\n1,2\r\n", "a,b\r\n1,2\r\n"),
        ("text/plain", b"", None),
        ("application/octet-stream", b"\x00\xff", b"\x00\xff"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
        ("", b"\x00\xff", b"\x00\xff"),
        ("", b"", None),
        ("application/x-www-form-urlencoded", b"a=1&b=%C3%A4+x&a=2&c=", {"a": ["1", "2"], "b": "ä x", "c": ""}),
        (MULTIPART, part('form-data; name="a"', b"1") + b"--XX--\r\n", {"a": "1"}),
        (
            MULTIPART,
            part('form-data; name="f"; filename="x.bin"', b"\x00\r\n--X\xff", "image/png") + b"--XX--\r\n",
            {"f": File("x.bin", "image/png", b"\x00\r\n--X\xff")},
        ),
        (
            'multipart/form-data; boundary="XX"',
            part('form-data; name="a"', b"1") + part('form-data; name="a"', b"2") + b"--XX--",
            {"a": ["1", "2"]},
        ),
        (MULTIPART, part('form-data; name="j"', b'{"n": 1}', "application/json") + b"--XX--\r\n", {"j": {"n": 1}}),
        (
            MULTIPART,
            part('form-data; name="f"; filename="../../etc/passwd"', b"") + b"--XX--\r\n",
            {"f": File("../../etc/passwd", "application/octet-stream", b"")},
        ),
    ],
)
def test_a_body_is_what_its_content_type_says(content_type: str, body: bytes, expected: Any) -> None:
    assert entity(content_type, body) == expected


@pytest.mark.parametrize(
    ("content_type", "body", "status", "told"),
    [
        ("application/json", b"{", 400, "no JSON"),
        ("application/json", b"\xff", 400, "no JSON"),
        ("application/json", b"NaN", 400, "NaN is no JSON"),
        ("application/json", b"[" * 100_000 + b"]" * 100_000, 400, "nested too deeply"),
        ("application/json", b"1" * 5000, 400, "no JSON"),
        ("text/plain", b"\xff", 400, "no text in utf-8"),
        ("text/plain; charset=klingon", b"x", 415, "'klingon' is not known"),
        ("text/plain; charset=rot13", b"x", 415, "'rot13' is not known"),
        ("application/x-www-form-urlencoded", b"a=%FF", 400, "utf-8"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), 400, "more than 1000 fields"),
        ("multipart/form-data", b"x", 400, "boundary"),
        ("multipart/form-data; boundary=" + "X" * 71, b"x", 400, "boundary"),
        (MULTIPART, b"nothing of the kind", 400, "multipart/form-data"),
        (MULTIPART, part('form-data; name="a"', b"1"), 400, "before its last boundary"),
        (MULTIPART, part("attachment", b"1") + b"--XX--\r\n", 400, "form-data with a name"),
        (MULTIPART, part('form-data; name="a"', b"1") * 1001 + b"--XX--\r\n", 400, "more than 1000 parts"),
        (MULTIPART, part(f'form-data; name="{"a" * 9000}"', b"1") + b"--XX--\r\n", 400, "header size"),
        ("json", b"{}", 400, "no media type"),
        ("application/", b"{}", 400, "no media type"),
        ("text/plain; charset", b"x", 400, "no media type"),
        ("text/plain, text/html", b"x", 400, "no media type"),
    ],
)
def test_what_is_not_what_it_says_is_refused(content_type: str, body: bytes, status: int, told: str) -> None:
    with pytest.raises(Problem) as refused:
        entity(content_type, body)
    assert refused.value.status == status
    assert told in refused.value.detail


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(JSON)
def test_json_arrives_as_it_was_sent(value: Any) -> None:
    assert entity("application/json", json.dumps(value).encode()) == value


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"))), min_size=1))
def test_a_form_arrives_as_it_was_sent(pairs: list[tuple[str, str]]) -> None:
    assert entity("application/x-www-form-urlencoded", urlencode(pairs).encode()) == gather(pairs)


@given(st.binary())
def test_a_file_arrives_byte_for_byte(data: bytes) -> None:
    boundary = "--boundary-that-random-bytes-do-not-have"
    body = f'--{boundary}\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\n'.encode() + data
    body += f"\r\n--{boundary}--\r\n".encode()
    assert entity(f"multipart/form-data; boundary={boundary}", body)["f"].data == data


@given(st.text(), st.binary())
def test_no_bytes_break_the_reading(content_type: str, body: bytes) -> None:
    """Whatever comes is read or refused, never another exception."""
    for kind in (content_type, MULTIPART, "application/json", "application/x-www-form-urlencoded", "text/x"):
        try:
            entity(kind, body)
        except Problem as problem:
            assert problem.status in {400, 415}
