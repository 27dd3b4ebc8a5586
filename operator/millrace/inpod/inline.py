"""Inputs that stand in the run itself: rows of the payload, written as files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import time
from typing import Any

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json
from millrace.inpod.report import Log
from millrace.inpod.runtime.files import read_file
from millrace.inpod.runtime.paths import here

PAYLOAD_LIMIT = 1024 * 1024


def write_inline(item: Json, log: Log) -> Json:
    """Write NAME.csv and NAME.json, of a uri_file the first, of a glob those that match; the input's entry for the
    termination message. Raises Fault, OSError.
    """
    from millrace.data.digest import folder_digest
    from millrace.data.globs import compile_glob

    began = time.monotonic()
    name, folder = item["name"], here(item["path"])
    data = _data(name)
    files = {f"{name}.csv": as_csv(data), f"{name}.json": as_json(data)}
    if item["type"] == "uri_file":
        files.popitem()
    if item.get("glob"):
        matches = compile_glob(item["glob"]).fullmatch
        files = {file: content for file, content in files.items() if matches(file)}
    if not files:
        message = f"glob {item['glob']}: inline data is {name}.csv and {name}.json"
        raise Fault(protocol.EXIT_STAGE_FAILED, message, reason="NotFound", about=name)
    os.makedirs(folder, exist_ok=True)
    for file, content in files.items():
        with open(os.path.join(folder, file), "xb") as target:
            target.write(content)
    found = [(file, len(content), hashlib.sha256(content).hexdigest()) for file, content in files.items()]
    size = sum(each[1] for each in found)
    log(f"input {name}: {size} bytes, {len(found)} files, inline")
    return {
        "name": name,
        "bytes": size,
        "files": len(found),
        "sha256": found[0][2] if item["type"] == "uri_file" else folder_digest(found),
        "seconds": round(time.monotonic() - began, 3),
    }


def _data(name: str) -> Json:
    payload = json.loads(read_file(here(protocol.PAYLOAD_FILE), PAYLOAD_LIMIT))
    rows = payload.get("scoring", {}).get("input_data", [])
    for data in rows:
        if data.get("id") == name:
            return {key: data[key] for key in ("fields", "values") if key in data}
    raise Fault(protocol.EXIT_RUNTIME_ERROR, f"the payload has no data for the input {name}")


def as_csv(data: Json) -> bytes:
    """The table as CSV in UTF-8, the fields first where there are some. A text is as it is, null is empty, all else as in
    JSON.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if "fields" in data:
        writer.writerow(data["fields"])
    writer.writerows([_cell(value) for value in row] for row in data["values"])
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_json(data: Json) -> bytes:
    """The table as the run has it."""
    return json.dumps(data, ensure_ascii=False).encode()
