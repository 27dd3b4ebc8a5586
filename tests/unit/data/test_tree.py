"""The walk over a folder that hostile code wrote."""

from __future__ import annotations

import io
import os
import socket
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from millrace.data import tree as tree_module
from millrace.data.archive import write_zip
from millrace.data.errors import DataError
from millrace.data.tree import Tree, readable

SECRET = b"the bytes that must never leave: AKIA-canary"


def listed(root: Path) -> tuple[dict[str, bytes], list[str]]:
    found: dict[str, bytes] = {}
    with Tree(root) as tree:
        for node in tree.walk():
            if node.is_folder:
                found[node.name] = b""
                continue
            fd, status = node.open()
            with os.fdopen(fd, "rb") as file:
                found[node.name] = file.read()
            assert status.st_size == len(found[node.name]) == node.size
        return found, tree.warnings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(SECRET)
    (tmp_path / "creds").mkdir()
    (tmp_path / "creds" / "key").write_bytes(SECRET)
    (tmp_path / "out" / "a" / "b").mkdir(parents=True)
    (tmp_path / "out" / "a" / "inside").write_bytes(b"inside")
    return tmp_path / "out"


def test_order_is_that_of_the_whole_path_s_bytes(root: Path) -> None:
    for name in ("a.txt", "a-", "a0", "b/c/d", "b.d", "é", "z", "Z"):
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_bytes(name.encode())
    names = list(listed(root)[0])
    assert names == sorted(names, key=str.encode)
    assert "a/b/" in names


LINKS: dict[str, tuple[str, bytes | None]] = {
    "beside": ("inside", b"inside"),
    "down and up": ("b/../inside", b"inside"),
    "up within the tree": ("../a/./inside", b"inside"),
    "through another link": ("beside", b"inside"),
    "absolute": ("/etc/hostname", None),
    "absolute into the tree": ("{root}/a/inside", None),
    "up out of the tree": ("../../secret", None),
    "out and back": ("../../out/a/inside", None),
    "to a folder": ("b", None),
    "to the root": ("..", None),
    "to itself": ("to itself", None),
    "dangling": ("nothing", None),
    "file as folder": ("inside/x", None),
    "through proc": ("/proc/self/environ", None),
    "empty steps": (".//.//inside", b"inside"),
}


@pytest.mark.parametrize("name", LINKS)
def test_links(root: Path, name: str) -> None:
    (root / "a" / "beside").symlink_to("inside")
    target, expected = LINKS[name]
    if name != "beside":
        (root / "a" / name).symlink_to(target.replace("{root}", str(root)))
    found, warnings = listed(root)
    assert found.get(f"a/{name}") == expected
    assert SECRET not in b"".join(found.values())
    assert bool(warnings) == (expected is None)
    if warnings:
        assert f"'a/{name}' was left out" in warnings[0]


def test_links_that_meet_other_links_on_their_way(root: Path) -> None:
    (root / "door").symlink_to("..")
    (root / "deep").symlink_to("a/b")
    (root / "bad").symlink_to("door/secret")
    (root / "good").symlink_to("deep/../inside")
    found, _ = listed(root)
    assert found["good"] == b"inside"
    assert "bad" not in found


def test_special_files_are_left_out_and_never_block(root: Path) -> None:
    os.mkfifo(root / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(root / "socket"))
    (root / "to-fifo").symlink_to("fifo")
    (root / "to-device").symlink_to("/dev/zero")
    found, warnings = listed(root)
    listener.close()
    assert set(found) == {"a/b/", "a/inside"}
    assert len(warnings) == 4


def test_private_modes_of_the_same_user_are_readable(root: Path) -> None:
    (root / "p").mkdir(mode=0o700)
    (root / "p" / "f").write_bytes(b"1")
    (root / "p" / "f").chmod(0o600)
    assert listed(root)[0]["p/f"] == b"1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_cannot_be_read_is_left_out(root: Path) -> None:
    (root / "a" / "inside").chmod(0)
    (root / "a" / "b").chmod(0)
    found, warnings = listed(root)
    (root / "a" / "b").chmod(0o700)
    assert set(found) == {"a/b/"}
    assert len(warnings) == 2


