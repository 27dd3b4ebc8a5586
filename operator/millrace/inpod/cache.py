"""Requirements once: the lock and the installed files are kept in the namespace's default store.

    .millrace/requirements/KEY/lock.json        versions and hashes: made once, so that they stay what they are
    .millrace/requirements/KEY/tree.json        which archive has the installed files
    .millrace/requirements/trees/SHA256.tar.gz  the archive

Nothing here fails a run or holds it up for long: without the store the requirements are installed from the index.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, open_stores
from millrace.inpod.report import URL_USER, Log
from millrace.inpod.requirements import Installer, checked
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.stores import Store

FOLDER = ".millrace/requirements"
VERSION = 1  # of what is kept: another version of this module has keys of its own
SILENT_SECONDS = 5.0  # a store that says nothing for so long is left alone
START_SECONDS, SLOWEST = 10.0, 5e6  # an archive has that long, and a second for so many bytes
RECORD_BYTES = 4 << 20
PUT_BYTES = 5 << 30  # what S3 takes in one request
SHA256 = re.compile(r"[0-9a-f]{64}")


def install_once(installer: Installer, plan: Json, deadline: float, log: Log) -> None:
    """Make DEPS_DIR: of what is kept, else from the index; then it is kept. Raises Fault as `Installer` does."""
    try:
        cache = _open(installer, plan, deadline, log)
        if cache is None:
            installer.install(installer.lines, locked=False)
        elif not cache.restore():
            installer.install(cache.lock(), locked=True)
            installer.precompile()
            cache.keep()
    finally:
        installer.close()


def key_of(installer: Installer) -> str:
    """A digest of all that the resolver's answer depends on. A password in the index's address is not part of it."""
    index = URL_USER.sub(r"\1", installer.index)
    text = json.dumps([VERSION, installer.lines, installer.python, installer.platform, index])
    return hashlib.sha256(text.encode()).hexdigest()


def _open(installer: Installer, plan: Json, deadline: float, log: Log) -> Cache | None:
    if not plan.get("cache"):
        log("requirements: not kept for the next start, since the namespace has no default store that is ready")
        return None
    from millrace.data.errors import DataError

    index = plan["cache"]["store"]
    try:
        store = open_stores(plan, [index], read_seconds=SILENT_SECONDS)[index]
    except (DataError, Fault) as error:
        log(f"requirements: not kept for the next start: {error}")
        return None
    return Cache(installer, store, deadline, log)


@dataclass(frozen=True)
class Tree:
    """The record of an archive: its SHA-256 and size; how many files of how many bytes are in it."""

    sha256: str
    size: int
    files: int
    unpacked: int

    @staticmethod
    def read(record: bytes) -> Tree | None:
        """The record in those bytes; None where there is no such in them."""
        try:
            found: Any = json.loads(record)
            tree = Tree(**found)
            numbers = (found["size"], found["files"], found["unpacked"])
            sound = SHA256.fullmatch(found["sha256"]) and all(type(number) is int and number >= 0 for number in numbers)
        except (ValueError, TypeError, RecursionError):
            return None
        return tree if sound else None


class Cache:
    """What a store keeps for these requirements. After the store's first failure it is left alone."""

    def __init__(self, installer: Installer, store: Store, deadline: float, log: Log) -> None:
        self._installer, self._store, self._log = installer, store, log
        self._deadline = deadline
        self._folder = f"{FOLDER}/{key_of(installer)}"
        self._usable = True

    def restore(self) -> bool:
        """Unpack the files that are kept into DEPS_DIR; whether they are all there, as they were kept."""
        from millrace.data.errors import DataError
        from millrace.inpod.tarball import Damaged

        began = time.monotonic()
        try:
            tree = self._tree()
            if tree is None:
                return False
            self._unpack(tree)
        except Damaged as error:
            self._log(f"requirements: what {self._store.name} keeps is damaged and will be replaced: {error}")
            return False
        except (DataError, OSError) as error:
            self._leave(error)
            return False
        seconds = time.monotonic() - began
        self._log(f"requirements: {tree.files} files, {tree.size} bytes from {self._store.name}, {seconds:.2f} s")
        return True

    def lock(self) -> list[str]:
        """The lock that was made first. Raises Fault where it has to be made and cannot be."""
        from millrace.data.errors import DataError
        from millrace.data.transfer import put_bytes, put_new, read

        key = self._key("lock.json")
        found: bytes | None = None
        if self._usable:
            try:
                found = read(self._store, key, deadline=self._soon(), limit=RECORD_BYTES)
            except DataError as error:
                self._leave(error)
        if found is not None and (lines := read_lock(found)) is not None:
            return lines
        lines = self._installer.lock()
        if self._usable:
            body = lock_record(lines)
            try:
                if found is None:
                    return read_lock(put_new(self._store, key, body, deadline=self._soon())) or lines
                self._log(f"requirements: the lock in {self._store.name} is damaged and replaced")
                put_bytes(self._store, key, body, deadline=self._soon())
            except DataError as error:
                self._leave(error)
        return lines

    def keep(self) -> None:
        """Put what is in DEPS_DIR into the store, for the next start."""
        if not self._usable:
            return
        from millrace.data.errors import DataError
        from millrace.data.transfer import put_bytes

        try:
            tree = self._put_archive()
            put_bytes(self._store, self._key("tree.json"), json.dumps(asdict(tree)).encode(), deadline=self._soon())
        except (DataError, OSError, ValueError) as error:
            self._leave(error)
            return
        self._log(f"requirements: {tree.files} files, {tree.size} bytes are kept in {self._store.name} for the next start")

    def _put_archive(self) -> Tree:
        from millrace.data.transfer import put_descriptor
        from millrace.inpod.tarball import pack

        with tempfile.TemporaryFile(dir=here(protocol.CTL_DIR)) as file:
            files, unpacked = pack(here(protocol.DEPS_DIR), file)
            size = file.tell()
            if size > PUT_BYTES:
                raise ValueError(f"the archive has {size} bytes, more than {PUT_BYTES}")
            file.seek(0)
            tree = Tree(hashlib.file_digest(file, "sha256").hexdigest(), size, files, unpacked)
            put_descriptor(self._store, self._archive(tree), file.fileno(), size, deadline=self._while(size))
        return tree

    def _tree(self) -> Tree | None:
        from millrace.data.transfer import read
        from millrace.inpod.tarball import Damaged

        found = read(self._store, self._key("tree.json"), deadline=self._soon(), limit=RECORD_BYTES)
        if found is None:
            return None
        tree = Tree.read(found)
        if tree is None:
            raise Damaged("tree.json is no record of an archive")
        return tree

    def _unpack(self, tree: Tree) -> None:
        from millrace.data.errors import DataError
        from millrace.data.transfer import stream
        from millrace.inpod.tarball import Damaged, unpack

        digest, left = hashlib.sha256(), tree.size

        def chunks() -> Iterator[memoryview]:
            nonlocal left
            for chunk in stream(self._store, self._archive(tree), deadline=self._while(tree.size)):
                left -= len(chunk)
                if left < 0:
                    return  # its digest is another, then
                digest.update(chunk)
                yield chunk

        received = chunks()
        folder = here(protocol.DEPS_DIR)
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        try:
            unpack(received, folder, tree.files, tree.unpacked)
            for _ in received:
                pass
        except DataError as error:
            if error.reason == "NotFound":
                raise Damaged(str(error)) from error
            raise
        if digest.hexdigest() != tree.sha256 or left:
            raise Damaged(f"the SHA-256 of the archive is {digest.hexdigest()} instead of {tree.sha256}")

    def _leave(self, error: Exception) -> None:
        self._usable = False
        self._log(f"requirements: the store is left alone: {error}")

    def _key(self, name: str) -> str:
        return self._store.full_key(f"{self._folder}/{name}")

    def _archive(self, tree: Tree) -> str:
        return self._store.full_key(f"{FOLDER}/trees/{tree.sha256}.tar.gz")

    def _soon(self) -> float:
        return self._while(0, SILENT_SECONDS)

    def _while(self, size: int, seconds: float = START_SECONDS) -> float:
        """Until when so many bytes may be under way; half of the time for staging is left to the index."""
        now = time.monotonic()
        return min(now + seconds + size / SLOWEST, now + (self._deadline - now) / 2)


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def lock_record(lines: list[str]) -> bytes:
    """The record of a lock, a line for each of its lines."""
    return json.dumps({"lines": lines, "sha256": _digest(lines)}, indent=0).encode()


def read_lock(record: bytes) -> list[str] | None:
    """The lines of a lock's record; None for one that is damaged, or has more in it than requirements."""
    try:
        found: Any = json.loads(record)
        lines = checked(found["lines"])
        return lines if lines == found["lines"] and _digest(lines) == found["sha256"] else None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, Fault):
        return None
