"""Real memory limits: who is killed, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.inpod.storage import Bucket
from integration.inpod.support import Ended, Pod
from support.memory import MemoryGroup

Run = Callable[..., Ended]
COLLECT_MEGABYTES = 96  # the limit of collect's container


@pytest.fixture
def limited(pod: Pod) -> Iterator[Callable[[int], MemoryGroup]]:
    groups: list[MemoryGroup] = []

    def make(megabytes: int) -> MemoryGroup:
        try:
            groups.append(MemoryGroup(megabytes))
        except OSError as error:
            pytest.skip(f"no memory groups here: {error}")
        return groups[-1]

    yield make
    pod.end()
    for group in groups:
        group.end()


def test_user_code_that_takes_too_much_is_oom_killed_and_its_partial_output_kept(
    pod: Pod, stored: Bucket, bundle: Path, limited: Callable[[int], MemoryGroup]
) -> None:
    pod.output("partial", when="OnFailure")
    pod.seal()
    pod.source(
        "def predict():\n    open('../out/data/x', 'w').write('x')\n    print('began')\n"
        "    kept = []\n    while True: kept.append(bytearray(b'x') * 10_000_000)"
    )
    collect = pod.begin("collect")
    ended = pod.start(bundle, contained=True, group=limited(60)).wait()
    assert (ended.code, ended.record["reason"], ended.message["reason"]) == (137, "OOMKilled", "OOMKilled")
    assert ended.message["logTail"] == "began\n"
    assert collect.wait().code == 0
    assert stored.zip("o/partial.zip") == {"x": b"x"}


def test_collect_stays_below_its_limit(pod: Pod, stored: Bucket, run: Run, limited: Callable[[int], MemoryGroup]) -> None:
    for name in ("a", "b"):
        pod.output(name, f"/millrace/out/data/{name}")
    pod.plan["logs"] = {"store": 0, "prefix": "logs/"}
    pod.seal()
    group = limited(COLLECT_MEGABYTES)
    collect = pod.begin("collect", group)
    source = """
import os
def predict():
    for folder in ('../out/data/a/', '../out/data/b/'):
        with open(folder + 'big', 'wb') as file:
            for _ in range(16): file.write(os.urandom(4_000_000))
        for number in range(2000): open(folder + str(number), 'w').write('x' * 1000)
    print('x' * 1_000_000)
"""
    assert run(source).code == 0
    done = collect.wait(60)
    assert (done.code, [output["files"] for output in done.message["outputs"]]) == (0, [2001, 2001]), done.err
    assert group.kills() == 0


def test_a_collect_that_has_too_little_memory_says_so_in_the_end(
    pod: Pod, stored: Bucket, run: Run, limited: Callable[[int], MemoryGroup]
) -> None:
    pod.plan["limits"]["uploading"] = 2
    pod.output()
    pod.seal()
    group = limited(24)
    collect = pod.begin("collect", group)
    assert run("def predict(): pass").code == 0
    done = collect.wait()
    assert (done.code, done.message["reason"]) == (242, "UploadFailed"), done.err
    assert "killed by signal 9" in done.message["message"]
    assert group.kills() > 1
