"""The secret key that all the tests' DataStores have: it may be in Secrets, and nowhere else (promise 7)."""

from __future__ import annotations

import base64
import contextlib
import io
import mmap
import os
import zipfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from support.store import root_client, root_keys

VALUE_BYTES = 2 << 20  # an object in etcd is smaller


@cache
def needles() -> tuple[bytes, ...]:
    """The key as it is, and within base64 at each of its three alignments."""
    key = root_keys()["secret_key"].encode()
    encoded = (base64.b64encode(b"\0" * shift + key) for shift in range(3))
    return (key, *(text[shift and shift + 1 : -4] for shift, text in enumerate(encoded)))


def is_in(data: bytes | mmap.mmap) -> bool:
    """Whether it is in there."""
    return any(data.find(needle) >= 0 for needle in needles())


def node() -> Path:
    """The file system of the cluster's node; only the local provider shows it."""
    return Path(os.environ.get("MILLRACE_CLUSTER_STATE", "/nonexistent")) / "var"


def found_in(files: Iterable[Path]) -> list[str]:
    """Those of the files that have it."""
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # the kubelet removes the logs of a pod that is gone
            if path.is_file() and is_in(path.read_bytes()):
                found.append(str(path))
    return found


def container_logs(namespace: str = "*") -> Iterator[Path]:
    """The logs of all containers that the node still has."""
    return node().glob(f"log/pods/{namespace}_*/*/*")


def etcd_keys() -> set[str]:
    """The keys whose values have it: all that etcd's file holds, old revisions and deleted objects too."""
    with (node() / "lib/etcd/member/snap/db").open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    keys = set()
    for needle in needles():
        at = data.find(needle)
        while at >= 0:
            start = data.rfind(b"/registry/", max(0, at - VALUE_BYTES), at)  # a value stands behind its key
            keys.add(bytes(data[start : start + 512]).split(b"\x10")[0].decode(errors="replace"))  # the next field
            at = data.find(needle, at + 1)
    return keys


def objects() -> Iterator[tuple[str, bytes]]:
    """Each version of each object of the store, and each member of those that are zips."""
    client = root_client()
    for bucket in client.list_buckets():
        for entry in client.list_objects(bucket.name, recursive=True, include_version=True):
            name = str(entry.object_name)
            if entry.is_delete_marker or (entry.size or 0) > 256 << 20:
                continue
            response = client.get_object(bucket.name, name, version_id=entry.version_id)
            data: bytes = response.read()
            response.release_conn()
            yield f"{bucket.name}/{name}", data
            if zipfile.is_zipfile(io.BytesIO(data)):
                with zipfile.ZipFile(io.BytesIO(data)) as archive:
                    yield from ((f"{bucket.name}/{name}:{member}", archive.read(member)) for member in archive.namelist())
