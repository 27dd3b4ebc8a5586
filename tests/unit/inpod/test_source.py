"""Which folder of an archive is the source."""

from __future__ import annotations

import pytest

from millrace.inpod.source import root_of

FLAT = {"main.py", "heart/__init__.py", "heart/model.py", "tools/report.py"}
GITHUB = {f"heart-1.2/{path}" for path in FLAT} | {"heart-1.2/README.md"}


@pytest.mark.parametrize(
    ("files", "handler", "script", "root"),
    [
        (FLAT, "main:predict", None, ""),
        (FLAT, "predict", None, ""),
        (FLAT, None, "tools/report.py", ""),
        (GITHUB, "main:predict", None, "heart-1.2"),
        (GITHUB, "predict", None, "heart-1.2"),
        (GITHUB, "heart.model:score", None, "heart-1.2"),
        (GITHUB, "heart:score", None, "heart-1.2"),
        (GITHUB, None, "tools/report.py", "heart-1.2"),
        (GITHUB, None, "heart-1.2/tools/report.py", ""),
        (GITHUB, "other:predict", None, ""),
        (GITHUB | {"LICENSE"}, "main:predict", None, ""),
        ({"heart/__init__.py", "heart/heart.py"}, "heart:predict", None, ""),
        ({"heart/heart.py"}, "heart:predict", None, "heart"),
        ({"heart/model.py"}, "heart.model:predict", None, ""),
        ({"main.py"}, "main:predict", None, ""),
        (set(), "main:predict", None, ""),
    ],
)
def test_it_is_the_top_or_the_one_folder_there_that_has_the_code(
    files: set[str], handler: str | None, script: str | None, root: str
) -> None:
    assert root_of(frozenset(files), handler, script) == root
