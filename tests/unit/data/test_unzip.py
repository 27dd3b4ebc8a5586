"""Unpacking writes nothing outside of its folder (S16; the other archive that is unpacked: tests/unit/inpod/test_tarball.py)."""

from __future__ import annotations

import contextlib
import io
import itertools
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.data.unzip import Caps, Rejected, member_path, unzip


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
    assert unzip(found, tmp_path / "out") == 2
    assert (tmp_path / "out/a.csv").read_bytes() == b"1"
    assert (tmp_path / "out/bin/run").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/empty").is_dir()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b", "./x", "C:/x", "a\\..\\x"])
def test_members_that_leave_the_folder_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    found = archive(tmp_path / "a.zip", ("good", b"1", 0), (name, b"2", 0))
    with pytest.raises(Rejected, match="not safe to unpack"):
        unzip(found, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    found = archive(tmp_path / "a.zip", ("link", b"/etc/passwd", kind | 0o777))
    with pytest.raises(Rejected, match=r"is a link|neither a file nor a folder"):
        unzip(found, tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    found = archive(tmp_path / "a.zip", ("a", b"1", 0), ("a", b"2", 0))
    with pytest.raises(Rejected, match="twice"):
        unzip(found, tmp_path / "out")


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no")
    with pytest.raises(Rejected, match="not a zip"):
        unzip(tmp_path / "a.zip", tmp_path / "out")


def test_a_null_byte_ends_no_name() -> None:
    assert member_path("a\0b") is None
    assert member_path("") is None
    assert str(member_path("a/b/")) == "a/b"


ESCAPED = "millrace-escaped"
PLACES = [
    *(
        "../{}",
        "../../{}",
        "a/../../{}",
        "a/b/../../../{}",
        "a/../{}",
        "./../{}",
        "a/./../../{}",
        "..//{}",
        "....//{}",
        "{}/..",
    ),
    *("/{}", "//{}", "///{}", "/tmp/{}", "/../{}", "/./{}", "//tmp/{}"),
    *(
        "C:/{}",
        "C:{}",
        "C:\\{}",
        "c:/../{}",
        "\\{}",
        "..\\{}",
        "a\\..\\..\\{}",
        "..\\/{}",
        "\\\\host\\share\\{}",
        "\\\\?\\C:\\{}",
    ),
    *("./{}", "a//{}", "a/./{}", "../{}/", "/{}/", "{}\0", "../{}\0.csv", "a\0/../{}"),
    # No way out: these are names.
    *("%2e%2e/{}", "..%2f{}", "\uff0e\uff0e/{}", "\u2025/{}", "~/{}", "$HOME/{}", ".../{}", "-rf/{}", "\u202e/{}"),
]
LINKS = ["..", "../..", "/", "/tmp", "/etc/passwd", "a", "."]
HOSTILE: dict[str, list[tuple[str, bytes, int]]] = {
    **{f"file {place!r}": [(place.format(ESCAPED), b"x", stat.S_IFREG | 0o644)] for place in PLACES},
    **{f"link {place!r}": [(place.format(ESCAPED), b"/etc/passwd", stat.S_IFLNK | 0o777)] for place in PLACES},
    # Argo Workflows, CVE-2025-66626: a link that the archive makes, and a file through it.
    **{
        f"through a link to {link}": [
            ("l", link.encode(), stat.S_IFLNK | 0o777),
            (f"l/{ESCAPED}", b"x", stat.S_IFREG | 0o644),
        ]
        for link in LINKS
    },
    **{
        f"replaces a link to {link}": [("l", link.encode(), stat.S_IFLNK | 0o777), ("l", b"x", stat.S_IFREG | 0o644)]
        for link in LINKS
    },
    **{
        f"kind {kind:o}": [(ESCAPED, b"x", kind | 0o666)]
        for kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, 0o150000)
    },
    "a file below a file": [("a", b"x", 0), (f"a/b/{ESCAPED}", b"x", 0)],
    "a folder where a file is": [("a", b"x", 0), ("a/", b"", 0)],
    "a file where a folder is": [("a/", b"", 0), ("a", b"x", 0)],
    "a name that is too long": [("n" * 300, b"x", 0)],
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing_outside_of_its_folder_and_no_link_in_it(tmp_path: Path, name: str) -> None:
    target = tmp_path / "a" / "b" / "out"
    target.parent.mkdir(parents=True)
    with zipfile.ZipFile(target.parent / "a.zip", "w") as found:
        for member, data, mode in HOSTILE[name]:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.create_system = member, mode << 16, 3
            found.writestr(info, data)
    with contextlib.suppress(Rejected):
        unzip(target.parent / "a.zip", target)
    assert not [path for path in (Path("/"), Path("/tmp"), Path.home(), Path.cwd()) if (path / ESCAPED).exists()]
    for path in tmp_path.rglob("*"):
        assert path in (*target.parents, target.parent / "a.zip") or target in (path, *path.parents), path
        assert path.is_dir() or (path.is_file() and not path.is_symlink()), path


CAPS = Caps(members=10, bytes=1 << 20, ratio=100, free_bytes=1 << 10, directory_bytes=4096)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([(f"f{n}", b"x") for n in range(11)], "has 11 files and folders; 10 are possible"),
        ([(str(n), b"%d" % n * 200_000) for n in range(6)], "unpacks to 1200000 bytes; 1048576 are possible"),
        ([("a.py", b"x"), ("bomb", bytes(1_000_000))], "bytes that unpack to 1000001, most of them in 'bomb'"),
        ([("n" * 250 + str(n), b"") for n in range(20)], "list of members has .* bytes; 4096 are possible"),
    ],
    ids=["members", "bytes", "ratio", "names"],
)
def test_an_archive_beyond_its_caps_is_refused_before_anything_is_written(
    tmp_path: Path, members: list[tuple[str, bytes]], message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as found:
        for name, data in members:
            found.writestr(name, data)
    with pytest.raises(Rejected, match=message):
        unzip(tmp_path / "a.zip", tmp_path / "out", caps=CAPS)
    assert not (tmp_path / "out").exists()


def test_a_member_that_says_less_than_it_has_is_cut_off_and_refused(tmp_path: Path) -> None:
    """Else the caps, which go by what the archive says, were none."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("a", bytes(5_000_000))
    data = packed.getvalue().replace((5_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little"))
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(Rejected):
        unzip(tmp_path / "a.zip", tmp_path / "out", caps=CAPS)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 100


SEGMENT = st.sampled_from(["..", ".", "", "a", "b", "a.py", "C:", "\\", "\0", "l", "\u2025", "~"])
NAME = st.lists(SEGMENT, min_size=1, max_size=5).map("/".join) | st.text(max_size=20)
KIND = st.sampled_from([stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, 0])


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(members=st.lists(st.tuples(NAME, KIND), max_size=6))
def test_whatever_an_archive_names_it_is_refused_or_lies_within_the_folder(
    tmp_path: Path, members: list[tuple[str, int]]
) -> None:
    top = Path(tempfile.mkdtemp(dir=tmp_path))
    with zipfile.ZipFile(top / "a.zip", "w") as found:
        for name, kind in members:
            info = zipfile.ZipInfo("x")
            info.filename, info.external_attr, info.create_system = name, kind << 16, 3
            try:
                found.writestr(info, b"..")
            except UnicodeEncodeError:
                continue
    with contextlib.suppress(Rejected):
        unzip(top / "a.zip", top / "out", caps=CAPS)
    assert {path.name for path in top.iterdir()} <= {"a.zip", "out"}
    for path in (top / "out").rglob("*"):
        assert path.is_dir() or (path.is_file() and not path.is_symlink()), path


def test_a_folder_of_the_archive_can_be_what_is_unpacked(tmp_path: Path) -> None:
    found = archive(tmp_path / "a.zip", ("repo/", b"", stat.S_IFDIR), ("repo/a.py", b"1", 0), ("repo/b/c.py", b"2", 0))
    seen: list[frozenset[str]] = []

    def root(files: frozenset[str]) -> str:
        seen.append(files)
        return "repo"

    assert unzip(found, tmp_path / "out", root=root) == 2
    assert seen == [{"repo/a.py", "repo/b/c.py"}]
    assert (tmp_path / "out/b/c.py").read_bytes() == b"2"


def test_the_hostile_archives_are_a_hundred() -> None:
    assert len(HOSTILE) >= 100


def test_a_flipped_bit_is_refused_or_other_content_within_the_folder(tmp_path: Path) -> None:
    """Another method, another version, encrypted, cut off, no text: all that a byte can make of it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("a/b.csv", "hello " * 50)
        found.writestr("\u00fcbung.txt", "x")
    refused, target = 0, tmp_path / "out"
    for at, bit in itertools.product(range(len(packed.getvalue())), range(8)):
        damaged = bytearray(packed.getvalue())
        damaged[at] ^= 1 << bit
        (tmp_path / "a.zip").write_bytes(damaged)
        try:
            unzip(tmp_path / "a.zip", target)
        except Rejected:
            refused += 1
        assert {path.name for path in tmp_path.iterdir()} <= {"a.zip", "out"}
        shutil.rmtree(target, ignore_errors=True)
    assert refused > 100
