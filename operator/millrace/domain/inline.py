"""Data that stands in the run itself."""

from __future__ import annotations

from millrace.api.jobrun import InlineData


def uneven_row(data: InlineData) -> str | None:
    """Why the rows are no table: the first that is longer or shorter than the fields, or than row 0 where there are none."""
    if not data.values:
        return None
    width, of = (len(data.values[0]), "values[0] has") if data.fields is None else (len(data.fields), "there are")
    for number, row in enumerate(data.values):
        if len(row) != width:
            return f"values[{number}] has {len(row)} values, and {of} {width}{'' if data.fields is None else ' fields'}"
    return None
