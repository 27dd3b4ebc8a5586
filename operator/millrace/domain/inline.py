"""Data that stands in the run itself."""

from __future__ import annotations

from millrace.api.rundata import InputData


def no_table(data: InputData) -> str | None:
    """Why the rows are no table, if they are none: the first that is no list, or has not as many values as there are
    fields, or as row 0 has where there are none.
    """
    width = None if data.fields is None else len(data.fields)
    of = "there are {} fields" if width is not None else "values[0] has {}"
    for number, row in enumerate(data.values):
        if not isinstance(row, list):
            return f"values[{number}] is no list of values"
        width = len(row) if width is None else width
        if len(row) != width:
            return f"values[{number}] has {len(row)} values, and {of.format(width)}"
    return None
