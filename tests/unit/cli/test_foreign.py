"""Files of other systems: what is read, and what is refused before anybody looks at its fields."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from millrace.cli.documents import write_documents
from millrace.cli.errors import Refused
from millrace.cli.foreign import DEPTH, LIMIT, YAML_LIMIT, read_value

CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | CHARACTERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(CHARACTERS, inner, max_size=4),
    max_leaves=20,
)
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 12))

REFUSED = {
    "": "0 documents; one is expected",
    "a: 1\n---\nb: 2\n": "2 documents; one is expected",
    "{'a': 1}": "f, line 1, column 2: not JSON: Expecting property name enclosed in double quotes",
    '{"a": 1,}': "not JSON",
    '{"a": 1} {}': "not JSON: Extra data",
    '{"a": 1, "a": 2}': "the key 'a' is there twice",
    '{"x": {"a": 1, "b": 2, "a": 1}}': "the key 'a' is there twice",
    "a: 1\na: 2\n": "f, line 2, column 1: the key 'a' is there twice",
    "1: a\n": "f, line 1, column 1: a key that is no text",
    "true: a\n": "a key that is no text",
    "? [a]\n: b\n": "a key that is no text",
    "~: a\n": "a key that is no text",
    "<<: {a: 1}\n": "a key that is no text",
    "a: &x 1\nb: *x\n": "f, line 2, column 4: aliases are not read here",
    "a: &x [*x]\n": "aliases are not read here",
    BOMB: "aliases are not read here",
    "a: !!python/object/apply:os.system [x]\n": "could not determine a constructor",
    "a: !!binary aGk=\n": "a value of the type bytes",
    "a: !!timestamp 2026-01-31\n": "a value of the type date",
    "a: !!set {b}\n": "a value of the type set",
    "a: .inf\n": "JSON has no .inf",
    '{"a": NaN}': "JSON has no nan",
    '{"a": -Infinity}': "JSON has no -inf",
    '{"a": 1e999}': "JSON has no inf",
    '{"a": ' + "1" * 5000 + "}": "f: Exceeds the limit",
    '{"a": "\\ud800"}': "half a character",
    '{"\\udc00": 1}': "half a character",
    'a: "\\ud800"\n': "f",
    '{"a":' * (DEPTH + 1) + "1" + "}" * (DEPTH + 1): f"more than {DEPTH} lists and objects",
    '{"a":' * 100_000: "more than",
    "[" * 30_000: "lists and objects in each other",
    '{"a": "' + "x" * LIMIT + '"}': f"more than {LIMIT} bytes of JSON",
    "a: " + "x" * YAML_LIMIT: f"more than {YAML_LIMIT} bytes of YAML",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_what_is_no_plain_value_is_refused(text: str) -> None:
    with pytest.raises(Refused) as refused:
        read_value(text, "f")
    assert REFUSED[text] in refused.value.message
    assert refused.value.message.startswith("f")
    assert len(refused.value.message) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ('\n {"a": 1e3}', {"a": 1000.0}),
        ('{"a":' * DEPTH + "1" + "}" * DEPTH, None),
        ("a: 2026-01-31\nb: 1:30\nc: 'yes'\nd: yes\n", {"a": "2026-01-31", "b": "1:30", "c": "yes", "d": True}),
        ("# nothing\n$schema: x # it is\n", {"$schema": "x"}),
        ("~", None),
    ],
)
def test_a_plain_value_is_read(text: str, value: Any) -> None:
    found = read_value(text, "f")
    assert found == value or value is None


@given(VALUES)
@example({"y": "y", "=": "<<", "a": [], "b": {}, "": None})
def test_json_and_yaml_of_a_value_are_that_value(value: Any) -> None:
    wrapped = {"v": value}
    assert read_value(json.dumps(wrapped), "f") == wrapped
    assert read_value(json.dumps(wrapped, ensure_ascii=False), "f") == wrapped
    assert read_value(write_documents([wrapped]), "f") == wrapped


@given(
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.text(st.sampled_from("{}[]:,&*!|>-? \n\t'\"#%@a1~<="), max_size=40)
)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = read_value(text, "f")
    except Refused:
        return
    assert json.loads(json.dumps(found, allow_nan=False).encode()) == found
