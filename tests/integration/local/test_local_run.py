"""`millrace run --local` as a user has it: real processes, a folder as the store, no cluster and no network."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient

from integration.inpod.index import Index, wheel
from integration.inpod.storage import ACCESS_KEY, SECRET_KEY, Bucket
from support.cluster import deployment, deployment_run, function, job_run
from support.emulators import ACCOUNT, ACCOUNT_KEY, running_azurite
from support.https_server import file, https_server
from support.waiting import wait_for

pytest_plugins = ["integration.inpod.conftest"]
CANARY = "canary-of-a-store-key"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
COPY = """
import os, pathlib, shutil
def main(**inputs):
    print("copying")
    shutil.copytree(os.environ["BATCH_INPUT_DIR"], os.environ["BATCH_OUTPUT_DIR"], dirs_exist_ok=True)
"""


class Done(NamedTuple):
    """What a command said and left."""

    code: int
    out: str
    err: str

    def digest(self, name: str, title: str = "digest") -> str:
        """Content digest or sha256 of an output, as printed."""
        lines = [line.split()[-2:] for line in self.err.splitlines()]
        first = next(number for number, line in enumerate(self.err.splitlines()) if line.startswith(title))
        return next(value for found, value in lines[first:] if found == name)


class Here:
    """A folder to run in, with a folder for temporary files that must be empty afterwards."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.temporary = folder / "work", folder / "tmp"
        self.folder.mkdir()
        self.temporary.mkdir()
        (self.folder / "heart").mkdir()

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name("millrace")), "run", "--local", *args]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "KUBE", "UV_"))}
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**kept, "TMPDIR": str(self.temporary), "NO_COLOR": "1", "KUBECONFIG": "/nonexistent", **env},
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __call__(self, *args: str, **env: str) -> Done:
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=100)
        assert "\nTraceback" not in f"\n{err}", err
        assert list(self.temporary.iterdir()) == [], "temporary files were left"
        return Done(process.returncode, out, err)

    def file(self, *objects: dict[str, Any], name: str = "all.yaml") -> str:
        # JSON: YAML libraries disagree about keys such as y and n.
        (self.folder / name).write_text("\n---\n".join(map(json.dumps, objects)))
        return name

    def put(self, path: str, data: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def handler(self, code: str, *args: str, spec: dict[str, Any] | None = None, **run: Any) -> Done:
        """Runs one function by manifests, with the store `heart` in the folder heart."""
        objects = (function("f", code, pythonVersion=PYTHON, **(spec or {})), job_run("r", "f", **run))
        return self("-f", self.file(*objects), "--store", "heart=heart", *args)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    """Nothing that a run has started is there after it: all of it has the folder in its environment or its arguments."""
    yield Here(tmp_path)
    wait_for("the end of all processes", lambda: not processes_of(tmp_path), seconds=5)


def processes_of(folder: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            about = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if str(folder).encode() + b"/" in about and state != "Z":
            found.append(about.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_a_folder_of_code_is_run_from_its_zip(here: Here) -> None:
    here.put("code/main.py", b"import rules\n\n\ndef predict(value):\n    print(value * rules.LIMIT, rules.__file__)\n")
    here.put("code/rules.py", b"LIMIT = 7\n")
    here.put("code/tools/report.py", b"import rules\nprint('report', rules.LIMIT)\n")
    done = here("code", "--handler", "main:predict", "--param", "value=3", "--python", PYTHON)
    assert done.code == 0, done.err
    assert done.out.startswith("21 ")
    assert str(here.folder) not in done.out.split()[1].replace(str(here.temporary), "")
    done = here("code", "--script", "tools/report.py", "--python", PYTHON)
    assert (done.code, done.out) == (0, "report 7\n"), done.err


def input_of(path: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "data", "dataStore": {"name": "heart", "path": path}, **more}]


def output_to(path: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "scores", "dataStore": {"name": "heart", "path": path}, **more}]


def test_a_script_is_run_on_a_folder_of_this_machine(here: Here) -> None:
    here.put("csvs/a.csv", b"1,2\n")
    here.put("score.py", COPY.encode() + b"\nmain()\n")
    done = here("score.py", "--input", "data=./csvs", "--output", "scores=./results", "--python", PYTHON)
    assert (done.code, done.out) == (0, "copying\n"), done.err
    with zipfile.ZipFile(here.folder / "results" / "scores.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.csv": b"1,2\n"}
    sha256 = hashlib.sha256((here.folder / "results" / "scores.zip").read_bytes()).hexdigest()
    assert done.digest("scores", "sha256") == sha256
    assert f"file://{here.folder}/results/scores.zip" in done.err
    assert {path.name for path in here.folder.iterdir()} == {"csvs", "heart", "score.py", "results"}, "nothing else is left"


def test_several_documents_and_runs_of_one_file(here: Here) -> None:
    here.put("heart/in/a.csv", b"1,2\n")
    objects = (
        function("copy", COPY, pythonVersion=PYTHON),
        function("fail", "def main(): raise SystemExit(7)", pythonVersion=PYTHON),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {}},
        job_run("one", "copy", inputs=input_of("in"), outputs=output_to("out/{run}")),
        job_run("two", "fail"),
        job_run("three", "copy", inputs=input_of("in"), outputs=[{"name": "scores", "asset": "kept", "archive": "None"}]),
    )
    done = here("-f", here.file(*objects), "--store", "heart=heart")
    assert done.code == 1, done.err
    assert "warning: Service s has no part in a local run" in done.err
    assert "UserError (container main, exit code 7)" in done.err
    assert (here.folder / "heart/out/one/scores.zip").is_file()
    [kept] = (here.folder / "heart/assets/kept").glob("*/scores")
    assert {path.name for path in kept.iterdir()} == {"a.csv", "manifest.json"}
    logs = {path.parent.parent.name for path in (here.folder / "heart/logs").glob("*/1/main.log")}
    assert logs == {"one", "three"}, "a run without inputs and outputs archives no log"
    assert (here.folder / "heart/logs/one/1/main.log").read_text() == "copying\n"
    assert not (here.folder / "heart/.millrace").exists()


