"""What handlers return, with the real libraries, from main to the store."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.inpod.storage import Bucket
from integration.inpod.support import Done, Ended, Pod

Run = Callable[..., Ended]
LIBRARIES = ("pandas==2.3.3", "polars==1.36.1", "pyarrow==22.0.0")
READ = "import json, sys, polars; print(json.dumps(polars.read_parquet(sys.stdin.buffer).to_dicts()))"


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pandas, polars and pyarrow for this Python."""
    folder = tmp_path_factory.mktemp("libraries")
    command = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target", str(folder), *LIBRARIES]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def publish(pod: Pod, stored: Bucket, run: Run, libraries: Path) -> Callable[[str], tuple[Ended, Done]]:
    """Run main with that source, then collect."""

    def both(source: str) -> tuple[Ended, Done]:
        pod.environment["PYTHONPATH"] = str(libraries)
        pod.seal()
        collect = pod.begin("collect")
        return run(source), collect.wait()

    return both


FRAME = "{'age': [63, 41], 'name': ['a,b', None]}"
PARQUET = [{"age": 63, "name": "a,b"}, {"age": 41, "name": None}]
PANDAS, POLARS = [["age", "int64"], ["name", "object"]], [["age", "Int64"], ["name", "String"]]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("table_format", [None, "Parquet", "CSV"])
def test_a_data_frame_is_a_table_of_which_the_columns_are_told(
    pod: Pod,
    stored: Bucket,
    publish: Callable[[str], tuple[Ended, Done]],
    libraries: Path,
    library: str,
    table_format: str | None,
) -> None:
    pod.output(format=table_format)
    ended, done = publish(f"import {library}\ndef predict(): return {library}.DataFrame({FRAME})")
    assert (ended.code, done.code) == (0, 0), ended.err + done.err
    [(name, content)] = stored.zip("o/scores.zip").items()
    if table_format == "CSV":
        assert (name, content) == ("scores.csv", b'age,name\n63,"a,b"\n41,\n')
    else:
        assert name == "scores.parquet"
        env = {**os.environ, "PYTHONPATH": str(libraries)}
        read = subprocess.run([sys.executable, "-c", READ], input=content, env=env, stdout=subprocess.PIPE, check=True)
        assert json.loads(read.stdout) == PARQUET
    assert done.message["tables"] == [{"name": "scores", "rows": 2, "columns": PANDAS if library == "pandas" else POLARS}]


def test_pandas_without_pyarrow_writes_csv_unless_told_otherwise(
    pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]]
) -> None:
    for module in ("pyarrow", "fastparquet"):
        pod.source("raise ImportError('not here')", f"{module}.py")
    pod.output("free", "/millrace/out/data/free")
    pod.output("strict", "/millrace/out/data/strict", format="Parquet", when="Always")
    frame = "pandas.DataFrame({'a': [1]}, index=['x'])"
    ended, done = publish(f"import pandas\ndef predict(): return {{'free': {frame}, 'strict': {frame}}}")
    assert (ended.code, ended.message["reason"]) == (239, "ReturnRejected")
    assert ended.message["message"].startswith("output strict: pandas needs pyarrow to write Parquet: add it to")
    assert done.code == 0, done.err
    assert stored.keys() == {"o/strict.zip"}
    assert pod.text("/millrace/out/data/free/free.csv") == "index,a\nx,1\n"
    assert "tables" not in done.message


@pytest.mark.parametrize(
    ("made", "content"),
    {
        "rows that were left out": ("[frame['a'] > 1]", b"a\n2\n3\n"),
        "a name": (".rename_axis('n')", b"n,a\n0,1\n1,2\n2,3\n"),
        "groups": (".assign(b='x').groupby(['b', 'a']).size().to_frame('n')", b"b,a,n\nx,1,1\nx,2,1\nx,3,1\n"),
    }.values(),
)
def test_an_index_that_says_something_is_written(
    pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]], made: str, content: bytes
) -> None:
    pod.output(format="CSV")
    ended, done = publish(
        f"import pandas\ndef predict():\n    frame = pandas.DataFrame({{'a': [1, 2, 3]}})\n    return frame{made}"
    )
    assert ended.code == 0, ended.err
    assert stored.zip("o/scores.zip") == {"scores.csv": content}
    [table] = done.message["tables"]
    assert ",".join(name for name, _ in table["columns"]).encode() == content.split(b"\n")[0]


