"""An operator that the kernel kills for lack of memory."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import yaml

from integration.operator.rig import PATIENCE, Rig
from support.apiserver import ROOT
from support.memory import MemoryGroup

LIMIT = int(
    yaml.safe_load((ROOT / "helm/millrace/values.yaml").read_text())["resources"]["limits"]["memory"].removesuffix("Mi")
)


@contextmanager
def killed_for_memory(rig: Rig, megabytes: int) -> Iterator[None]:
    """It was started with so little, and has been killed. What is started next has the chart's limit, and lives at the end."""
    group = MemoryGroup(megabytes)
    try:
        rig.prefix = group.prefix()
        rig.start(ready=False)
        assert rig.process.wait(PATIENCE) == -signal.SIGKILL
        assert group.kills() == 1
        group.limit(LIMIT)
        yield
        assert group.kills() == 1
        assert rig.process.poll() is None
    finally:
        rig.kill()
        group.end()