def test_what_user_code_is_given(here: Here) -> None:
    here.put("heart/in/a.csv", b"1,2\n")
    here.put("heart/one.csv", b"3\n")
    code = """
import json, os
def main(n, flag, data, one, left, **rest):
    payload = json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))
    print(json.dumps([n, flag, rest, sorted(os.listdir(data)), open(one).read(), left["connection"]]))
    print(json.dumps(dict(os.environ)))
    print(json.dumps(payload))
    try:
        import yaml
    except ImportError:
        print("none of this machine's packages")
"""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "stringData": {"a": "told"},
        "data": {"b": base64.b64encode(b"too").decode()},
    }
    variables = [
        {"name": "FROM_SECRET", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}},
        {"name": "ABSENT", "valueFrom": {"secretKeyRef": {"name": "s", "key": "x", "optional": True}}},
        {"name": "SPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
    ]
    inputs = [
        *input_of("in"),
        {"name": "one", "type": "uri_file", "dataStore": {"name": "heart", "path": "one.csv"}},
        {"name": "left", "stage": "Never", "dataStore": {"name": "heart", "path": "x"}},
    ]
    run = job_run(
        "r",
        "f",
        parameters={"n": 3, "flag": True, "deep": {"a": [None, 1.5]}},
        inputs=inputs,
        inputData=[{"fields": ["x"], "values": [[1]]}],
        environmentVariables={"PRICE": "$(HOME) $$ 5", "TZ": "Asia/Tokyo"},
        env=variables,
        resources={"limits": {"memory": "1Gi"}},
        profile="gpu",
    )
    file = here.file(function("f", code, pythonVersion=PYTHON), secret, run)
    done = here(
        "-f", file, "-n", "lab", "--store", "heart=heart", SECRET_OF_THIS_MACHINE=CANARY, AWS_SECRET_ACCESS_KEY=CANARY
    )
    assert done.code == 0, done.err
    arguments, environment, payload, packages = done.out.splitlines()
    assert json.loads(arguments) == [3, True, {"deep": {"a": [None, 1.5]}}, ["a.csv"], "3\n", {"name": "heart"}]
    env = json.loads(environment)
    assert CANARY not in environment
    assert {"FROM_SECRET": "told", "SPACE": "lab", "PRICE": "$(HOME) $$ 5", "TZ": "Asia/Tokyo"}.items() <= env.items()
    assert {"MILLRACE_RUN": "r", "MILLRACE_NAMESPACE": "lab", "MILLRACE_ATTEMPT": "1"}.items() <= env.items()
    assert not {"ABSENT", "MILLRACE_ROOT", "BATCH_OUTPUT_DIR"} & set(env)
    assert json.loads(payload)["scoring"]["input_data"] == [{"fields": ["x"], "values": [[1]]}]
    assert packages == "none of this machine's packages"
    assert "without effect on this machine: resources, profile" in done.err


