"""One output into the store, invisible until `publish.commit`: as a zip in a stream, or file by file with a
manifest.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from millrace.data.archive import write_zip
from millrace.data.digest import ContentDigest
from millrace.data.errors import DataError
from millrace.data.failpoints import failpoint
from millrace.data.fetch import Counter
from millrace.data.model import PendingOutput, Progress
from millrace.data.parts import part_size
from millrace.data.publish import Attempt, Place
from millrace.data.stores import Store, Writer
from millrace.data.transfer import put_descriptor
from millrace.data.tree import Gone, Node, Tree

MANIFEST = "manifest.json"
MANIFEST_PART = 5 << 20
ONE_PUT_BYTES = 64 << 20  # larger files go in parts, so that a reset does not send all of it again
THREADS = 4
PIECE_BYTES = 1 << 20
_MEMBER_BYTES = 2 * 4096 + 200  # at most, in the archive's local header and directory


def upload_output(
    attempt: Attempt, output: Mapping[str, Any], *, deadline: float, progress: Progress | None = None
) -> PendingOutput:
    """Uploads one output of the plan from the folder output["path"]; `commit` makes it visible.

    `output` is {"name", "path", "store", "key", "archive": "Zip" | "None", "table": Table | None}; the table is only
    handed on. Zip: the tree as one archive, streamed in parts of 8 MiB, nothing on the disk, memory flat. None: each
    file below `key`, and last manifest.json, which `commit` makes visible: {"version": 1, "contentDigest", "bytes",
    "files": [{"path", "key", "size", "sha256", "mode"}]}, `key` only where it is not the path. A file `manifest.json`
    of the tree becomes `manifest.user.json`. The same tree gives the same content digest either way.

    progress(bytes, files): of the content. deadline: instant of time.monotonic().
    Raises DataError: TreeTooLarge, DiskError, Timeout and the store's own reasons. The uploads that it began stay;
    `abort` ends them.
    """
    counter = Counter(progress)
    with Tree(Path(output["path"])) as tree:
        send = _send_zip if output.get("archive", "Zip") == "Zip" else _send_files
        pending = send(attempt, output, tree, counter, deadline)
    counter.flush()
    failpoint("parts-sent")
    return pending


def _pending(
    output: Mapping[str, Any], key: str, writer: Writer, tree: Tree, *, size: int, files: int, sha256: str, digest: str
) -> PendingOutput:
    return PendingOutput(
        name=str(output["name"]),
        store=int(output["store"]),
        key=key,
        target=str(output["key"]),
        upload_id=writer.upload_id,
        parts=tuple(writer.parts),
        etag=writer.etag,
        bytes=size,
        files=files,
        sha256=sha256,
        content_digest=digest,
        warnings=tuple(tree.warnings),
        table=output.get("table"),
    )


def _writer(attempt: Attempt, place: Place, size: int, deadline: float) -> Writer:
    store = attempt.stores[place[0]]
    begin = partial(attempt.begin, place, deadline=deadline)
    return store.uploads.writer(store.full_key(place[1]), size, begin, deadline=deadline)


def _send_zip(attempt: Attempt, output: Mapping[str, Any], tree: Tree, counter: Counter, deadline: float) -> PendingOutput:
    size, entries = tree.measure()
    most = size + size // 1024 + entries * _MEMBER_BYTES + 1024
    key = str(output["key"])
    writer = _writer(attempt, (int(output["store"]), key), part_size(most), deadline)
    try:
        archived = write_zip(tree, writer.write, progress=counter.set)
        sha256 = writer.finish()
    except BaseException:
        writer.stop()
        raise
    return _pending(
        output,
        key,
        writer,
        tree,
        size=writer.bytes,
        files=archived.files,
        sha256=sha256,
        digest=archived.content_digest,
    )


def _send_files(attempt: Attempt, output: Mapping[str, Any], tree: Tree, counter: Counter, deadline: float) -> PendingOutput:
    key = str(output["key"])
    if not key.endswith("/"):
        raise DataError("KeyRefused", f"output {output['name']}: the key of an output without archive must end in /")
    index = int(output["store"])
    manifest = _Manifest(_writer(attempt, (index, key + MANIFEST), MANIFEST_PART, deadline))
    running: deque[tuple[Node, str, str, Future[tuple[int, str]]]] = deque()
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="put")

    def reap() -> None:
        node, shown, mode, work = running.popleft()
        size, sha256 = work.result()
        manifest.add(node.name, shown, mode, size, sha256)
        counter.add(size, 1)

    try:
        for node in tree.walk():
            if node.is_folder:
                while running:
                    reap()
                manifest.add(node.name, node.name, "0755", 0, hashlib.sha256().hexdigest())
                continue
            shown = "manifest.user.json" if node.name == MANIFEST else node.name
            try:
                attempt.stores[index].full_key(key + shown)
                fd, status = node.open()
            except (Gone, DataError) as gone:
                tree.left_out(node.name, str(gone))
                continue
            mode = "0755" if status.st_mode & 0o100 else "0644"
            put = _put_large if status.st_size > ONE_PUT_BYTES else _put_one
            if put is _put_large:
                while running:
                    reap()
            work = pool.submit(put, attempt, (index, key + shown), fd, status.st_size, deadline)
            running.append((node, shown, mode, work))
            while len(running) > THREADS:
                reap()
        while running:
            reap()
        sha256 = manifest.close()
    except BaseException:
        manifest.writer.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
    return _pending(
        output,
        key + MANIFEST,
        manifest.writer,
        tree,
        size=manifest.bytes,
        files=manifest.files,
        sha256=sha256,
        digest=manifest.digest.hexdigest(),
    )


class _Manifest:
    """Writes manifest.json line by line, so that it never lies in memory."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.digest = ContentDigest()
        self.bytes = self.files = 0
        self._between = '{"version": 1, "files": [\n'

    def add(self, path: str, shown: str, mode: str, size: int, sha256: str) -> None:
        self.digest.add(path, executable=mode == "0755", size=size, sha256=sha256)
        entry: dict[str, Any] = {"path": path, "size": size, "sha256": sha256, "mode": mode}
        if shown != path:
            entry["key"] = shown
        self.writer.write((self._between + json.dumps(entry)).encode())
        self._between = ",\n"
        self.bytes += size
        self.files += not path.endswith("/")

    def close(self) -> str:
        start = self._between if self._between.startswith("{") else "\n"
        rest = {"bytes": self.bytes, "contentDigest": self.digest.hexdigest()}
        self.writer.write(f"{start}], {json.dumps(rest)[1:]}\n".encode())
        return self.writer.finish()


