"""Inputs that main sees in the claim itself: stage looks whether they are there, and copies nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json
from millrace.inpod.report import Log
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.stores import Store


def check_mount(item: Json, store: Store, log: Log, *, beside_copies: bool) -> Json:
    """The input's entry for the termination message. Raises Fault where it is not there or of another type.

    beside_copies: the folder of inputs is a volume that main cannot write to, so the place to mount at is made here.
    """
    from millrace.data.errors import DataError

    name = item["name"]
    try:
        key = _found(item, store)
    except DataError as error:
        raise Fault(protocol.EXIT_STAGE_FAILED, str(error), reason=error.reason, about=name) from error
    if beside_copies:
        place = Path(here(item["path"]))
        place.mkdir(parents=True, exist_ok=True)
        if item["type"] == "uri_file":
            (place / os.path.basename(key)).touch()
    log(f"input {name}: {store.where(key)} is mounted")
    return {"name": name, "identityUsed": store.identity}


def _found(item: Json, store: Store) -> str:
    """The input's full key. Raises DataError where there is nothing of its type."""
    from millrace.data.errors import DataError
    from millrace.data.folder import FolderStore

    assert isinstance(store, FolderStore)
    key = store.full_key(item["key"])
    found = store.type_of(key)
    if found is None:
        raise DataError("NotFound", f"{store.where(key)}: no such file or folder")
    if found != item["type"]:
        raise DataError("TypeMismatch", f"{store.where(key)}: a {found}, but the input asks for {item['type']}")
    return key