def test_rows_of_the_run_are_files_and_in_the_payload(here: Here) -> None:
    code = """
import json, os
def main(table, rows, row):
    print(json.dumps([open(table).read(), {name: open(os.path.join(rows, name)).read() for name in sorted(os.listdir(rows))}]))
    print(os.listdir(row), os.path.dirname(row) == os.environ["BATCH_INPUT_DIR"])
    print(json.dumps(json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))["scoring"]))
"""
    inputs = [
        {"name": "table", "type": "uri_file", "inline": {"fields": ["a", "b"], "values": [[1, None], ["ü, x", True]]}},
        {"name": "rows", "inline": {"values": [[1]]}},
        {"name": "row", "inline": {"values": [[2]]}, "glob": "*.json"},
    ]
    given = {"fields": ["c"], "values": [[3]]}
    run = job_run("r", "f", inputs=inputs, inputData=[given])
    done = here("-f", here.file(function("f", code, pythonVersion=PYTHON), run))
    assert done.code == 0, done.err
    files, row, scoring = done.out.splitlines()
    assert json.loads(files) == ['a,b\n1,\n"ü, x",true\n', {"rows.csv": "1\n", "rows.json": '{"values": [[1]]}'}]
    assert row == "['row.json'] True"
    assert json.loads(scoring) == {"input_data": [given, *({"id": each["name"], **each["inline"]} for each in inputs)]}


def test_a_file_at_a_web_address_is_an_input(here: Here, tmp_path: Path) -> None:
    code = "def main(rows, left): print(open(rows).read(), rows.rpartition('/')[2], left)"
    (tmp_path / "web").mkdir()
    with https_server(tmp_path / "web") as web:
        web.answers["/a/rows.csv"] = file(b"1,2")
        inputs = [
            {
                "name": "rows",
                "type": "uri_file",
                "uri": web.url("/a/rows.csv?v=1"),
                "sha256": hashlib.sha256(b"1,2").hexdigest(),
            },
            {"name": "left", "type": "uri_file", "uri": "https://data.test/x", "stage": "Never"},
        ]
        run = job_run("r", "f", inputs=inputs)
        done = here("-f", here.file(function("f", code, pythonVersion=PYTHON), run), SSL_CERT_FILE=str(web.authority))
    assert done.code == 0, done.err
    assert done.out == "1,2 rows.csv {'id': 'left', 'type': 'url', 'location': {'href': 'https://data.test/x'}}\n"


def test_one_input_of_rows_lies_right_in_the_input_folder(here: Here) -> None:
    code = "import os\ndef main(rows): print(rows == os.environ['BATCH_INPUT_DIR'], sorted(os.listdir(rows)))"
    run = job_run("r", "f", inputs=[{"name": "rows", "inline": {"values": [[1]]}}])
    done = here("-f", here.file(function("f", code, pythonVersion=PYTHON), run))
    assert (done.code, done.out) == (0, "True ['rows.csv', 'rows.json']\n"), done.err


