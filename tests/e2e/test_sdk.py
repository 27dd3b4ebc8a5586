"""The SDK, as a program uses it: what it makes is what kubectl sees."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millrace import sdk
from support.cluster import Namespace, function
from support.store import Bucket

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sdk.md"
COPY = """
import os, pathlib, shutil

def main(data, times):
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "copy").write_text(pathlib.Path(data, "in.txt").read_text() * times)
    print("copied", times)
"""
DECLARED = {
    "inputs": [{"name": "data", "type": "uri_folder"}, {"name": "times", "type": "value"}],
    "outputs": [{"name": "out"}],
}


def fenced(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_the_page_s_program_runs(namespace: Namespace, store: Bucket, tmp_path: Path) -> None:
    store.put("2026/01.csv", b"tea,2\nmilk,1\n")
    namespace.kubectl("apply", "-f", "-", stdin=fenced("yaml"))
    (tmp_path / "program.py").write_text(fenced("python"))
    kubeconfig = tmp_path / "kubeconfig"  # whose current namespace is the test's
    kubeconfig.write_text(namespace.kubectl("config", "view", "--raw"))
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", f"--namespace={namespace.name}"], env=environment, check=True
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 rows, threshold 0.5\n\n2\n"
    assert (tmp_path / "results" / "report" / "rows.txt").read_text() == "2"
    assert namespace.find("mdep", "my-deployment") is None


def test_a_deployment_and_its_runs_from_a_program(namespace: Namespace, store: Bucket, tmp_path: Path) -> None:
    store.put("in/in.txt", b"ab")
    namespace.apply(function("copy", COPY, **DECLARED))
    where = {"namespace": namespace.name}
    mapped = [sdk.InputSource(pipeline_input_name="data", datastore_path="store/paths/in")]
    to = [sdk.OutputDestination(pipeline_output_name="out", datastore_path="results/{run}")]
    made = sdk.create_deployment(
        deployment_name="copy_it", pipeline_name="copy", execution_rule="manual", description="copies",
        inputs_mapping=mapped, outputs_mapping=to, **where,
    )  # fmt: skip
    assert made == {"name": "copy-it"}
    found = sdk.get_deployment(deployment_name="copy_it", **where)
    assert found == {
        "name": "copy-it", "pipeline_name": "copy", "execution_rule": "manual", "description": "copies",
        "is_ready": True, "reason": "Valid", "running": 0, "queued": 0,
    }  # fmt: skip
    assert sdk.list_deployments(**where) == [found]
    run = sdk.run(deployment_name="copy_it", parameters={"times": 3}, **where)
    ended = sdk.wait(run_name=run["name"], timeout=120, **where)
    assert (ended["name"], ended["phase"]) == (run["name"], "Succeeded"), ended
    assert ended["outputs"][0]["uri"] == f"s3://{store.name}/results/{run['name']}/out.zip"
    assert "copied 3" in sdk.logs(run_name=run["name"], **where)
    fetched = sdk.results(run_name=run["name"], to=tmp_path / "fetched", **where)
    assert {name: (folder / "copy").read_text() for name, folder in fetched.items()} == {"out": "ababab"}
    assert [each["name"] for each in sdk.list_runs(deployment_name="copy_it", **where)] == [run["name"]]
    assert sdk.delete_deployment(deployment_name="copy_it", **where) == {"name": "copy-it"}
    assert sdk.get_run(run_name=run["name"], **where)["phase"] == "Succeeded"


def test_a_run_on_this_machine_has_the_digest_of_the_one_in_the_cluster(
    namespace: Namespace, store: Bucket, tmp_path: Path
) -> None:
    store.put("in/in.txt", b"ab")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "in.txt").write_bytes(b"ab")
    namespace.apply(function("copy", COPY, **DECLARED))
    given = {
        "pipeline_name": "copy", "parameters": {"times": 2}, "inputs": {"data": "store/paths/in"},
        "outputs": {"out": "store/paths/results"}, "namespace": namespace.name,
    }  # fmt: skip
    here = sdk.run(**given, local_execution=True, stores={"store": tmp_path})
    assert here["phase"] == "Succeeded", here
    there = sdk.wait(run_name=sdk.run(**given)["name"], timeout=120, namespace=namespace.name)
    assert there["phase"] == "Succeeded", there
    assert here["outputs"][0]["contentDigest"] == there["outputs"][0]["contentDigest"]
    assert namespace.list("jr")[0]["metadata"]["name"] == there["name"], "the local one left an object"
    assert len(namespace.list("jr")) == 1


def test_what_cannot_be_ready_is_refused_with_the_reason_and_is_not_there(namespace: Namespace, store: Bucket) -> None:
    namespace.apply(function("copy", COPY, **DECLARED))
    given = {"deployment_name": "nightly", "pipeline_name": "copy", "namespace": namespace.name}
    with pytest.raises(sdk.Refused, match=r"InputsNotMapped.*data, times"):
        sdk.create_deployment(**given, execution_rule="periodic", schedule="0 14 * * *")
    with pytest.raises(sdk.Refused, match="schedule goes with executionRule periodic"):
        sdk.create_deployment(**given, execution_rule="periodic")
    with pytest.raises(sdk.Refused, match="cron"):
        sdk.create_deployment(**given, execution_rule="periodic", schedule="0 0 32 * *")
    with pytest.raises(sdk.Refused, match="there is no Function cpy") as caught:
        sdk.create_deployment(**{**given, "pipeline_name": "cpy"}, execution_rule="manual")
    assert caught.value.hints == ("did you mean copy?",)
    assert namespace.list("mdep") == []


def test_it_works_where_an_event_loop_runs_already(namespace: Namespace) -> None:
    async def in_a_notebook() -> list[dict[str, object]]:
        return sdk.list_deployments(namespace=namespace.name)

    assert asyncio.run(in_a_notebook()) == []
