"""Files in folders that user code can write to; logs, tails, scratch."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.inpod.archive import open_regular
from millrace.inpod.runtime.files import Folder
from millrace.inpod.runtime.logs import CappedLog, Tail
from millrace.inpod.runtime.scratch import Scratch


def link(path: Path) -> None:
    path.symlink_to(path.parent / "victim")


def full_folder(path: Path) -> None:
    (path / "inner").mkdir(parents=True)


def hard_link(path: Path) -> None:
    path.hardlink_to(path.parent / "victim")


@pytest.mark.parametrize("plant", [link, full_folder, hard_link, os.mkfifo], ids=["link", "folder", "hard link", "fifo"])
@pytest.mark.parametrize("at", ["record", ".new-record"])
def test_what_is_planted_is_never_written_through(tmp_path: Path, plant: Callable[[Path], None], at: str) -> None:
    (tmp_path / "victim").write_text("mine")
    plant(tmp_path / at)
    Folder(str(tmp_path)).write("record", b"ours")
    assert (tmp_path / "record").read_bytes() == b"ours"
    assert not (tmp_path / "record").is_symlink()
    assert (tmp_path / "victim").read_text() == "mine"


def test_what_is_planted_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("secret")
    link(tmp_path / "link")
    os.mkfifo(tmp_path / "fifo")
    assert open_regular(str(tmp_path / "link")) is None
    assert open_regular(str(tmp_path / "fifo")) is None
    assert open_regular(str(tmp_path)) is None
    assert open_regular(str(tmp_path / "none")) is None
    with pytest.raises(OSError, match="link"):
        Folder(str(tmp_path)).read("link", 10)
    assert Folder(str(tmp_path)).read("fifo", 10) == b""  # and does not wait for a writer


def test_the_key_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k" * 32)
    folder = Folder(str(tmp_path))
    assert folder.take("key", 32) == b"k" * 32
    with pytest.raises(FileNotFoundError):
        folder.take("key", 32)


def test_a_tail_begins_on_a_character() -> None:
    tail = Tail(9)
    for char in "aä✓💥" * 20:
        tail.add(char.encode())
        assert "�" not in tail.text()
    assert tail.text() == "ä✓💥"
    tail.add(b"x" * 1000)
    assert tail.text() == "x" * 9


def test_a_log_keeps_its_head_and_counts_the_rest(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    log = CappedLog(fd, 10)
    for _ in range(5):
        log.add(b"1234")
    log.close()
    log.add(b"late")
    assert (tmp_path / "log").read_text() == "1234123412\n[millrace] 10 bytes dropped after the first 10\n"


def test_a_log_on_a_full_disk_is_no_fault() -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    log = CappedLog(fd, 100)
    log.add(b"x")
    log.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def steps(scratch: Scratch) -> bool:
    """Walk until a whole walk is done or the scratch space is full."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if scratch.step():
            return True
        if scratch.used:
            return False
        time.sleep(0.001)
    raise AssertionError("no walk came to its end")


def test_scratch_counts_blocks_of_all_folders_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "deep" / "x").write_bytes(b"x" * 100_000)
    (tmp_path / "b" / "y").write_bytes(b"y" * 100_000)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    with (tmp_path / "b" / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    folders = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "none")]
    assert not steps(Scratch(folders, 230_000))
    assert steps(Scratch(folders, 200_000))


def test_the_walk_costs_a_few_per_cent(tmp_path: Path) -> None:
    for number in range(4000):
        (tmp_path / str(number)).touch()
    scratch = Scratch([str(tmp_path)], 1e9)
    began, worked = time.monotonic(), time.process_time()
    while time.monotonic() < began + 1.0:
        time.sleep(max(0.0, min(scratch.next_step - time.monotonic(), 0.05)))
        scratch.step()
    assert time.process_time() - worked < 0.1
    assert not Scratch([str(tmp_path)], None).step()