FAILURES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "the code's own error": (
        "def main(): raise ValueError('the data is bad')",
        {},
        ["UserError (container main, exit code 1)", "ValueError: the data is bad"],
    ),
    "a handler that is not there": (
        "def other(): pass",
        {},
        ["HandlerNotFound (container main, exit code 240)", "it has other"],
    ),
    "a parameter that does not fit": (
        "def main(x): pass",
        {"parameters": {"y": 1}},
        ["ParameterMismatch (container main, exit code 241)", "missing: x; unknown: y"],
    ),
    "an input that is not there": (
        COPY,
        {"inputs": input_of("absent")},
        ["StageFailed (container stage, exit code 248)", "absent: no such object or folder"],
    ),
    "a store that is not there": (
        COPY,
        {"inputs": [{"name": "data", "dataStore": {"name": "lung", "path": "x"}}]},
        ["DataStoreNotFound", "DataStore lung does not exist", "--store NAME=DIR"],
    ),
    "rows that are no table": (
        COPY,
        {"inputs": [{"name": "data", "inline": {"fields": ["a"], "values": [[1], [2, 3]]}}]},
        ["InlineRejected", "input data: inline.values[1] has 2 values, and there are 1 fields"],
    ),
    "more rows than fit into a run": (
        COPY,
        {"inputs": [{"name": "data", "inline": {"values": [["x" * 100]] * 2000}}]},
        ["PayloadTooLarge", "Put the data into a DataStore"],
    ),
    "a glob that no file of rows matches": (
        COPY,
        {"inputs": [{"name": "data", "inline": {"values": [[1]]}, "glob": "*.txt"}]},
        ["StageFailed (container stage, exit code 248)", "glob *.txt: inline data is data.csv and data.json"],
    ),
    "a deadline": (
        "import time\ndef main(): time.sleep(60)",
        {"timeouts": {"running": "1s"}},
        ["DeadlineExceeded (container main, exit code 243)", "longer than 1 s"],
    ),
    "a scratch that is full": (
        "import os, time\ndef main():\n open(os.environ['TMPDIR'] + '/x', 'wb').write(b'x' * 4000000)\n time.sleep(60)",
        {"scratch": {"size": "2M"}},
        ["ScratchFull (container main, exit code 245)"],
    ),
    "a Secret that is not there": (
        "def main(): pass",
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]},
        ["ConfigError", "main: Secret none with the key k is not among the manifests"],
    ),
    "too much to hand over": (
        "def main(x): pass",
        {"parameters": {"x": "x" * 200_000}},
        ["PayloadTooLarge"],
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_the_cluster_s_reason_and_leaves_nothing_behind(here: Here, name: str) -> None:
    code, run, says = FAILURES[name]
    done = here.handler(code, outputs=output_to("out"), **run)
    assert done.code == 1, done.err
    for text in says:
        assert text in done.err
    assert not list(here.folder.rglob("scores.zip"))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"pythonVersion": "3.1"}, "PythonVersionNotOffered"),
        ({"image": "pandas:1"}, "ImagePull"),
        ({"requirements": ["git+https://example.org/x.git"]}, "RequirementsFailed"),
    ],
)
def test_a_function_that_this_machine_cannot_run(here: Here, spec: dict[str, Any], reason: str) -> None:
    spec = {"pythonVersion": PYTHON, **spec}
    done = here("-f", here.file(function("f", "def main(): pass", **spec), job_run("r", "f")))
    assert done.code == 1
    assert reason in done.err


def test_outputs_of_a_failure_are_published_as_when_says(here: Here) -> None:
    code = (
        "import os, pathlib\ndef main():\n"
        " for name in ('good', 'bad', 'any'): pathlib.Path(os.environ['BATCH_OUTPUT_DIR'], name, 'x').write_text(name)\n"
        " raise SystemExit(3)"
    )
    outputs = [
        {"name": name, "dataStore": {"name": "heart", "path": "out"}, "when": when}
        for name, when in (("good", "OnSuccess"), ("bad", "OnFailure"), ("any", "Always"))
    ]
    done = here.handler(code, outputs=outputs)
    assert done.code == 1
    assert {path.name for path in (here.folder / "heart/out").iterdir()} == {"bad.zip", "any.zip"}


def test_retries_are_further_attempts_with_nothing_of_the_first(here: Here) -> None:
    code = (
        "import os, pathlib\ndef main():\n"
        " out = pathlib.Path(os.environ['BATCH_OUTPUT_DIR'])\n assert not list(out.iterdir())\n"
        " (out / 'x').write_text(os.environ['MILLRACE_ATTEMPT'])\n assert os.environ['MILLRACE_ATTEMPT'] == '3'"
    )
    done = here.handler(code, outputs=output_to("out"), retries=2)
    assert done.code == 0, done.err
    with zipfile.ZipFile(here.folder / "heart/out/scores.zip") as archive:
        assert archive.read("x") == b"3"
    assert (here.folder / "heart/logs/r/2/main.log").is_file()


