"""What a handler returned becomes the outputs of its run: files in their folders, and what is known of tables.

`write` runs in the child, after user code, loaded from this file; `read_report` in process 1, which believes nothing of what
the child says. Neither pandas nor polars is imported here: what user code has not imported, it has not returned.
"""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

COLUMN_BYTES = 2400  # of all tables together: they go through collect's termination message, which has 4,096
WAYS = "return a DataFrame of pandas or polars, bytes, a str, a JSON value or a path (pathlib.Path)"


class Rejected(Exception):
    """The value cannot be written; the message says which output, why, and what could be."""


def write(value: Any, outputs: dict[str, dict[str, Any]]) -> str:
    """Write a returned value into the folders of the outputs, {name: {"path", "format", "void"}}; the report for process 1.

    A dict whose keys are names of outputs has a value for each of them, None for no file; that of a void one is dropped.
    Raises Rejected; OSError of the disk.
    """
    if not (isinstance(value, dict) and value and all(key in outputs for key in value)):
        if len(outputs) > 1:
            names = ", ".join(outputs)
            raise Rejected(
                f"a {_type(value)} was returned, and the run has the outputs {names}: return a dict with these keys"
            )
        value = dict.fromkeys(outputs, value)
    tables, left = {}, COLUMN_BYTES
    for name, item in value.items():
        if item is None or outputs[name].get("void"):
            continue
        try:
            table = _write(item, os.path.join(outputs[name]["path"], name), outputs[name].get("format"))
        except (Rejected, TypeError, ValueError, RecursionError) as error:
            raise Rejected(f"output {name}: {error}") from error
        if table is not None:
            left -= len(json.dumps(table["columns"]))
            tables[name] = table if left >= 0 else {"rows": table["rows"]}
    return json.dumps(tables) if tables else ""


def _write(value: Any, stem: str, table_format: str | None) -> dict[str, Any] | None:
    """One value into a file of that name, or below the folder that it is in; what is known of a table."""
    for library, write_table in (("pandas", _write_pandas), ("polars", _write_polars)):
        kind = getattr(sys.modules.get(library), "DataFrame", None)
        if kind is not None and isinstance(value, kind):
            try:
                table = write_table(value, stem, table_format)
            except (Rejected, OSError, MemoryError):
                raise
            except Exception as error:  # they have exceptions of their own
                raise Rejected(f"{library} cannot write the DataFrame: {type(error).__name__}: {error}") from error
            columns = [[str(name), str(dtype)] for name, dtype in zip(table.columns, table.dtypes)]
            return {"rows": len(table), "columns": columns}
    if isinstance(value, (bytes, bytearray)):
        _create(stem + ".bin", value)
    elif isinstance(value, str):
        _create(stem + ".txt", value.encode())
    elif hasattr(type(value), "__fspath__"):
        _copy(os.fsdecode(value), os.path.dirname(stem))
    else:
        _create(stem + ".json", json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain).encode())
    return None


def _write_pandas(frame: Any, stem: str, table_format: str | None) -> Any:
    """Write the table; what was written: an index is columns, unless it has no name and only numbers the rows."""
    if frame.index.name is not None or frame.index.dtype.kind != "i":
        frame = frame.reset_index()
    if table_format != "CSV":
        try:
            frame.to_parquet(_free(stem + ".parquet"), index=False)
        except ImportError:
            if table_format == "Parquet":
                advice = "add it to the Function's requirements, or set format: CSV"
                raise Rejected(f"pandas needs pyarrow to write Parquet: {advice}") from None
            table_format = "CSV"
    if table_format == "CSV":
        frame.to_csv(_free(stem + ".csv"), index=False)
    return frame


def _write_polars(frame: Any, stem: str, table_format: str | None) -> Any:
    if table_format == "CSV":
        frame.write_csv(_free(stem + ".csv"))
    else:
        frame.write_parquet(_free(stem + ".parquet"))
    return frame


def _plain(item: Any) -> Any:
    if type(item).__module__ == "numpy":  # its arrays, and numbers that are none of Python's
        return item.tolist()
    raise Rejected(f"a {_type(item)} cannot be written: {WAYS}")


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _free(path: str) -> str:
    """The path, where nothing is yet: what user code itself has put there is not replaced."""
    if os.path.lexists(path):
        raise Rejected(f"{os.path.basename(path)} is there already; write it or return it, not both")
    return path


def _create(path: str, data: bytes | bytearray) -> None:
    with open(_free(path), "xb") as file:
        file.write(data)


def _copy(source: str, folder: str) -> None:
    """A file under its own name, or all that is in a folder; what lies in the output's folder already stays as it is."""
    import shutil

    given, target = os.path.realpath(source), os.path.realpath(folder)
    if not os.path.isfile(given) and not os.path.isdir(given):
        raise Rejected(f"the returned path {source} is no file and no folder")
    if given == target or given.startswith(target + os.sep):
        return
    if target.startswith(given.rstrip(os.sep) + os.sep):
        raise Rejected(f"the returned folder {source} holds the output's own folder")
    if os.path.isfile(given):
        shutil.copy(given, _free(os.path.join(folder, os.path.basename(source))))
    else:
        shutil.copytree(
            given, folder, symlinks=True, copy_function=lambda one, other: shutil.copy(one, _free(other)), dirs_exist_ok=True
        )


def read_report(report: str, outputs: list[str]) -> dict[str, Any]:
    """{output: {"rows", "columns": [[name, type]]}} of a report; what is no such thing is left out."""
    try:
        found = json.loads(report)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: found[name] for name in outputs if _is_table(found.get(name))}


def _is_table(table: Any) -> bool:
    if not isinstance(table, dict) or type(table.get("rows")) is not int or not set(table) <= {"rows", "columns"}:
        return False
    columns = table.get("columns", [])
    pairs = isinstance(columns, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in columns)
    return pairs and all(isinstance(text, str) for pair in columns for text in pair)