def _put_one(attempt: Attempt, place: Place, fd: int, size: int, deadline: float) -> tuple[int, str]:
    store = attempt.stores[place[0]]
    try:
        return put_descriptor(store, store.full_key(place[1]), fd, size, deadline=deadline)
    finally:
        os.close(fd)


def _put_large(attempt: Attempt, place: Place, fd: int, size: int, deadline: float) -> tuple[int, str]:
    store = attempt.stores[place[0]]
    begin = partial(attempt.begin, place, deadline=deadline)
    try:
        done = put_parts(store, store.full_key(place[1]), fd, size, begin, deadline=deadline)
    finally:
        os.close(fd)
    attempt.settled(place)
    return done


def put_parts(store: Store, key: str, fd: int, size: int, begin: Callable[[], str], *, deadline: float) -> tuple[int, str]:
    """The first `size` bytes of `fd` in parts to the full key: (bytes, SHA-256). `begin` makes the upload, which stays
    where this fails. Raises DataError; UploadFailed where it is gone and the object is not the one that was sent.
    """
    uploads = store.uploads
    writer = uploads.writer(key, part_size(size), begin, deadline=deadline)
    try:
        offset = 0
        while offset < size and (piece := os.pread(fd, min(PIECE_BYTES, size - offset), offset)):
            writer.write(piece)
            offset += len(piece)
        sha256 = writer.finish()
    except BaseException:
        writer.stop()
        raise
    if not uploads.complete(key, writer.upload_id, writer.parts, deadline=deadline) and not uploads.published(
        key, writer.upload_id, writer.etag, deadline=deadline
    ):
        raise DataError("UploadFailed", f"{store.where(key)}: the upload is gone")
    return writer.bytes, sha256
