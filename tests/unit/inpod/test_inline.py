"""Rows of the run as files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.inpod.inline import as_csv, as_json

TABLES: dict[str, tuple[dict[str, Any], str]] = {
    "fields and rows": ({"fields": ["age", "sex"], "values": [[63, 1], [41, 0]]}, "age,sex\n63,1\n41,0\n"),
    "no fields": ({"values": [[1, "x"]]}, "1,x\n"),
    "nothing": ({"values": []}, ""),
    "fields alone": ({"fields": ["a"], "values": []}, "a\n"),
    "every kind of JSON": (
        {"values": [[None, True, 1.50, 9007199254740993, "", [1], {"a": None}]]},
        ',true,1.5,9007199254740993,,[1],"{""a"": null}"\n',
    ),
    "one empty cell is a row": ({"fields": ["a"], "values": [[None], [""]]}, 'a\n""\n""\n'),
    "texts that need quotes": (
        {"values": [["a,b", 'say "x"', "two\nlines", " ü "]]},
        '"a,b","say ""x""","two\nlines", ü \n',
    ),
}


@pytest.mark.parametrize(("data", "text"), TABLES.values(), ids=TABLES)
def test_csv(data: dict[str, Any], text: str) -> None:
    assert as_csv(data).decode() == text


@pytest.mark.parametrize("data", [data for data, _ in TABLES.values()], ids=TABLES)
def test_json_is_what_the_run_has(data: dict[str, Any]) -> None:
    assert json.loads(as_json(data)) == data