def test_names_that_are_not_utf_8(root: Path) -> None:
    os.close(os.open(os.fsencode(root) + b"/caf\xe9 \xc3\xa9", os.O_CREAT, 0o600))
    (root / "caf%E9 é").write_bytes(b"the same name")
    found, warnings = listed(root)
    assert len([name for name in found if name == "caf%E9 é"]) == 1
    assert "another file has this name" in warnings[0]
    assert readable(b"\xff/\xc3") == "%FF/%C3"


def test_a_root_that_is_a_link_or_missing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("creds")
    with pytest.raises(DataError) as caught:
        listed(tmp_path / "link")
    assert caught.value.reason == "DiskError"
    assert listed(tmp_path / "missing") == ({}, [])


def test_caps(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        (root / f"{number}").write_bytes(b"")
    monkeypatch.setattr(tree_module, "MAX_ENTRIES", 10)
    with pytest.raises(DataError) as caught:
        listed(root)
    assert caught.value.reason == "TreeTooLarge"


def test_depth_is_bounded(root: Path) -> None:
    here = os.open(root, os.O_RDONLY)
    for _ in range(tree_module.MAX_DEPTH + 5):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(DataError) as caught:
        listed(root)
    assert caught.value.reason == "TreeTooLarge"


def test_warnings_are_bounded(root: Path) -> None:
    for number in range(50):
        os.mkfifo(root / f"{number}")
    _, warnings = listed(root)
    assert len(warnings) == tree_module.MAX_WARNINGS + 1
    assert "30 more" in warnings[-1]


def _swap(root: Path, tmp_path: Path) -> list[Callable[[], None]]:
    """Steps of an attacker: a file becomes a link to the secret, a folder a link to the credentials' folder, and back."""
    victim, folder = root / "victim", root / "folder"
    spare = tmp_path / "spare"
    (tmp_path / "evil-file").symlink_to(tmp_path / "secret")
    (tmp_path / "evil-folder").symlink_to(tmp_path / "creds")
    (tmp_path / "evil-relative").symlink_to("../secret")

    def exchange(a: Path, b: Path) -> None:
        a.rename(spare)
        b.rename(a)
        spare.rename(b)

    return [
        lambda: exchange(victim, tmp_path / "evil-file"),
        lambda: exchange(victim, tmp_path / "evil-file"),
        lambda: exchange(folder, tmp_path / "evil-folder"),
        lambda: exchange(folder, tmp_path / "evil-folder"),
        lambda: exchange(victim, tmp_path / "evil-relative"),
        lambda: exchange(victim, tmp_path / "evil-relative"),
    ]


def test_a_swapper_never_gets_a_foreign_byte_into_the_archive(root: Path, tmp_path: Path) -> None:
    (root / "victim").write_bytes(b"harmless")
    (root / "folder").mkdir()
    (root / "folder" / "key").write_bytes(b"harmless")
    (root / "link").symlink_to("folder/key")
    for number in range(20):
        (root / f"pad-{number:02}").write_bytes(b"x" * 100)
    stop = threading.Event()
    swaps = 0

    def attack() -> None:
        nonlocal swaps
        steps = _swap(root, tmp_path)
        while not stop.is_set():
            for step in steps:
                step()
                swaps += 1

    attacker = threading.Thread(target=attack)
    attacker.start()
    harmless = 0
    try:
        for _ in range(400):
            out = bytearray()
            with Tree(root) as tree:
                write_zip(tree, out.extend)
            with zipfile.ZipFile(io.BytesIO(out)) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
            assert all(SECRET not in content for content in contents)
            harmless += b"harmless" in contents
    finally:
        stop.set()
        attacker.join()
    assert swaps > 500
    assert harmless > 0, "the attack left nothing to read, so nothing was shown"


def test_open_descriptors_are_returned(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (root / "l").symlink_to("a/inside")
    for _ in range(3):
        listed(root)
    with Tree(root) as tree:
        next(tree.walk()).open  # noqa: B018 - a walk that is given up in the middle
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_descriptor_s_status_counts(root: Path) -> None:
    with Tree(root) as tree:
        node = next(node for node in tree.walk() if not node.is_folder)
        (root / "a" / "inside").write_bytes(b"longer than before")
        walk = tree.walk()
        node = next(node for node in walk if not node.is_folder)
        fd, status = node.open()
        os.close(fd)
        assert status.st_size == len(b"longer than before")
        assert stat.S_ISREG(status.st_mode)
