"""Walks a folder that untrusted code wrote, and never reads a byte that is not in it.

Every step is an `openat` of one name with O_NOFOLLOW relative to a descriptor that was reached the same way from the
root, and every file is judged by `fstat` of the descriptor that is read from, so that nothing changes between the
look and the reading. Symbolic links are resolved here, name by name, never by the kernel.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from millrace.data.errors import DataError

MAX_ENTRIES = 1_000_000
MAX_DEPTH = 200
MAX_NAME_BYTES = 4096
MAX_LINKS = 16
MAX_WARNINGS = 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFBLK: "device", stat.S_IFCHR: "device"}


class Gone(Exception):
    """The file cannot be opened any more, or is not a regular one any more: it is left out with a warning."""


@dataclass(frozen=True, slots=True)
class Node:
    """A regular file or an empty folder. Only valid until the walk's next step: `open` needs the walk's own
    descriptors.

    `name` is the path below the root with "/" between the parts, an empty folder's ends in "/". Bytes of a file's
    name that are not UTF-8 stand as %XX. `size` is what the walk saw; the truth is `fstat` of the descriptor.
    """

    name: str
    size: int
    tree: Tree
    parents: tuple[int, ...]
    leaf: bytes
    link: bool = False

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    def open(self) -> tuple[int, os.stat_result]:
        """An open descriptor of the regular file and its status. The caller closes it. Raises Gone."""
        fd = self.tree.resolve(self.parents, self.leaf) if self.link else _open_file(self.parents[-1], self.leaf)
        return fd, os.fstat(fd)


class Tree:
    """A folder below a descriptor. `with Tree(path) as tree: for node in tree.walk(): ...`, as often as needed.

    A missing folder is an empty tree; entries with a name of `without`, at any depth, are none of it. `warnings` tells
    what was left out, twenty lines at most and then a count.
    """

    def __init__(self, root: Path, without: frozenset[str] = frozenset()) -> None:
        self._without = without
        self.warnings: list[str] = []
        self._left_out = 0
        try:
            self._root: int | None = os.open(root, _DIRECTORY)
        except FileNotFoundError:
            self._root = None
        except OSError as exc:
            raise DataError("DiskError", f"{root}: the folder cannot be read: {exc.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def walk(self) -> Iterator[Node]:
        """All regular files and empty folders, sorted by the bytes of `name`. Raises DataError TreeTooLarge,
        DiskError.
        """
        self.warnings.clear()
        self._left_out = 0
        if self._root is None:
            return
        for seen, node in enumerate(self._walk((self._root,), ""), 1):
            if seen > MAX_ENTRIES:
                raise DataError("TreeTooLarge", f"the output has more than {MAX_ENTRIES} files")
            yield node
        if self._left_out > MAX_WARNINGS:
            self.warnings.append(f"and {self._left_out - MAX_WARNINGS} more were left out")

    def measure(self) -> tuple[int, int]:
        """(bytes, entries) of one walk, without opening the files."""
        size = entries = 0
        for node in self.walk():
            size += node.size
            entries += 1
        return size, entries

    def left_out(self, name: str, why: str) -> None:
        """Notes that `name` is not part of the output."""
        self._left_out += 1
        if self._left_out <= MAX_WARNINGS:
            shown = name if len(name) <= 200 else f"{name[:200]}…"
            self.warnings.append(f"{shown!r} was left out: {why}")

    def _walk(self, parents: tuple[int, ...], prefix: str) -> Iterator[Node]:
        if len(parents) > MAX_DEPTH:
            raise DataError("TreeTooLarge", f"the output's folders are nested deeper than {MAX_DEPTH}")
        empty = True
        for name, leaf, mode, size in self._entries(parents[-1], prefix):
            empty = False
            if stat.S_ISDIR(mode):
                try:
                    fd = os.open(leaf, _DIRECTORY, dir_fd=parents[-1])
                except OSError as exc:
                    self.left_out(f"{prefix}{name}", f"the folder cannot be opened ({exc.strerror})")
                    continue
                try:
                    yield from self._walk((*parents, fd), f"{prefix}{name}")
                finally:
                    os.close(fd)
            elif stat.S_ISREG(mode):
                yield Node(f"{prefix}{name}", size, self, parents, leaf)
            elif stat.S_ISLNK(mode):
                try:
                    fd = self.resolve(parents, leaf)
                except Gone as gone:
                    self.left_out(f"{prefix}{name}", str(gone))
                    continue
                length = os.fstat(fd).st_size
                os.close(fd)
                yield Node(f"{prefix}{name}", length, self, parents, leaf, link=True)
            else:
                self.left_out(f"{prefix}{name}", f"a {_KINDS.get(stat.S_IFMT(mode), 'special file')}")
        if empty and prefix:
            yield Node(prefix, 0, self, parents[:-1], b"")

    def _entries(self, fd: int, prefix: str) -> list[tuple[str, bytes, int, int]]:
        """(name, raw name, mode, size) of a folder's entries in the order of the whole path's bytes; folders end in
        "/".
        """
        found: dict[str, tuple[str, bytes, int, int]] = {}
        try:
            leaves = sorted(os.fsencode(leaf) for leaf in os.listdir(fd) if leaf not in self._without)
        except OSError as exc:
            self.left_out(prefix, f"the folder cannot be read ({exc.strerror})")
            return []
        if len(leaves) > MAX_ENTRIES:
            raise DataError("TreeTooLarge", f"the output has more than {MAX_ENTRIES} files")
        for leaf in leaves:
            try:
                status = os.stat(leaf, dir_fd=fd, follow_symlinks=False)
            except OSError:
                self.left_out(f"{prefix}{readable(leaf)}", "it vanished")
                continue
            name = readable(leaf)
            if name in found:
                self.left_out(f"{prefix}{name}", "another file has this name already")
                continue
            if len(prefix.encode()) + len(name.encode()) > MAX_NAME_BYTES:
                self.left_out(f"{prefix}{name}", "the path is too long")
                continue
            shown = f"{name}/" if stat.S_ISDIR(status.st_mode) else name
            found[name] = (shown, leaf, status.st_mode, status.st_size)
        return sorted(found.values(), key=lambda entry: entry[0].encode())

    def resolve(self, parents: tuple[int, ...], leaf: bytes) -> int:
        """A descriptor of the regular file that the link `leaf` in the folder parents[-1] leads to without leaving
        the tree.

        `parents` are the open folders from the root down. Raises Gone: the link leaves the tree, is absolute,
        dangles, goes in circles, or ends at something else than a regular file.
        """
        stack = list(parents)
        opened: list[int] = []
        todo = [leaf]
        links = 0
        try:
            while todo:
                part = todo.pop()
                if part in (b"", b"."):
                    continue
                if part == b"..":
                    if len(stack) == 1:
                        raise Gone("the link leaves the output folder")
                    stack.pop()
                    continue
                try:
                    target = os.readlink(part, dir_fd=stack[-1])
                except OSError:
                    if not todo:
                        return _open_file(stack[-1], part)
                    stack.append(_open_folder(stack[-1], part))
                    opened.append(stack[-1])
                    continue
                links += 1
                if links > MAX_LINKS or len(opened) > MAX_DEPTH or len(todo) > MAX_DEPTH:
                    raise Gone("the link leads in circles")
                if target.startswith(b"/"):
                    raise Gone("the link is absolute")
                todo.extend(reversed(target.split(b"/")))
        finally:
            for fd in opened:
                os.close(fd)
        raise Gone("the link leads to a folder")


def readable(leaf: bytes) -> str:
    """A file's name as text: UTF-8, with every byte that is not as %XX."""
    try:
        return leaf.decode()
    except UnicodeDecodeError:
        text = leaf.decode(errors="surrogateescape")
        return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def _open_folder(parent: int, leaf: bytes) -> int:
    try:
        return os.open(leaf, _DIRECTORY, dir_fd=parent)
    except OSError:
        raise Gone("the link leads nowhere") from None


def _open_file(parent: int, leaf: bytes) -> int:
    try:
        mode = os.stat(leaf, dir_fd=parent, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):  # opening a device or a FIFO may do something
            raise Gone(f"it leads to a {_KINDS.get(stat.S_IFMT(mode), 'folder or link')}")
        fd = os.open(leaf, _FILE, dir_fd=parent)
    except OSError as exc:
        raise Gone(f"the file cannot be opened ({exc.strerror})") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Gone("it is not a regular file any more")
    return fd
