"""Inputs at web addresses."""

from __future__ import annotations

import pytest

from millrace.domain.web import file_name


@pytest.mark.parametrize(
    ("uri", "name"),
    {
        "a file": ("https://data.test/heart/heart.csv", "heart.csv"),
        "a query": ("https://data.test/heart.csv?v=a/b.zip#c", "heart.csv"),
        "a blank": ("https://data.test/two%20words.csv", "two words.csv"),
        "no path": ("https://data.test", "data"),
        "a folder": ("https://data.test/a/", "data"),
        "a slash that is hidden": ("https://data.test/a%2F..%2Fb", "data"),
        "up": ("https://data.test/%2e%2e", "data"),
        "NUL": ("https://data.test/a%00b", "data"),
        "too long": ("https://data.test/" + "a" * 256, "data"),
    }.values(),
)
def test_the_name_of_the_staged_file(uri: str, name: str) -> None:
    assert file_name(uri, "data") == name