def test_requirements_are_installed_from_the_index_of_the_environment(here: Here) -> None:
    index = Index(wheel("ready", "1.0", "VALUE = 41"))
    try:
        objects = (
            function("f", "import ready\ndef main(): print(ready.VALUE)", requirements=["ready"], pythonVersion=PYTHON),
            job_run("r", "f"),
        )
        done = here("-f", here.file(*objects), UV_DEFAULT_INDEX=index.url)
        assert (done.code, done.out) == (0, "41\n"), done.err
    finally:
        index.stop()


def test_a_default_store_that_only_keeps_requirements_holds_up_no_run(here: Here) -> None:
    index = Index(wheel("ready", "1.0", "VALUE = 41"))
    store = {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "DataStore",
        "metadata": {"name": "away", "annotations": {"millrace.dev/is-default": "true"}},
        "spec": {
            "s3": {"bucket": "none", "endpoint": "https://127.0.0.1:1"},
            "credentials": {"secretRef": {"name": "none"}},
            "caBundleRef": {"configMap": "none"},
        },
    }
    code = function("f", "import ready\ndef main(): print(ready.VALUE)", requirements=["ready"], pythonVersion=PYTHON)
    try:
        done = here("-f", here.file(store, code, job_run("r", "f", logs="None")), UV_DEFAULT_INDEX=index.url)
        assert (done.code, done.out) == (0, "41\n"), done.err
    finally:
        index.stop()


