"""Rows in the JobRun itself (rows C16, C17)."""

from __future__ import annotations

from support.cluster import Namespace, function, job_run

SHOW = """
import json, os
def main(table, rows):
    assert open(table).read() == "age,sex\\n63,\\n41,f\\n"
    assert os.listdir(rows) == ["rows.json"], os.listdir(rows)
    assert json.load(open(f"{rows}/rows.json")) == {"values": [[1, None, {"deep": [1.5]}]]}
    assert os.path.dirname(rows) == os.environ["BATCH_INPUT_DIR"]
    scoring = json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))["scoring"]
    assert scoring == {"input_data": [
        {"id": "table", "fields": ["age", "sex"], "values": [[63, None], [41, "f"]]},
        {"id": "rows", "values": [[1, None, {"deep": [1.5]}]]},
    ]}, scoring
"""
TABLE = {"name": "table", "type": "uri_file", "inline": {"fields": ["age", "sex"], "values": [[63, None], [41, "f"]]}}
ROWS = {"name": "rows", "inline": {"values": [[1, None, {"deep": [1.5]}]]}, "glob": "*.json"}


def test_rows_of_a_run_are_files_and_in_the_payload_without_any_store(namespace: Namespace) -> None:
    namespace.apply(function("show", SHOW), job_run("show-1", "show", inputs=[TABLE, ROWS]))
    status = namespace.finished("show-1")
    assert status["phase"] == "Succeeded", status
    assert [(entry["name"], entry["files"], entry["bytes"]) for entry in status["inputs"]] == [
        ("table", 1, 17),
        ("rows", 1, 40),
    ]


def test_rows_that_are_no_table_are_failed_by_their_number_before_a_job_exists(namespace: Namespace) -> None:
    short = {**TABLE, "inline": {"fields": ["age", "sex"], "values": [[63, 1], [41]]}}
    namespace.apply(function("show", SHOW), job_run("show-1", "show", inputs=[short]))
    status = namespace.finished("show-1")
    assert status["failure"]["reason"] == "InlineRejected", status
    assert status["failure"]["message"] == "input table: inline.values[1] has 1 values, and there are 2 fields"
    assert namespace.list("jobs") == []
