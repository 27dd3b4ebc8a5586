"""A tree that changes at the worst instant: between the look at a name and the opening of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from millrace.data.archive import write_zip
from millrace.data.tree import Tree


def test_a_file_that_becomes_a_link_after_the_look_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, secret = tmp_path / "root", tmp_path / "secret"
    root.mkdir()
    secret.write_bytes(b"of somebody else")
    victim = root / "victim"
    victim.write_bytes(b"harmless")
    look, looks = os.stat, 0

    def stat(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        nonlocal looks
        found = look(path, *arguments, **options)
        if path == b"victim":
            looks += 1
            if looks == 2:  # the first is the listing's, the second that before it is opened
                victim.unlink()
                victim.symlink_to(secret)
        return found

    monkeypatch.setattr(os, "stat", stat)
    archive = bytearray()
    with Tree(root) as tree:
        write_zip(tree, archive.extend)
        assert looks == 2
        assert "victim" in tree.warnings[0]
    assert secret.read_bytes() not in archive
