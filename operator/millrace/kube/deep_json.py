"""JSON that is nested deeper than Python can read. One such object must not keep us from all others of its kind.

The API server takes objects of 10,000 levels. Python's reader gives up there, and lists and watches add levels of their own.
"""

from __future__ import annotations

import json
import re
from typing import Any

DEEPEST = 600  # levels that are read; a run may have fewer (domain/checks.py)
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]')
_decode = json.JSONDecoder.decode


def cut(text: str) -> str:
    """The JSON with 0 for each list and object that is deeper."""
    kept, start, depth = [], 0, 0
    for token in _TOKENS.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += [text[start : token.start()], "0"]
        elif token[0] in "]}":
            if depth == DEEPEST + 1:
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]])


def _decode_all(decoder: json.JSONDecoder, text: str, *arguments: Any) -> Any:
    try:
        return _decode(decoder, text, *arguments)
    except RecursionError:
        return _decode(decoder, cut(text), *arguments)


def install() -> None:
    """For all that reads JSON in this process: kopf and aiohttp have no place of their own for it."""
    json.JSONDecoder.decode = _decode_all  # type: ignore[assignment, method-assign]
