"""Inputs at web addresses that are not for runs (S13). What is fetched: alone/test_web_inputs.py."""

from __future__ import annotations

import pytest

from support.cluster import Namespace, function, job_run

REFUSED = {
    "the API server by name": ("https://kubernetes.default.svc.cluster.local/api", "a name inside of the cluster"),
    "metadata": ("https://169.254.169.254/latest/meta-data/", "169.254.169.254 is a link-local address"),
    "the pod itself": ("https://127.0.0.1:10250/pods", "127.0.0.1 is a loopback address"),
    "a number in disguise": ("https://2130706433/", "four decimals"),
}


@pytest.mark.parametrize(("uri", "why"), REFUSED.values(), ids=REFUSED)
def test_addresses_inside_of_the_cluster_are_refused(namespace: Namespace, uri: str, why: str) -> None:
    inputs = [{"name": "data", "type": "uri_file", "uri": f"{uri.rstrip('/')}/a"}]
    namespace.apply(function("show", "def main(data): raise SystemExit(1)"), job_run("show-1", "show", inputs=inputs))
    status = namespace.finished("show-1")
    assert (status["failure"]["reason"], status["failure"]["container"]) == ("StageFailed", "stage"), status
    assert why in status["failure"]["message"]
