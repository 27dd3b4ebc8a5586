"""How often the operator writes."""

from __future__ import annotations

from collections import Counter

import pytest

from integration.operator.kubelet import Pod, succeed
from integration.operator.rig import operator, patiently
from support.apiserver import ApiServer


@pytest.mark.timed
def test_phases_that_are_over_at_once_are_not_written(api_server: ApiServer) -> None:
    with operator(api_server) as rig:
        rig.function()
        rig.run("first")  # which makes its revision's ConfigMap
        succeed(rig, "first")
        rig.phase("first", "Succeeded")
        rig.run("short")
        pod = Pod(rig, "short").scheduled().running("stage").write()
        pod.ended("stage").running().running("collect").write()
        pod.ended().write()
        pod.ended("collect").over().write()
        rig.phase("short", "Succeeded")
        patiently("the Job is complete", lambda: rig.job("short")["status"].get("completionTime"))
        rig.run("later")  # by its end what the Job's last changes asked for has been done
        succeed(rig, "later")
        rig.phase("later", "Succeeded")
        told = [found for found in rig.proxy.log if found.resource == "jobruns/status" and found.name == "short"]
        assert [found.object["status"].get("phase") for found in told] == ["Pending", "Succeeded"]
        posts = [found for found in rig.proxy.log if found.verb == "create" and b'"short"' in found.body]
        made = Counter(found.resource for found in posts)
        assert made["jobs"] == 1
        assert made["events"] <= 4
        assert set(made) == {"jobs", "events"}
