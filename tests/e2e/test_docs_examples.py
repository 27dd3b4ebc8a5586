"""Every manifest of the documentation is what the API server takes; those marked runnable really run.

A fenced yaml block is one or more objects. `<!-- runnable: PHASE -->` in front of it: its JobRuns end in that phase, with a
bucket that holds what the manifests name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from support.cluster import Namespace
from support.store import Bucket, install, root_keys, zipped

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
FENCE = re.compile(r"(?:^<!-- runnable: (?P<phase>\w+) -->\n)?^```yaml\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SALES = b"item,count\ntea,2\nmilk,1\n"
DATA = {
    "2026/01/north.csv": SALES,
    "2026/01/south.csv": SALES,
    "2026/02/north.csv": SALES,
    "2026/02/notes.txt": b"no table\n",
    "code/heart.zip": zipped({"heart/__init__.py": b"", "heart/model.py": b"def score(value):\n    print(7 * value)\n"}),
    "master/prices.csv": b"item,price\ntea,3.5\nmilk,1.2\n",
}


class Example(NamedTuple):
    """One block or file of manifests."""

    name: str
    text: str
    phase: str | None = None


def examples() -> list[Example]:
    """All blocks of the pages, and the files of examples/."""
    found = []
    for page in PAGES:
        for match in FENCE.finditer(page.read_text()):
            line = page.read_text().count("\n", 0, match.start()) + 1
            found.append(Example(f"{page.relative_to(ROOT)}:{line}", match["text"], match["phase"]))
    found += [Example(str(path.relative_to(ROOT)), path.read_text()) for path in sorted((ROOT / "examples").rglob("*.yaml"))]
    return found


EXAMPLES = examples()
RUNNABLE = [example for example in EXAMPLES if example.phase]


def identity(example: Example) -> str:
    return example.name


def test_there_are_examples_and_some_of_them_run() -> None:
    """Were the fences or the marks written in another way, the tests below would pass for nothing."""
    assert len(EXAMPLES) >= 8
    assert {example.name.partition(":")[0] for example in RUNNABLE} >= {"README.md", "docs/concepts.md", "docs/jobrun.md"}


@pytest.mark.parametrize("example", EXAMPLES, ids=identity)
def test_the_api_server_takes_it(namespace: Namespace, example: Example) -> None:
    documents = [document for document in yaml.safe_load_all(example.text) if document]
    assert documents
    for document in documents:
        assert {"apiVersion", "kind", "metadata"} <= set(document), (
            "a yaml block is a manifest; other texts have no language or another one"
        )
    said = namespace.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=example.text)
    assert len(said.splitlines()) == len(documents)
    assert "unchanged" not in said


@pytest.mark.parametrize("example", RUNNABLE, ids=identity)
def test_it_runs(namespace: Namespace, bucket: Bucket, example: Example) -> None:
    for key, data in DATA.items():
        bucket.put(key, data)
    keys = root_keys()
    text = example.text.replace("bucket: sales", f"bucket: {bucket.name}")
    text = text.replace("ACCESS_KEY", keys["access_key"]).replace("SECRET_KEY", keys["secret_key"])
    if "kind: DataStore" not in text:
        install(namespace, bucket)  # a block without a store of its own assumes that there is a default one
    namespace.kubectl("apply", "-f", "-", stdin=text)
    documents = list(yaml.safe_load_all(text))
    deployments = {found["metadata"]["name"]: found["spec"] for found in documents if found["kind"] == "Deployment"}
    for document in documents:
        if document["kind"] == "JobRun":
            status = namespace.finished(document["metadata"]["name"])
            assert status["phase"] == example.phase, status
            named = document["spec"].get("deploymentRef", {}).get("name")
            check_outputs(document["spec"], deployments.get(named, {}), status, bucket)


def check_outputs(spec: dict[str, Any], deployment: dict[str, Any], status: dict[str, Any], bucket: Bucket) -> None:
    """Each output that is uploaded stands in the status and is in the bucket."""
    uploaded = {output["name"] for output in spec.get("outputs", []) if "href" not in output}
    uploaded |= {found["output"] for found in deployment.get("outputsMapping", []) if "void" not in found}
    found = {output["name"]: output["uri"] for output in status.get("outputs", [])}
    assert set(found) == uploaded
    for uri in found.values():
        assert bucket.names(uri.removeprefix(f"s3://{bucket.name}/")), uri
