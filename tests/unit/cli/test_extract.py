"""Unpacking writes nothing outside of its folder."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from millrace.cli.errors import Refused
from millrace.cli.extract import extract, member_path


def archive(path: Path, *members: tuple[str, bytes, int]) -> Path:
    with zipfile.ZipFile(path, "w") as found:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            found.writestr(info, data)
    return path


def test_files_folders_and_modes(tmp_path: Path) -> None:
    found = archive(
        tmp_path / "a.zip",
        ("a.csv", b"1", stat.S_IFREG | 0o644),
        ("bin/run", b"2", stat.S_IFREG | 0o4755),
        ("empty/", b"", stat.S_IFDIR | 0o755),
    )
    assert extract(found, tmp_path / "out") == 2
    assert (tmp_path / "out/a.csv").read_bytes() == b"1"
    assert (tmp_path / "out/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/empty").is_dir()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "./x", "C:/x", "a\\..\\x"])
def test_members_that_leave_the_folder_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    found = archive(tmp_path / "a.zip", ("good", b"1", 0), (name, b"2", 0))
    with pytest.raises(Refused, match="not safe to unpack"):
        extract(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    found = archive(tmp_path / "a.zip", ("link", b"/etc/passwd", kind | 0o777))
    with pytest.raises(Refused, match="neither a file nor a folder"):
        extract(found, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    found = archive(tmp_path / "a.zip", ("a", b"1", 0), ("a", b"2", 0))
    with pytest.raises(Refused, match="twice"):
        extract(found, tmp_path / "out")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no")
    with pytest.raises(Refused, match="not a zip"):
        extract(tmp_path / "a.zip", tmp_path / "out")


def test_a_null_byte_ends_no_name() -> None:
    assert member_path("a\0b") is None
    assert member_path("") is None
    assert str(member_path("a/b/")) == "a/b"