def test_what_the_libraries_cannot_write_is_said_in_their_words(
    pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]]
) -> None:
    pod.output()
    ended, _ = publish("import pandas\ndef predict(): return pandas.DataFrame({'a': [1, object()]})")
    assert (ended.code, ended.record["exitCode"]) == (239, 239)
    assert ended.message["message"].startswith("output scores: pandas cannot write the DataFrame: Arrow")
    assert stored.keys() == set()


def test_columns_that_are_too_many_to_be_told_are_left_out(
    pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]]
) -> None:
    for name in ("wide", "small"):
        pod.output(name, f"/millrace/out/data/{name}")
    wide = "polars.DataFrame({f'column-{n}': [n] for n in range(500)})"
    ended, done = publish(f"import polars\ndef predict(): return {{'small': polars.DataFrame({FRAME}), 'wide': {wide}}}")
    assert (ended.code, done.code) == (0, 0), ended.err + done.err
    assert sorted(done.message["tables"], key=str) == [
        {"name": "small", "rows": 2, "columns": POLARS},
        {"name": "wide", "rows": 1},
    ]


def test_numbers_of_numpy_are_json(pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]]) -> None:
    pod.output()
    value = "{'loss': numpy.float32(0.5), 'n': numpy.int64(3), 'rows': numpy.array([[1, 2]])}"
    ended, _ = publish(f"import numpy\ndef predict(): return {value}")
    assert ended.code == 0, ended.err
    assert stored.zip("o/scores.zip") == {"scores.json": b'{"loss": 0.5, "n": 3, "rows": [[1, 2]]}'}


def test_neither_library_is_imported_for_user_code_that_does_without(
    pod: Pod, stored: Bucket, publish: Callable[[str], tuple[Ended, Done]]
) -> None:
    pod.output()
    code = (
        "import atexit, sys\natexit.register(lambda: print([n for n in ('pandas', 'polars', 'numpy') if n in sys.modules]))"
    )
    ended, done = publish(f"{code}\nasync def predict(): return {{'f1': 0.5}}")
    assert (ended.code, ended.out) == (0, "[]\n"), ended.err
    assert stored.zip("o/scores.zip") == {"scores.json": b'{"f1": 0.5}'}
    assert "tables" not in done.message


def test_a_run_without_outputs_only_shows_what_was_returned(run: Run) -> None:
    ended = run("def predict(): return {1, 2}")
    assert ended.code == 0
    assert "returned {1, 2}" in ended.err


@pytest.mark.parametrize(
    "opened", ["", "; open('../run/mine', 'wb', 0).write(b'mine')", "; taken = open('../run/mine', 'w+')"]
)
def test_user_code_that_closes_every_descriptor_loses_no_output_and_no_file(pod: Pod, run: Run, opened: str) -> None:
    """The next file that it opens has the number of the one through which process 1 is told of tables."""
    pod.output()
    keep = "\n    taken.write('mine'); taken.flush()" if "taken" in opened else ""
    code = f"import os\ndef predict():\n    global taken\n    os.closerange(3, 100){opened}{keep}\n    return 'text'"
    ended = run(code)
    assert ended.code == 0, ended.err
    assert pod.text("/millrace/out/data/scores.txt") == "text"
    assert pod.text("/millrace/run/mine") == ("mine" if opened else "")


def test_a_full_disk_is_an_error_as_any_other(pod: Pod, run: Run) -> None:
    pod.output()
    ended = run("import resource, signal\ndef predict():\n    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
                "    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n    return b'x' * 2000")  # fmt: skip
    assert (ended.code, ended.message["reason"]) == (1, "UserError")
    assert "File too large" in ended.message["message"]


def test_the_table_is_the_one_that_was_published(pod: Pod, stored: Bucket, run: Run, libraries: Path) -> None:
    """A second attempt that finds the first one's success reports that one's rows, not its own."""
    pod.environment["PYTHONPATH"] = str(libraries)
    pod.output()
    told = []
    for attempt in (1, 2):
        pod.plan["run"]["attempt"] = attempt
        for path in ("/millrace/run/started", "/millrace/run/exit.json", "/millrace/out/data/scores.parquet"):
            pod.path(path).unlink(missing_ok=True)
        pod.seal()
        collect = pod.begin("collect")
        ended = run(f"import polars\ndef predict(): return polars.DataFrame({{'a': [0] * {attempt}}})")
        done = collect.wait()
        assert (ended.code, done.code) == (0, 0), ended.err + done.err
        told.append(done.message["tables"])
    assert told[0] == told[1] == [{"name": "scores", "rows": 1, "columns": [["a", "Int64"]]}]
    assert io.BytesIO(stored.zip("o/scores.zip")["scores.parquet"]).read(4) == b"PAR1"
