"""What millrace convert prints is what kubectl applies: the golden files of tests/golden/convert, on a real API server."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.apiserver import ApiServer

MANIFESTS = sorted((Path(__file__).resolve().parents[2] / "golden" / "convert").glob("*.manifests.yaml"))


@pytest.fixture(scope="module")
def lab(api: ApiServer) -> ApiServer:
    api.namespace("lab")
    return api


def test_there_are_conversions() -> None:
    assert len(MANIFESTS) >= 3


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name.partition(".")[0])
def test_kubectl_applies_what_was_converted(lab: ApiServer, path: Path) -> None:
    done = lab.kubectl("apply", "-n", "lab", "--validate=strict", "-f", "-", stdin=path.read_text())
    assert done.returncode == 0, done.stderr
    for manifest in yaml.safe_load_all(path.read_text()):
        kind = {"JobRun": "jobruns", "DataAsset": "dataassets"}[manifest["kind"]]
        assert lab.admin.get(kind, "lab", manifest["metadata"]["name"])["spec"] == manifest["spec"]
