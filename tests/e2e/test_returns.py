"""What handlers return (rows B15, C19)."""

from __future__ import annotations

import io
import zipfile

from support.cluster import Namespace, condition, function, job_run
from support.store import Bucket

PEOPLE = {
    "name": "people",
    "type": "uri_file",
    "inline": {"fields": ["name", "age"], "values": [["a", 63], ["b", 41], ["c", 7]]},
}
CITIES = {"name": "world-cities", "asset": "world-cities", "format": "CSV", "archive": "None"}
PANDAS = """
import pandas
def main(people, least):
    table = pandas.read_csv(people)
    return table[table["age"] >= least]
"""
POLARS = """
import polars
def main(people):
    table = polars.read_csv(people)
    return {"oldest": table.filter(polars.col("age") == polars.col("age").max()), "count": {"rows": len(table)}}
"""


def test_a_returned_data_frame_becomes_a_table_asset_with_its_columns(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(
        function("cities", PANDAS, requirements=["pandas==2.3.3"]),
        job_run("cities-1", "cities", inputs=[PEOPLE], parameters={"least": 40}, outputs=[CITIES]),
    )
    status = namespace.finished("cities-1", seconds=180)
    assert status["phase"] == "Succeeded", status
    assert (status["outputs"][0]["asset"], status["outputs"][0]["version"]) == ("world-cities", "1")
    made = namespace.get("dataassets", "world-cities-1")
    assert made["spec"]["type"] == "table"
    assert made["status"]["rows"] == 2
    assert made["status"]["columns"] == [{"name": "name", "type": "object"}, {"name": "age", "type": "int64"}]
    assert condition(made, "Ready")["status"] == "True"  # type: ignore[index]
    assert made["status"]["producedBy"]["jobRun"] == "cities-1"
    assert store.get(made["spec"]["path"] + "world-cities.csv") == b"name,age\na,63\nb,41\n"


def test_values_by_name_go_to_their_outputs(namespace: Namespace, store: Bucket) -> None:
    outputs = [{"name": name, "dataStore": {"name": "store", "path": "res"}} for name in ("oldest", "count")]
    namespace.apply(
        function("oldest", POLARS, requirements=["polars==1.36.1"]),
        job_run("oldest-1", "oldest", inputs=[PEOPLE], outputs=outputs),
    )
    status = namespace.finished("oldest-1", seconds=180)
    assert status["phase"] == "Succeeded", status
    assert store.unzip("res/count.zip") == {"count.json": b'{"rows": 3}'}
    [(name, content)] = store.unzip("res/oldest.zip").items()
    assert (name, content[:4], content[-4:]) == ("oldest.parquet", b"PAR1", b"PAR1")
    assert zipfile.is_zipfile(io.BytesIO(store.get("res/oldest.zip")))


def test_a_value_that_cannot_be_written_fails_the_run_with_its_reason_and_publishes_nothing(
    namespace: Namespace, store: Bucket
) -> None:
    outputs = [{"name": "scores", "asset": "scores"}]
    namespace.apply(function("odd", "def main(): return {1, 2}"), job_run("odd-1", "odd", outputs=outputs, retries=3))
    status = namespace.finished("odd-1")
    failure = status["failure"]
    assert (status["phase"], failure["reason"], failure["exitCode"]) == ("Failed", "ReturnRejected", 239), status
    assert failure["message"].startswith("output scores: a set cannot be written: return a DataFrame of pandas or polars")
    assert status["attempt"] == 1, "another attempt would return it again"
    assert not namespace.list("dataassets")
    assert not status.get("outputs")
