"""The ZIP writer against independent readers, and the promise of equal bytes."""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import struct
import subprocess
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.data import archive, ziprecords
from millrace.data.archive import Archived, ZipWriter, write_zip
from millrace.data.deflate import BLOCK_BYTES, END, deflate_block, deflate_whole
from millrace.data.tree import Tree

MIB = 1 << 20


def zipped(root: Path) -> tuple[bytes, Archived]:
    out = bytearray()
    with Tree(root) as tree:
        result = write_zip(tree, out.extend)
    return bytes(out), result


def rows(size: int, seed: int = 1) -> bytes:
    source = random.Random(seed)
    lines: list[bytes] = []
    length = 0
    while length < size:
        lines.append(b"%d,%s,%.4f\n" % (len(lines), source.choice([b"Oslo", b"Rome", b"Lyon"]), source.random()))
        length += len(lines[-1])
    return b"".join(lines)[:size]


CONTENTS = {
    "empty": b"",
    "one byte": b"x",
    "random-small": random.Random(1).randbytes(5000),
    "random-64k": random.Random(2).randbytes(64 << 10),
    "rows-64k+1": rows((64 << 10) + 1),
    "block-1": rows(BLOCK_BYTES - 1),
    "block": rows(BLOCK_BYTES),
    "block+1": rows(BLOCK_BYTES + 1),
    "random-block+1": random.Random(3).randbytes(BLOCK_BYTES + 1),
    "rows-5M": rows(5 * MIB + 17),
    "zeros-3M": bytes(3 * MIB),
    "mixed": rows(MIB) + random.Random(4).randbytes(2 * MIB) + rows(MIB // 2),
    "dir/ü ñ 日本.csv": rows(100),
    "dir/.hidden": b"h",
    "dir.txt": b"sorts between dir and dir/",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, content in CONTENTS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (root / "leer" / "innen").mkdir(parents=True)
    (root / "one byte").chmod(0o700)
    return root


def test_python_reads_what_was_written(tree: Path) -> None:
    data, result = zipped(tree)
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        assert found.testzip() is None
        names = found.namelist()
        assert names == sorted(names, key=str.encode)
        assert set(names) == set(CONTENTS) | {"leer/innen/"}
        assert {name: found.read(name) for name in CONTENTS} == CONTENTS
        modes = {info.filename: info.external_attr >> 16 for info in found.infolist()}
        assert {info.date_time for info in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert modes["one byte"] == 0o100755
    assert modes["block"] == 0o100644
    assert modes["leer/innen/"] == 0o40755
    assert result.files == len(CONTENTS)
    assert result.content_bytes == sum(map(len, CONTENTS.values()))


def test_content_digest_is_what_its_docstring_says(tree: Path) -> None:
    lines = {
        name: b"%s\0%s\0%d\0%s\n"
        % (name.encode(), b"0755" if name == "one byte" else b"0644", len(c), hashlib.sha256(c).hexdigest().encode())
        for name, c in CONTENTS.items()
    }
    lines["leer/innen/"] = b"leer/innen/\x000755\x000\x00%s\n" % hashlib.sha256().hexdigest().encode()
    joined = b"".join(lines[name] for name in sorted(lines, key=str.encode))
    assert zipped(tree)[1].content_digest == hashlib.sha256(joined).hexdigest()


@pytest.mark.skipif(shutil.which("unzip") is None, reason="unzip is not installed")
def test_unzip_accepts_it(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zipped(tree)[0])
    done = subprocess.run(["unzip", "-tqq", tmp_path / "a.zip"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reader_that_only_streams_can_read_it(tree: Path) -> None:
    """What java.util.zip.ZipInputStream does: local headers only, and no stored member with a data descriptor."""
    data, _ = zipped(tree)
    at, found = 0, {}
    while data[at : at + 4] == b"PK\x03\x04":
        _, _, flags, method, _, _, crc, packed, size, name_len, extra_len = struct.unpack_from("<IHHHHHIIIHH", data, at)
        name = data[at + 30 : at + 30 + name_len].decode()
        at += 30 + name_len + extra_len
        if flags & 8:
            assert method == 8, "a stored member with a descriptor has no end that a stream reader could find"
            inflate = zlib.decompressobj(-15)
            content = inflate.decompress(data[at:])
            assert inflate.eof
            packed = len(data) - at - len(inflate.unused_data)
            assert data[at + packed : at + packed + 4] == b"PK\x07\x08"
            assert struct.unpack_from("<III", data, at + packed + 4) == (zlib.crc32(content), packed, len(content))
            at += packed + 16
        else:
            content = zlib.decompress(data[at : at + packed], -15) if method == 8 else data[at : at + packed]
            assert (crc, size) == (zlib.crc32(content), len(content))
            at += packed
        found[name] = content
    assert {name: content for name, content in found.items() if not name.endswith("/")} == CONTENTS


def test_incompressible_content_is_hardly_longer(tmp_path: Path) -> None:
    (tmp_path / "random").write_bytes(random.Random(9).randbytes(8 * MIB))
    data, _ = zipped(tmp_path)
    assert len(data) < 8 * MIB * 1.0002


def _copy_with_other_circumstances(tree: Path, target: Path) -> Path:
    names = list(CONTENTS)
    random.Random(5).shuffle(names)
    (target / "leer" / "innen").mkdir(parents=True)
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(CONTENTS[name])
        (target / name).chmod(0o711 if name == "one byte" else 0o600)
        os.utime(target / name, (1, 1))
    return target


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_equal_trees_give_equal_bytes(tree: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = zipped(tree)
    monkeypatch.setattr(archive, "WORKERS", workers)
    monkeypatch.setattr(archive, "WINDOW", workers + 1)
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert zipped(_copy_with_other_circumstances(tree, tmp_path / "copy")) == first


def _deep(depth: int, data: memoryview) -> bytes:
    """Calls it below frames that leave other values in the registers and on the stack."""
    if depth:
        return _deep(depth - 1, data)
    chunks = deflate_whole(data)
    assert chunks is not None
    return b"".join(bytes(chunk) for chunk in chunks)


def test_a_stream_depends_on_nothing_but_its_bytes() -> None:
    """isa-l's level 1 alone does not promise that, see deflate.py: short periods show it."""
    data = memoryview(b"abc" * 100_000)
    noise = memoryview(rows(MIB))
    with ThreadPoolExecutor(4) as pool:
        works = []
        for number in range(400):
            works.append(pool.submit(_deep, number % 50, data))
            pool.submit(deflate_block, noise)
        assert len({work.result() for work in works}) == 1


def test_every_stream_begins_with_a_history() -> None:
    """So the match finder's unset register is never used: a stored block of eight bytes comes first."""
    for size in (100, 5000, BLOCK_BYTES):
        chunks = deflate_block(memoryview(b"abc" * BLOCK_BYTES)[:size])
        assert bytes(chunks[0]) == b"\0\x08\0\xf7\xff" + b"abcabcab"


def test_the_sink_may_take_any_time_and_chunks_are_not_used_later(tree: Path) -> None:
    """Chunks are copied before the buffers are used again: the stream is the same when the sink keeps nothing."""
    data, _ = zipped(tree)
    total = hashlib.sha256()
    with Tree(tree) as opened:
        write_zip(opened, total.update)
    assert total.digest() == hashlib.sha256(data).digest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300_000), st.integers(1, 40), st.integers(0, 3))
def test_blocks_join_to_one_valid_stream(seed: bytes, repeat: int, kind: int) -> None:
    data = (seed * repeat)[: 2 * BLOCK_BYTES] if kind else random.Random(seed).randbytes(len(seed) * repeat % (2 * MIB))
    packed = b"".join(
        bytes(chunk)
        for start in range(0, len(data), BLOCK_BYTES)
        for chunk in deflate_block(memoryview(data)[start : start + BLOCK_BYTES])
    )
    inflate = zlib.decompressobj(-15)
    assert inflate.decompress(packed + END) == data
    assert inflate.eof
    assert not inflate.unused_data


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(blacklist_characters="\0/", blacklist_categories=("Cs",)), min_size=1, max_size=20).filter(
            lambda name: name not in (".", "..") and len(name.encode()) < 200
        ),
        st.binary(max_size=2000),
        max_size=12,
    )
)
def test_any_names_and_contents(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    root = tmp_path_factory.mktemp("any")
    for name, content in files.items():
        (root / name).write_bytes(content)
    with zipfile.ZipFile(io.BytesIO(zipped(root)[0])) as found:
        assert {info.orig_filename: found.read(info) for info in found.infolist()} == files


def test_more_members_than_the_old_format_counts() -> None:
    out = bytearray()
    with ThreadPoolExecutor(1) as pool:
        writer = ZipWriter(out.extend, pool)
        for number in range(70_000):
            writer.add_folder(f"{number:06}/")
        writer.close()
    with zipfile.ZipFile(io.BytesIO(out)) as found:
        assert len(found.namelist()) == 70_000
        assert found.testzip() is None


class _Sparse(io.RawIOBase):
    """Keeps the first and the last bytes of a long stream, zeros between: what a reader of the directory needs."""

    def __init__(self) -> None:
        self.length = 0
        self.pieces: list[tuple[int, bytes]] = []

    def take(self, chunk: bytes | memoryview) -> None:
        if len(chunk) < 2000:
            self.pieces.append((self.length, bytes(chunk)))
        self.length += len(chunk)


def test_members_of_more_than_4_gib_use_zip64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers, without moving the bytes: a sparse file of a little more than 4 GiB whose blocks are faked."""
    size = (4 << 30) + 8 * MIB
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(size)
    block = b"\0" * 1_050_000
    monkeypatch.setattr(archive, "_pack_block", lambda data: ([block], 0))
    sink = _Sparse()
    with Tree(tmp_path) as opened:
        write_zip(opened, sink.take)
    (_, local), *_ = sink.pieces
    version, flags = struct.unpack_from("<HH", local, 4)
    assert (version, flags & 8) == (45, 8)
    assert struct.unpack_from("<II", local, 18) == (0xFFFFFFFF, 0xFFFFFFFF)
    descriptor = next(data for _, data in sink.pieces if data.startswith(b"PK\x07\x08"))
    packed = size // BLOCK_BYTES * len(block) + len(END)
    assert struct.unpack("<IIQQ", descriptor)[2:] == (packed, size)
    record = next(data for _, data in sink.pieces if data.startswith(b"PK\x01\x02"))
    assert struct.pack("<QQ", size, packed) in record
    end = sink.pieces[-1][1]
    assert end.startswith(b"PK\x06\x06")
    assert struct.unpack_from("<Q", end, 48)[0] + len(record) + len(end) == sink.length


def test_offsets_above_4_gib_stand_in_the_directory() -> None:
    member = ziprecords.Member(b"x", executable=False, method=0, flags=0, offset=6 << 30, crc=1, packed=2, size=2)
    record = ziprecords.central_record(member, 0)
    assert record.endswith(b"x" + struct.pack("<HHQ", 1, 8, 6 << 30))


def test_a_directory_of_200_000_files_stays_small() -> None:
    """About 100 bytes for each file, as the memory limit of collect needs."""
    with ThreadPoolExecutor(1) as pool:
        writer = ZipWriter(lambda _: None, pool)
        for number in range(200_000):
            writer.add_folder(f"folder-{number // 1000:04}/file-{number:06}/")
        assert len(writer._central) < 100 * 200_000
        writer.close()


def test_a_file_that_shrinks_while_it_is_read_is_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(rows(3 * MIB))
    out = bytearray()
    with ThreadPoolExecutor(2) as pool, path.open("rb") as file:
        writer = ZipWriter(out.extend, pool)
        writer.add_file("f", file.fileno(), 5 * MIB, executable=False)
        writer.close()
    with zipfile.ZipFile(io.BytesIO(out)) as found:
        assert found.read("f") == rows(3 * MIB)
