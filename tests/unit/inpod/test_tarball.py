"""The archive of installed requirements: the same bytes for the same files, and nothing but files within a folder back."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millrace.inpod.tarball import Damaged, pack, unpack

LONG = "/".join(["a" * 90, "b" * 120, "c" * 200 + ".py"])
FILES = {
    "six.py": b"x = 1\n",
    "pkg/__init__.py": b"",
    f"pkg/{LONG}": b"y" * 1000,
    "pkg/übung.txt": bytes(700_000),
    "bin/run": b"#!",
}


def chunks(data: bytes, size: int = 1000) -> Iterator[memoryview]:
    return (memoryview(data)[at : at + size] for at in range(0, len(data), size))


def packed(folder: Path) -> tuple[bytes, int, int]:
    target = io.BytesIO()
    files, size = pack(str(folder), target)
    return target.getvalue(), files, size


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (tmp_path / "tree/bin/run").chmod(0o755)
    return tmp_path / "tree"


@pytest.mark.parametrize("size", [1, 511, 1 << 20])
def test_what_was_packed_comes_back(tree: Path, tmp_path: Path, size: int) -> None:
    data, files, total = packed(tree)
    assert (files, total) == (len(FILES), sum(map(len, FILES.values())))
    target = tmp_path / "target"
    target.mkdir()
    unpack(chunks(data, size), str(target), files, total)
    assert {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()} == FILES
    assert os.access(target / "bin/run", os.X_OK)
    assert not (target / "six.py").stat().st_mode & 0o111


def test_the_bytes_depend_on_nothing_but_names_contents_and_modes(tree: Path, tmp_path: Path) -> None:
    before = packed(tree)
    os.utime(tree / "six.py", (1, 1))
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in reversed(FILES):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(FILES[name])
    (copy / "bin/run").chmod(0o711)
    assert before == packed(tree) == packed(copy)


def test_other_programs_can_read_it(tree: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(tree)[0]), mode="r:gz") as archive:
        assert set(archive.getnames()) == set(FILES)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc"), lambda path: os.mkfifo(path)], ids=["link", "fifo"])
def test_what_is_neither_a_file_nor_a_folder_is_not_packed(tree: Path, make: Callable[[Path], None]) -> None:
    make(tree / "pkg/odd")
    with pytest.raises(ValueError, match="odd"):
        packed(tree)


def member(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "", mode: int = 0o644) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def raw(name: bytes, **changes: bytes) -> bytes:
    """A header with fields that tarfile would not write."""
    block = bytearray(member("x"))
    block[0:100] = name.ljust(100, b"\0")
    for field, value in changes.items():
        at = {"size": 124, "prefix": 345}[field]
        block[at : at + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


END = bytes(1024)
HOSTILE: dict[str, bytes] = {
    "a parent": member("../out"),
    "a parent within": member("a/../../out"),
    "an absolute path": member("/tmp/out"),
    "a long absolute path": member("/tmp/" + "o" * 200),
    "a long parent": member("../" + "o" * 200),
    "an absolute prefix": raw(b"out", prefix=b"/tmp"),
    "a dot": member("."),
    "an empty part": member("a//b"),
    "no name": raw(b""),
    "a folder's name": raw(b"a/"),
    "a name that is no text": raw(b"\xff\xfe"),
    "a long name with NUL": member("x", tarfile.GNUTYPE_LONGNAME, b"a\0../../out".ljust(200, b"b")) + member("x"),
    "two long names": member("x", tarfile.GNUTYPE_LONGNAME, b"a" * 200) * 2 + member("x"),
    "a long name without end": member("x", tarfile.GNUTYPE_LONGNAME, b"a" * 100_000) + member("x"),
    "a symbolic link": member("a", tarfile.SYMTYPE, link="/etc/passwd"),
    "a symbolic link and a file below it": member("a", tarfile.SYMTYPE, link="/tmp") + member("a/out", data=b"x"),
    "a hard link": member("a", data=b"x") + member("b", tarfile.LNKTYPE, link="a"),
    "a hard link out": member("b", tarfile.LNKTYPE, link="/etc/passwd"),
    "a folder": member("a", tarfile.DIRTYPE),
    "a FIFO": member("a", tarfile.FIFOTYPE),
    "a device": member("a", tarfile.CHRTYPE),
    "a block device": member("a", tarfile.BLKTYPE),
    "a sparse file": member("a", tarfile.GNUTYPE_SPARSE),
    "a contiguous file": member("a", tarfile.CONTTYPE),
    "a pax header": member("x", tarfile.XHDTYPE, b"20 path=../../../out\n") + member("x"),
    "a global pax header": member("x", tarfile.XGLTYPE, b"20 path=../../../out\n") + member("x"),
    "a long link": member("x", tarfile.GNUTYPE_LONGLINK, b"a" * 200) + member("x"),
    "an unknown kind": member("a", b"Z"),
    "a name twice": member("a", data=b"1") + member("a", data=b"2"),
    "a file where a folder was": member("a/b", data=b"1") + member("a", data=b"2"),
    "a folder where a file was": member("a", data=b"1") + member("a/b", data=b"2"),
    "a negative size": raw(b"a", size=b"\xff" * 12),
    "a size that is no number": raw(b"a", size=b"zzzzzzzzzzz\0"),
    "more bytes than there are": raw(b"a", size=b"00000003000\0"),
    "more bytes than recorded": member("a", data=b"x" * 5000),
    "a size beyond all": raw(b"a", size=b"77777777777\0"),
    "more files than recorded": b"".join(member(f"f{number}") for number in range(11)),
    "a wrong checksum": b"a" * 512,
    "no end": member("a", data=b"x")[:700],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_makes_nothing_outside_of_its_folder(name: str, tmp_path: Path) -> None:
    target = tmp_path / "within" / "target"
    target.mkdir(parents=True)
    end = b"" if name == "no end" else END
    with pytest.raises(Damaged):
        unpack(chunks(gzip.compress(HOSTILE[name] + end)), str(target), 10, 4000)
    assert not list(Path("/tmp").glob("out*"))
    for path in tmp_path.rglob("*"):
        assert path in (target.parent, target) or target in path.parents
        assert path.is_dir() or (path.is_file() and not path.is_symlink() and path.stat().st_nlink == 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8b", b"no gzip at all", gzip.compress(b""), gzip.compress(member("a") + END)[:-9]],
    ids=["nothing", "a beginning", "text", "empty", "cut off"],
)
def test_bytes_that_are_no_archive_are_told(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(Damaged):
        unpack(chunks(data), str(tmp_path), 10, 4000)


def test_a_flipped_bit_is_damage_or_other_content_within_the_folder(tree: Path, tmp_path: Path) -> None:
    """Unpacking ends with Damaged or not at all; what the archive itself does not notice is left to its digest."""
    data, files, size = packed(tree)
    noticed = 0
    for at in range(0, len(data), 37):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        target = tmp_path / f"t{at}"
        target.mkdir()
        try:
            unpack(chunks(bytes(damaged)), str(target), files, size)
        except Damaged:
            noticed += 1
    assert noticed
    assert {path.name.rstrip("0123456789") for path in tmp_path.iterdir()} == {"t", "tree"}


def test_a_bomb_is_stopped_at_the_recorded_size(tmp_path: Path) -> None:
    bomb = gzip.compress(raw(b"a", size=b"77777777777\0") + bytes(64 << 20))
    with pytest.raises(Damaged, match="than its record says"):
        unpack(chunks(bomb), str(tmp_path), 10, 1000)
    assert list(tmp_path.iterdir()) == []
