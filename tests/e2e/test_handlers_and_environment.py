"""How user code is called, and what it finds around it (rows A7 to A12, B6, B7, B10, B12, B17)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.cluster import Namespace, Refused, function, job_run
from support.store import Bucket

SHOW = """
import json, os, sys
def main(**everything):
    print(json.dumps({"given": everything, "env": dict(os.environ), "version": list(sys.version_info[:2])}))
"""


def shown(namespace: Namespace, run: str) -> dict[str, Any]:
    """What SHOW printed."""
    status = namespace.finished(run)
    assert status["phase"] == "Succeeded", status
    (pod,) = namespace.pods(run)
    text = namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def test_parameters_keep_their_json_types_and_variables_arrive_byte_for_byte(namespace: Namespace) -> None:
    parameters = {"i": 3, "f": 0.5, "b": True, "n": None, "l": [1, "x", {"y": []}], "o": {"ünï": "$(HOME)"}, "s": "a\nb"}
    variables = {
        "EQUALS": "a=b=c",
        "LINES": "one\ntwo\n",
        "DOLLARS": "$(HOME) $$ $HOME ${HOME} cost$5 $$(A)",
        "QUOTES": "\"'`\\",
        "UNICODE": "żółć 🦆",
        "EMPTY": "",
        "LONG": "x" * 32_000,
    }
    namespace.apply(
        function("show", SHOW),
        job_run(
            "show-1",
            "show",
            parameters=parameters,
            environmentVariables=variables,
            env=[
                {"name": "LISTED", "value": "$(EQUALS)"},
                {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
        ),
        server_side=True,  # kubectl's own apply drops nulls
    )
    found = shown(namespace, "show-1")
    assert found["given"] == parameters
    assert {name: found["env"][name] for name in variables} == variables
    assert found["env"]["LISTED"] == "$(EQUALS)"
    assert found["env"]["NODE"]
    assert found["version"] == [3, 13]
    assert found["env"]["HOME"] and found["env"]["USER"]


@pytest.mark.parametrize("variable", ["JOBS_PAYLOAD_FILE", "BATCH_INPUT_DIR", "MILLRACE_X", "1X", "A-B"])
def test_a_reserved_or_malformed_variable_is_refused_at_apply_by_its_name(namespace: Namespace, variable: str) -> None:
    with pytest.raises(Refused, match=variable):
        namespace.apply(job_run("no", "show", environmentVariables={variable: "x"}))


def test_another_python_version_and_a_foreign_base_image_run_the_same_handler(namespace: Namespace) -> None:
    images = json.loads(namespace.kubectl("get", "--raw", "/api/v1/nodes"))["items"][0]["status"]["images"]
    names = [name for image in images for name in image["names"] if "runtime-3.11" in name and "sha256" not in name]
    namespace.apply(
        function("old", SHOW, pythonVersion="3.11"),
        function("foreign", SHOW, baseImage=names[0]),
        job_run("old-1", "old"),
        job_run("foreign-1", "foreign"),
    )
    assert shown(namespace, "old-1")["version"] == [3, 11]
    assert shown(namespace, "foreign-1")["version"] == [3, 11]
    (pod,) = namespace.pods("foreign-1")
    main = pod["spec"]["containers"][0]
    assert main["command"][-1].startswith("/millrace/ctl/runtime"), "the runtime is brought in, not the image's own"


def test_a_python_version_that_is_not_offered_is_not_ready_and_says_which_are(namespace: Namespace) -> None:
    namespace.apply(function("future", SHOW, pythonVersion="3.99"), job_run("future-1", "future"))
    namespace.kubectl("wait", "--for=condition=Ready=False", "fn/future", "--timeout=30s")
    ready = namespace.get("fn", "future")["status"]["conditions"][0]
    assert ready["reason"] == "PythonVersionNotOffered"
    assert "3.13" in ready["message"]
    assert namespace.phase("future-1", "Blocked")["reason"] == "PythonVersionNotOffered"


@pytest.mark.parametrize(
    ("code", "spec", "parameters", "reason", "says"),
    [
        ("def other():\n    pass\n", {}, {}, "HandlerNotFound", "other"),
        ("def main(a):\n    pass\n", {}, {"b": 1}, "ParameterMismatch", "b"),
        ("def main(a):\n    pass\n", {}, {}, "ParameterMismatch", "a"),
        ("def main():\n    raise KeyError('gone wrong')\n", {}, {}, "UserError", "gone wrong"),
        ("import nothing_like_it\ndef main():\n    pass\n", {}, {}, "UserError", "nothing_like_it"),
        ("raise SystemExit(7)\n", {"script": "main.py"}, {}, "UserError", "7"),
    ],
    ids=["no handler", "unknown parameter", "missing parameter", "exception", "import error", "exit code"],
)
def test_each_fault_of_user_code_has_its_reason(
    namespace: Namespace, code: str, spec: dict[str, Any], parameters: dict[str, Any], reason: str, says: str
) -> None:
    namespace.apply(function("fault", code, **spec), job_run("fault-1", "fault", parameters=parameters))
    status = namespace.finished("fault-1")
    assert status["phase"] == "Failed"
    assert status["failure"]["reason"] == reason, status["failure"]
    assert says in status["failure"]["message"] + status["failure"].get("logTail", "")
    assert status["failure"]["container"] == "main"


def test_a_script_runs_as_main_and_finds_its_directories(namespace: Namespace, store: Bucket) -> None:
    store.put("in/data.txt", b"42")
    script = """
