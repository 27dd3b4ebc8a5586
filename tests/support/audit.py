"""What the API server's audit log says; only the local provider shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from support import canary

OPERATOR = "system:serviceaccount:millrace-system:millrace-operator"
Entry = dict[str, Any]


def entries(having: str) -> Iterator[Entry]:
    """The entries whose line has that text. Of reads only the operator's are logged; a watch has two, at its start and its end."""
    for path in sorted((canary.node().parent / "audit").iterdir()):
        for line in path.read_text().splitlines():
            if having in line:
                yield json.loads(line)


def resource(entry: Entry) -> str:
    """Plural, with its subresource; empty for what is no object."""
    what = entry.get("objectRef", {})
    return "/".join(part for part in (what.get("resource"), what.get("subresource")) if part)