REFUSED: dict[str, tuple[Callable[[Here], list[str]], str]] = {
    "a folder that is not there": (lambda _: ["s.py", "--input", "data=./none"], "none does not exist"),
    "a store that is not there": (lambda _: ["s.py", "--store", "a=./none"], "none does not exist"),
    "an output with no place": (lambda _: ["s.py", "--input", "a=s.py", "--output", "o"], "--output o=./results"),
    "a store that is a file": (lambda _: ["s.py", "--store", "a=s.py"], "s.py is not a folder"),
    "a store that is an address": (lambda _: ["s.py", "--store", "a=s3://b"], "write a DataStore for it"),
    "options of a cluster": (lambda _: ["s.py", "--no-follow", "-o", "yaml"], "--no-follow, -o: not with --local"),
    "an unknown field": (
        lambda here: ["-f", here.file(function("f", "x"), job_run("r", "f", inptus=[]))],
        "JobRun r: spec.inptus: unknown field",
    ),
    "a wrong type": (
        lambda here: ["-f", here.file(function("f", "x"), job_run("r", "f", retries="many"))],
        "JobRun r: spec.retries: Input should be a valid integer",
    ),
    "two ways to call": (
        lambda here: ["-f", here.file(function("f", "x", handler="main", script="main.py"), job_run("r", "f"))],
        "Function f: spec: exactly one of handler, script must be set",
    ),
    "a reserved variable": (
        lambda here: ["-f", here.file(job_run("r", "f", environmentVariables={"MILLRACE_ROOT": "/"}))],
        "JobRun r: reserved for millrace: MILLRACE_ROOT",
    ),
    "an output to two places": (
        lambda here: ["-f", here.file(job_run("r", "f", outputs=[{"name": "o", "asset": "a", "href": "s3://b"}]))],
        "spec.outputs[0]: exactly one of asset, dataStore, href must be set",
    ),
    "how an output is kept that the script uploads": (
        lambda here: ["-f", here.file(job_run("r", "f", outputs=[{"name": "o", "href": "s3://b", "when": "Always"}]))],
        "spec.outputs[0]: archive, format and when do not go with href",
    ),
    "a variable with two values": (
        lambda here: ["-f", here.file(job_run("r", "f", env=[{"name": "V", "value": "1", "valueFrom": {}}]))],
        "variable V: value and valueFrom exclude each other",
    ),
    "a variable with a name that is none": (
        lambda here: ["-f", here.file(job_run("r", "f", environmentVariables={"A-B": "1"}))],
        "not a name of an environment variable: A-B",
    ),
    "an image with requirements": (
        lambda here: ["-f", here.file(function("f", "x", image="i", requirements=["r"]), job_run("r", "f"))],
        "Function f: spec: requirements cannot be installed on a prebuilt image",
    ),
    "a path that leaves the store": (
        lambda here: ["-f", here.file(job_run("r", "f", outputs=output_to("../x")))],
        "path must not have the segments . or ..",
    ),
    "nothing to run": (lambda here: ["-f", here.file(function("f", "x"))], "no JobRun in it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_api_server_would_refuse_is_refused(here: Here, name: str) -> None:
    here.put("s.py", b"print(1)")
    options, says = REFUSED[name]
    done = here(*options(here))
    assert done.code == 2, done.err
    assert says in done.err
    assert done.out == ""


STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
def main(polite):
    child = subprocess.Popen([sys.executable, "-c", "import os, time; os.setsid(); time.sleep(600)"])
    pathlib.Path(os.environ["BATCH_OUTPUT_DIR"], "partial").write_text("so far")
    closed = pathlib.Path(os.environ["TMPDIR"], "closed")
    closed.mkdir()
    (closed / "x").touch()
    closed.chmod(0)
    if not polite:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("at work", flush=True)
    time.sleep(600)
"""


def at_work(here: Here, *, polite: bool, **env: str) -> subprocess.Popen[str]:
    run = job_run("r", "f", parameters={"polite": polite}, outputs=output_to("out", when="Always"))
    file = here.file(function("f", STUBBORN, pythonVersion=PYTHON), run)
    process = here.start("-f", file, "--store", "heart=heart", **env)
    assert process.stdout is not None
    assert process.stdout.readline() == "at work\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_cancels_and_leaves_no_process_and_no_folder(here: Here, number: signal.Signals) -> None:
    process = at_work(here, polite=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert "ended    Cancelled (container main, exit code 244)" in err
    with zipfile.ZipFile(here.folder / "heart/out/scores.zip") as archive:
        assert archive.read("partial") == b"so far"
    assert list(here.temporary.iterdir()) == []
    assert not processes_of(here.temporary)


def test_ctrl_c_while_collect_is_starting_loses_no_output(here: Here) -> None:
    slow = "import sys, time\ntime.sleep(3 * (sys.orig_argv[-1] == 'collect'))"
    here.put("slow/sitecustomize.py", slow.encode())
    process = at_work(here, polite=True, PYTHONPATH=str(here.folder / "slow"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert (here.folder / "heart/out/scores.zip").is_file()


def test_ctrl_c_again_ends_all_at_once(here: Here) -> None:
    process = at_work(here, polite=False)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    said = wait_for("the note", lambda: re.search("being cancelled", process.stderr.readline()), seconds=10)
    assert said
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 3, err
    assert list(here.temporary.iterdir()) == []
    assert not processes_of(here.temporary)
    assert not list((here.folder / "heart").rglob("*.zip"))


def test_timeout_ends_the_run(here: Here) -> None:
    done = here.handler("import time\ndef main(): time.sleep(600)", "--timeout", "4s")
    assert done.code == 124
    assert "--timeout is over" in done.err


# --- A real S3 store ---------------------------------------------------------------------------------------------------


def s3_store(bucket: Bucket, **spec: Any) -> dict[str, Any]:
    s3 = {"endpoint": bucket.server.endpoint, "bucket": bucket.name}
    spec = {"s3": s3, "credentials": {"secretRef": {"name": "keys"}}, **spec}
    return {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataStore", "metadata": {"name": "heart"}, "spec": spec}


KEYS = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "keys"},
    "stringData": {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY},
}
TELL = COPY + "\n    print(sorted(os.environ.items()))\n    print(open('/proc/self/environ').read())"


@pytest.mark.parametrize("source", ["a Secret of the file", "the environment"])
def test_a_run_on_a_bucket(here: Here, minio: Bucket, source: str) -> None:
    bucket = minio.fresh()
    bucket.put("in/a.csv", b"1,2\n")
    env = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY} if source == "the environment" else {}
    run = job_run("r", "f", inputs=input_of("in", stage="Download"), outputs=output_to("out"))
    objects = [function("f", TELL, pythonVersion=PYTHON), s3_store(bucket), run, *([] if env else [KEYS])]
    done = here("-f", here.file(*objects), **env)
    assert done.code == 0, done.err
    assert bucket.zip("out/scores.zip") == {"a.csv": b"1,2\n"}
    assert f"s3://{bucket.name}/out/scores.zip" in done.err
    assert done.digest("scores", "sha256") == hashlib.sha256(bucket.get("out/scores.zip")).hexdigest()
    assert bucket.uploads("out/scores.zip") == []
    assert bucket.get("logs/r/1/main.log").startswith(b"copying\n")
    assert SECRET_KEY not in done.out + done.err
    assert ACCESS_KEY not in done.out + done.err


def test_keys_of_the_environment_reach_no_code_of_the_user(here: Here, minio: Bucket) -> None:
    """Also where a variable of the run names the store's own Secret."""
    variable = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "secret_key"}}}
    run = job_run("r", "f", outputs=output_to("out"), env=[variable])
    file = here.file(function("f", TELL, pythonVersion=PYTHON), s3_store(minio.fresh()), run)
    done = here("-f", file, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    assert done.code == 1
    assert "ConfigError" in done.err
    assert "main: Secret keys with the key secret_key is not among the manifests" in done.err
    assert SECRET_KEY not in done.out + done.err


@pytest.mark.parametrize(
    ("spec", "env", "says"),
    [
        ({}, {}, "CredentialsMissing: probe: Secret keys with the key access_key"),
        ({}, {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": "wrong-key"}, "AccessDenied"),
        ({"s3": {"endpoint": "http://127.0.0.1:9", "bucket": "none"}, "credentials": None}, {}, "Unreachable"),
    ],
)
def test_a_bucket_that_cannot_be_used_is_said_at_once(
    here: Here, minio: Bucket, spec: dict[str, Any], env: dict[str, str], says: str
) -> None:
    store = s3_store(minio.fresh(), **spec)
    store["spec"] = {key: value for key, value in store["spec"].items() if value}
    run = job_run("r", "f", inputs=input_of("in", stage="Download"))
    done = here("-f", here.file(function("f", COPY, pythonVersion=PYTHON), store, run), **env)
    assert done.code == 1
    assert "DataStoreNotReady" in done.err
    assert says in done.err
    assert "wrong-key" not in done.err


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ContainerClient]:
    with running_azurite(tmp_path_factory.mktemp("azurite")) as address:
        credential = {"account_name": ACCOUNT, "account_key": ACCOUNT_KEY}
        endpoint = f"http://{address}/{ACCOUNT}"
        with BlobServiceClient(endpoint, credential=credential, api_version="2025-07-05") as client:
            yield client.create_container("heart")


@pytest.mark.parametrize("source", ["a Secret of the file", "the environment"])
def test_a_run_on_a_container_of_azure(here: Here, container: ContainerClient, source: str) -> None:
    container.upload_blob("in/a.csv", b"1,2\n", overwrite=True)
    spec = {
        "azureBlob": {"account": ACCOUNT, "container": "heart", "endpoint": container.url.removesuffix("/heart")},
        "credentials": {"secretRef": {"name": "keys"}},
    }
    store = {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataStore", "metadata": {"name": "heart"}, "spec": spec}
    run = job_run("r", "f", inputs=input_of("in", stage="Download"), outputs=output_to("out"))
    secret = {**KEYS, "stringData": {"secret_key": ACCOUNT_KEY}}
    env = {"AZURE_STORAGE_KEY": ACCOUNT_KEY} if source == "the environment" else {}
    done = here("-f", here.file(function("f", TELL, pythonVersion=PYTHON), store, run, *([] if env else [secret])), **env)
    assert done.code == 0, done.err
    data = container.download_blob("out/scores.zip").readall()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {"a.csv": b"1,2\n"}
    assert "az://heart/out/scores.zip" in done.err
    assert done.digest("scores", "sha256") == hashlib.sha256(data).hexdigest()
    assert container.download_blob("logs/r/1/main.log").readall().startswith(b"copying\n")
    assert ACCOUNT_KEY not in done.out + done.err


def test_a_folder_takes_the_place_of_a_claim(here: Here) -> None:
    """What would be mounted is copied, to the same path; without a folder the run says what to do."""
    spec = {"volume": {"claimName": "heart"}}
    store = {"apiVersion": "millrace.dev/v1alpha1", "kind": "DataStore", "metadata": {"name": "heart"}, "spec": spec}
    run = job_run("r", "f", inputs=input_of("in", stage="Mount"), outputs=output_to("out"))
    file = here.file(function("f", TELL, pythonVersion=PYTHON), store, run)
    missing = here("-f", file)
    assert missing.code == 1
    assert "a claim is not on this machine; --store heart=DIR takes a folder for it" in missing.err
    (here.folder / "heart/in").mkdir(parents=True)
    (here.folder / "heart/in/a.csv").write_text("1,2\n")
    done = here("-f", file, "--store", "heart=heart")
    assert done.code == 0, done.err
    with zipfile.ZipFile(here.folder / "heart/out/scores.zip") as archive:
        assert archive.read("a.csv") == b"1,2\n"


def test_a_folder_takes_the_place_of_a_bucket(here: Here, minio: Bucket) -> None:
    """The same file, offline."""
    bucket = minio.fresh()
    data = {f"in/{name}": os.urandom(1000) * 50 for name in ("b", "a/c", "a.d")}
    for key, value in data.items():
        bucket.put(key, value)
        here.put(f"copy/{key}", value)
    run = job_run("r", "f", inputs=input_of("in", stage="Download"), outputs=output_to("out"))
    file = here.file(function("f", COPY, pythonVersion=PYTHON), s3_store(bucket), KEYS, run)
    online, offline = here("-f", file), here("-f", file, "--store", "heart=copy")
    assert (online.code, offline.code) == (0, 0), online.err + offline.err
    assert online.digest("scores") == offline.digest("scores")
    assert bucket.get("out/scores.zip") == (here.folder / "copy/out/scores.zip").read_bytes()


MAPPED = {
    "inputsMapping": [
        {"input": "data", "dataStore": {"name": "heart", "path": "in/a.csv"}},
        {"input": "threshold", "constant": [None, 0.5]},
        {"input": "region", "env": "REGION", "default": "eu"},
        {"input": "token", "secretRef": {"name": "s", "key": "token"}},
    ],
    "outputsMapping": [
        {"output": "scores", "dataStore": {"name": "heart", "path": "out/{run}"}},
        {"output": "debug", "void": True},
    ],
}
DECLARED = {
    "inputs": [{"name": "data"}, *({"name": name, "type": "value"} for name in ("threshold", "region", "token"))],
    "outputs": [{"name": "scores"}, {"name": "debug"}],
}
SHOW = """
import json, os
def main(data, threshold, region, token):
    assert token == "canary of the file", token
    print(json.dumps([open(data).read(), threshold, region, dict(os.environ)]))
    return {"scores": "kept", "debug": "dropped"}
"""
TOKEN = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": "canary of the file"}}


def test_mappings_of_a_deployment_hold_here(here: Here) -> None:
    here.put("heart/in/a.csv", b"1,2\n")
    code = function("f", SHOW, pythonVersion=PYTHON, **DECLARED)
    run = deployment_run("r", "d", parameters={"region": "us"})
    done = here("-f", here.file(code, deployment("d", "f", **MAPPED), TOKEN, run), "--store", "heart=heart")
    assert done.code == 0, done.err
    assert json.loads(done.out)[:3] == ["1,2\n", [None, 0.5], "us"]
    assert "canary" not in done.out + done.err
    assert [path.name for path in (here.folder / "heart/out/r").iterdir()] == ["scores.zip"]
    missing = here("-f", here.file(code, deployment("d", "f", **MAPPED), run), "--store", "heart=heart")
    assert missing.code == 1
    assert "Secret s with the key token is not among the manifests" in missing.err


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"inputsMapping": [{"input": "dat", "constant": 1}]}, "MappingRejected: inputsMapping dat: Function f declares"),
        ({"inputsMapping": [{"input": "data", "asset": "a"}]}, "spec.inputs[0].asset: a local run knows no assets"),
        ({"inputsMapping": [{"input": "region", "env": "REGION"}]}, "ParameterMismatch: not given: env REGION"),
        ({"inputsMapping": [{"input": "data"}]}, "exactly one of constant, endpointInput, env, dataStore, asset, secretRef"),
        (
            {"outputsMapping": [{"output": "debug", "void": False}]},
            "spec.outputsMapping debug: void must be true, or absent",
        ),
        ({"outputsMapping": [{"output": "debug", "void": True}] * 2}, "spec.outputsMapping: two have one name"),
    ],
    ids=str,
)
def test_a_mapping_that_cannot_be_is_refused_here(here: Here, spec: dict[str, Any], why: str) -> None:
    code = function("f", SHOW, pythonVersion=PYTHON, **DECLARED)
    done = here("-f", here.file(code, deployment("d", "f", **spec), deployment_run("r", "d")), "--store", "heart=heart")
    assert done.code == 2
    assert why in done.err
