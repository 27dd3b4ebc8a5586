"""A store that is away while inputs are staged and while outputs are uploaded; a disk that is full (F28, F29, F30).

The store is a MinIO server of the test's own, which is killed and started again on the same data. The budgets of the
contract, hours in life, are seconds here.
"""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.inpod.storage import ACCESS_KEY, SECRET_KEY, Bucket, MinioServer
from integration.inpod.support import Ended, Pod, until

Run = Callable[..., Ended]
Note = Callable[[str, object], None]
AWAY = 8.0  # seconds; the pauses between two tries have grown by then
LONGEST = 15.0  # until all is done after the store is back: the longest pause between two tries is 10 s
CSV = b"age,sex\n" * 100_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MinioServer]:
    """A MinIO of this test's own."""
    tool = subprocess.run(["hack/cluster", "tool", "minio"], stdout=subprocess.PIPE, text=True, check=True)
    made = MinioServer(tool.stdout.split()[-1], tmp_path / "minio")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def own(pod: Pod, server: MinioServer) -> Bucket:
    """The pod with that store and its keys."""
    bucket = server.bucket().fresh()
    bucket.put("heart/a.csv", CSV)
    pod.plan["stores"] = [bucket.entry()]
    pod.credentials = {"MILLRACE_STORE_0_ACCESS_KEY": ACCESS_KEY, "MILLRACE_STORE_0_SECRET_KEY": SECRET_KEY}
    return bucket


def entry(key: str, name: str = "data", path: str = "/millrace/in") -> dict[str, object]:
    return {"name": name, "type": "uri_folder", "store": 0, "key": key, "path": path, "stage": True}


def test_inputs_are_staged_when_the_store_is_back(pod: Pod, own: Bucket, server: MinioServer, record_property: Note) -> None:
    pod.plan["inputs"] = [entry("heart")]
    server.stop()
    stage = pod.begin("stage")
    until(lambda: pod.path("/millrace/ctl/lock").exists(), "stage at work")
    time.sleep(AWAY)  # the outage itself
    assert stage.process.poll() is None, "it waits"
    server.start()
    back = time.monotonic()
    done = stage.wait()
    seconds = time.monotonic() - back
    record_property("recovery_seconds", round(seconds, 1))
    assert done.code == 0, done.err
    assert pod.path("/millrace/in/a.csv").read_bytes() == CSV
    assert done.message["inputs"][0]["bytes"] == len(CSV)
    assert seconds < LONGEST


def test_staging_ends_with_its_budget_when_the_store_stays_away(pod: Pod, own: Bucket, server: MinioServer) -> None:
    server.stop()
    pod.plan["inputs"] = [entry("heart")]
    pod.plan["limits"]["staging"] = 4
    began = time.monotonic()
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"], done.message["input"]) == (248, "Unreachable", "data")
    assert own.server.endpoint.removeprefix("http://") in done.message["message"]
    assert time.monotonic() - began < 4 + 5
    server.start()


@pytest.mark.parametrize("moment", ["before-the-first-byte", "between-two-parts"])
def test_outputs_are_published_when_the_store_is_back(
    pod: Pod, own: Bucket, server: MinioServer, run: Run, record_property: Note, moment: str
) -> None:
    """User code is over; nothing of it is run again."""
    pod.output()
    pod.seal()
    collect = pod.begin("collect")
    if moment == "before-the-first-byte":
        server.stop()
    source = "import os\ndef predict():\n    for n in range(12): open(f'../out/data/{n}', 'wb').write(os.urandom(8_000_000))"
    assert run(source).code == 0
    if moment == "between-two-parts":
        until(lambda: own.uploads("o/scores.zip"), "the upload has begun")
        server.stop()
    time.sleep(AWAY)  # the outage itself
    assert collect.process.poll() is None, "it waits"
    server.start()
    back = time.monotonic()
    assert own.keys("o/") == set(), "nothing was published before"
    done = collect.wait(60)
    seconds = time.monotonic() - back
    record_property("recovery_seconds", round(seconds, 1))
    assert done.code == 0, done.err
    members = own.zip("o/scores.zip")
    assert {name: len(data) for name, data in members.items()} == {str(n): 8_000_000 for n in range(12)}
    assert own.uploads("o/scores.zip") == []
    assert seconds < LONGEST


@pytest.fixture
def small(pod: Pod) -> Iterator[Callable[[str, int], Path]]:
    """Makes a folder of the pod a disk of its own with that many bytes."""
    mounted: list[Path] = []

    def make(path: str, size: int) -> Path:
        folder = pod.path(path)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=777", "tmpfs", str(folder)]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            pytest.skip("no right to mount here")
        mounted.append(folder)
        return folder

    yield make
    pod.end()
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_input_that_does_not_fit_on_the_disk_says_how_much_it_needs(
    pod: Pod, stored: Bucket, small: Callable[[str, int], Path]
) -> None:
    stored.put("big/a.csv", bytes(6_000_000))
    pod.plan["inputs"] = [entry("big")]
    folder = small("/millrace/in", 1 << 20)
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"], done.message["input"]) == (248, "NoSpace", "data")
    assert "6000000 bytes needed, 1048576 bytes are free" in done.message["message"]
    assert list(folder.iterdir()) == []


def test_inputs_that_fit_one_by_one_and_not_together_end_staging(
    pod: Pod, stored: Bucket, small: Callable[[str, int], Path]
) -> None:
    for name in "abc":
        stored.client.put_object(stored.name, f"{name}/x", io.BytesIO(bytes(6_000_000)), 6_000_000)
    pod.plan["inputs"] = [entry(name, name, f"/millrace/in/{name}") for name in "abc"]
    small("/millrace/in", 13_000_000)
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (248, "NoSpace"), done.err
    assert done.message["input"] in {"a", "b", "c"}


def test_an_output_disk_that_is_full_is_zipped_and_published(
    pod: Pod, stored: Bucket, run: Run, small: Callable[[str, int], Path]
) -> None:
    """The zip is a stream: it needs no disk, and what user code had written is kept."""
    for path in ("/millrace/out", "/tmp"):
        small(path, 4 << 20)
    pod.path("/millrace/out/data").mkdir(mode=0o777)
    pod.output(when="OnFailure")
    pod.seal()
    pod.path("/tmp/full").write_bytes(bytes(4 << 20))
    collect = pod.begin("collect")
    ended = run(
        "import os\ndef predict():\n    open('../out/data/x', 'wb', buffering=0).write(os.urandom(1 << 20))\n"
        "    while True: open('../out/data/y', 'ab', buffering=0).write(os.urandom(1 << 16))"
    )
    assert ended.code == 1
    assert "No space left on device" in ended.message["message"]
    done = collect.wait()
    assert done.code == 0, done.err
    members = stored.zip("o/scores.zip")
    assert len(members["x"]) == 1 << 20
    assert len(members["x"]) + len(members["y"]) <= 4 << 20
    assert os.statvfs(pod.path("/millrace/out")).f_bavail == 0
