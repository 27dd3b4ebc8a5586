"""Tables of what is there: pure."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "-"


def table(header: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    """Lines of columns below their header, as kubectl prints them."""
    cells = [list(header), *([cell or NOTHING for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join("   ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