import os, pathlib, shutil
assert __name__ == "__main__"
inputs, outputs = (pathlib.Path(os.environ[name]) for name in ("BATCH_INPUT_DIR", "BATCH_OUTPUT_DIR"))
try:
    (inputs / "data.txt").write_text("no")
except OSError as error:
    (outputs / "errno.txt").write_text(str(error.errno))
shutil.copystat(inputs, outputs)
(outputs / "doubled.txt").write_text(str(int((inputs / "data.txt").read_text()) * 2))
"""
    namespace.apply(
        function("script", script, script="main.py"),
        job_run(
            "script-1",
            "script",
            inputs=[{"name": "data", "dataStore": {"name": "store", "path": "in"}}],
            outputs=[{"name": "out", "asset": "doubled"}],
        ),
    )
    status = namespace.finished("script-1")
    assert status["phase"] == "Succeeded", status
    (output,) = status["outputs"]
    assert output["asset"] == "doubled"
    key = output["uri"].removeprefix(f"s3://{store.name}/")
    assert key.startswith("assets/doubled/")
    assert store.unzip(key) == {"doubled.txt": b"84", "errno.txt": b"30"}


def test_several_inputs_and_outputs_have_a_folder_each_and_a_connected_input_is_left_to_the_script(
    namespace: Namespace, store: Bucket
) -> None:
    store.put("one/a.txt", b"a")
    store.put("two/b.txt", b"b")
    code = """
import json, os, pathlib
def main(one, two, remote):
    root = pathlib.Path(os.environ["BATCH_INPUT_DIR"])
    assert pathlib.Path(one) == root / "one", one
    assert pathlib.Path(two) == root / "two" / "b.txt", two
    payload = json.load(open(os.environ["JOBS_PAYLOAD_FILE"]))
    assert remote in payload["scoring"]["input_data_references"], remote
    assert remote["location"]["path"] == "far/away", remote
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "left" / "l.txt").write_text(pathlib.Path(one, "a.txt").read_text())
    (out / "right" / "r.txt").write_text(pathlib.Path(two).read_text())
"""
    namespace.apply(
        function("many", code),
        job_run(
            "many-1",
            "many",
            inputs=[
                {"name": "one", "dataStore": {"name": "store", "path": "one"}},
                {"name": "two", "dataStore": {"name": "store", "path": "two/b.txt"}, "type": "uri_file"},
                {"name": "remote", "dataStore": {"name": "store", "path": "far/away"}, "stage": "Never"},
            ],
            outputs=[
                {"name": "left", "dataStore": {"name": "store", "path": "res/{run}"}},
                {"name": "right", "dataStore": {"name": "store", "path": "res"}, "archive": "None"},
                {"name": "elsewhere", "href": "s3://other/place"},
            ],
        ),
    )
    status = namespace.finished("many-1")
    assert status["phase"] == "Succeeded", status
    assert store.unzip("res/many-1/left.zip") == {"l.txt": b"a"}
    assert store.get("res/right/r.txt") == b"b"
    assert json.loads(store.get("res/right/manifest.json"))


def test_requirements_are_installed_as_wheels_before_the_handler_runs(namespace: Namespace) -> None:
    code = "import six\ndef main():\n    print('six', six.__version__)\n"
    namespace.apply(function("needs", code, requirements=["six==1.16.0"]), job_run("needs-1", "needs"))
    status = namespace.finished("needs-1", seconds=180)
    assert status["phase"] == "Succeeded", status
    (pod,) = namespace.pods("needs-1")
    assert "six 1.16.0" in namespace.kubectl("logs", pod["metadata"]["name"], "-c", "main")


def test_requirements_that_cannot_be_resolved_say_so_in_the_resolvers_words(namespace: Namespace) -> None:
    namespace.apply(
        function("never", "def main():\n    pass\n", requirements=["six==1.16.0", "six==1.15.0"]),
        job_run("never-1", "never"),
    )
    failure = namespace.finished("never-1", seconds=180)["failure"]
    assert (failure["reason"], failure["container"]) == ("RequirementsFailed", "stage")
    assert "six" in failure["message"]


def test_a_payload_that_is_too_large_is_failed_before_a_job_exists(namespace: Namespace) -> None:
    rows = [["x" * 1000] for _ in range(250)]
    namespace.apply(
        function("big", SHOW), job_run("big-1", "big", inputData=[{"fields": ["a"], "values": rows}]), server_side=True
    )
    status = namespace.finished("big-1")
    assert status["failure"]["reason"] == "PayloadTooLarge"
    assert "196608" in status["failure"]["message"]
    assert namespace.list("jobs") == []
