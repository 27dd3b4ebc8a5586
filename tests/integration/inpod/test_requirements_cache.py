"""Requirements once: the second start asks the index for nothing, and what the store keeps is checked, never trusted to be there."""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.inpod.index import Index, sdist, wheel
from integration.inpod.storage import ACCESS_KEY, SECRET_KEY, Bucket
from integration.inpod.support import Done, Pod, until

FOLDER = ".millrace/requirements/"
DEPS = "/millrace/ctl/deps"
NEEDS = ("Requires-Dist: helper",)


@pytest.fixture
def index() -> Iterator[Index]:
    index = Index(wheel("ready", "1.0", "VALUE = 41", *NEEDS), wheel("helper", "1.0", "VALUE = 1"))
    yield index
    index.stop()


class Starts:
    """Starts of one Function, each in a pod of its own."""

    def __init__(self, bucket: Bucket, index: Index, folder: Path) -> None:
        self.bucket, self.index, self._folder = bucket, index, folder
        self.requirements = ["ready"]
        self.pods: list[Pod] = []

    def pod(self, *, cached: bool = True) -> Pod:
        pod = Pod(Path(tempfile.mkdtemp(dir=self._folder)))
        self.pods.append(pod)
        pod.plan["code"]["requirements"] = self.requirements
        pod.plan["index"] = {"url": self.index.url, "ca": None}
        pod.plan["stores"] = [self.bucket.entry()]
        pod.plan["cache"] = {"store": 0} if cached else None
        pod.credentials = {"MILLRACE_STORE_0_ACCESS_KEY": ACCESS_KEY, "MILLRACE_STORE_0_SECRET_KEY": SECRET_KEY}
        return pod

    def stage(self) -> tuple[Pod, Done]:
        pod = self.pod()
        return pod, pod.begin("stage").wait()

    def good(self) -> Pod:
        pod, done = self.stage()
        assert done.code == 0, done.err
        return pod

    def listed(self) -> list[str]:
        found = self.bucket.client.list_objects(self.bucket.name, FOLDER, recursive=True)
        return sorted(str(item.object_name) for item in found)

    def key(self, part: str) -> str:
        (found,) = [key for key in self.listed() if part in key]
        return found

    def lock(self) -> list[str]:
        found: list[str] = json.loads(self.bucket.get(self.key("lock.json")))["lines"]
        return found


@pytest.fixture
def starts(minio: Bucket, index: Index, tmp_path: Path) -> Iterator[Starts]:
    starts = Starts(minio.fresh(), index, tmp_path)
    yield starts
    for pod in starts.pods:
        pod.end()


def installed(pod: Pod) -> set[str]:
    return {path.name.removesuffix(".dist-info") for path in pod.path(DEPS).glob("*.dist-info")}


def files(pod: Pod) -> dict[str, bytes]:
    deps = pod.path(DEPS)
    return {path.relative_to(deps).as_posix(): path.read_bytes() for path in deps.rglob("*") if path.is_file()}


def log(pod: Pod) -> str:
    return pod.text("/millrace/ctl/stage.log")


def test_the_second_start_asks_the_index_for_nothing_and_has_the_same_files(starts: Starts, bundle: Path) -> None:
    first = starts.good()
    assert starts.index.asked
    assert "kept in heart for the next start" in log(first)
    starts.index.asked.clear()
    second = starts.good()
    assert starts.index.asked == []
    assert installed(second) == {"ready-1.0", "helper-1.0"}
    assert files(first) == files(second)
    second.source("import ready, helper\ndef predict(): print(ready.VALUE, helper.VALUE)")
    assert second.start(bundle).wait().out == "41 1\n"


def test_a_start_whose_index_is_down_succeeds_from_the_store(starts: Starts) -> None:
    starts.good()
    starts.index.stop()
    assert installed(starts.good()) == {"ready-1.0", "helper-1.0"}


def test_another_function_with_the_same_requirements_shares_them_and_another_list_does_not(starts: Starts) -> None:
    starts.good()
    starts.index.asked.clear()
    other = starts.pod()
    other.plan["run"]["name"], other.plan["code"]["handler"] = "other", "main:other"
    assert other.begin("stage").wait().code == 0
    assert starts.index.asked == []
    starts.requirements = ["helper"]
    assert installed(starts.good()) == {"helper-1.0"}
    assert starts.index.asked != []


def test_bytecode_is_kept_and_used_where_the_source_is_read_only(starts: Starts, bundle: Path) -> None:
    starts.good()
    pod = starts.good()
    assert list(pod.path(DEPS).glob("__pycache__/ready.*.pyc"))
    # It is used as it is: with the source replaced, the compiled one still answers.
    pod.path(f"{DEPS}/ready.py").write_text("VALUE = 'read again'")
    pod.source("import ready\ndef predict(): print(ready.VALUE)")
    assert pod.start(bundle).wait().out == "41\n"


def test_a_python_version_that_stage_does_not_have_is_kept_without_bytecode(starts: Starts) -> None:
    for _ in range(2):
        pod = starts.pod()
        pod.plan["code"]["pythonVersion"] = "3.9"
        assert pod.begin("stage").wait().code == 0
        assert installed(pod) == {"ready-1.0", "helper-1.0"}
        assert not list(pod.path(DEPS).rglob("*.pyc"))
    assert "files, " in log(pod)


def damage_tree(starts: Starts, change: Callable[[bytes], bytes]) -> None:
    key = starts.key("/trees/")
    starts.bucket.put(key, change(starts.bucket.get(key)))


def flipped(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


def other_archive(_: bytes) -> bytes:
    import gzip

    return gzip.compress(bytes(1024))


@pytest.mark.parametrize(
    "change", [flipped, lambda data: data[:-20], lambda data: data + b"x", lambda _: b"", other_archive]
)
def test_a_damaged_archive_is_noticed_and_replaced_by_one_of_the_same_lock(
    starts: Starts, change: Callable[[bytes], bytes]
) -> None:
    before = files(starts.good())
    starts.index.files |= dict([wheel("ready", "2.0", "VALUE = 42")])
    damage_tree(starts, change)
    healing = starts.good()
    assert "is damaged and will be replaced" in log(healing)
    assert files(healing) == before
    starts.index.asked.clear()
    healed = starts.good()
    assert starts.index.asked == []
    assert files(healed) == before


@pytest.mark.parametrize(
    "part", ["tree.json", "/trees/", "lock.json"], ids=["no record", "no archive", "no lock, which is not asked for"]
)
def test_what_was_deleted_is_made_again(starts: Starts, part: str) -> None:
    before = files(starts.good())
    starts.bucket.client.remove_object(starts.bucket.name, starts.key(part))
    assert files(starts.good()) == before
    starts.index.asked.clear()
    assert files(starts.good()) == before
    assert starts.index.asked == []


@pytest.mark.parametrize("record", [b"", b"{}", b'{"lines": ["-r /proc/self/environ"], "sha256": "0"}', b"x" * (5 << 20)])
@pytest.mark.parametrize("name", ["tree.json", "lock.json"])
def test_a_damaged_record_fails_no_run(starts: Starts, name: str, record: bytes) -> None:
    starts.good()
    if name == "lock.json":
        starts.bucket.client.remove_object(starts.bucket.name, starts.key("tree.json"))
    key = f"{starts.key('lock.json').rpartition('/')[0]}/{name}"
    starts.bucket.put(key, record)
    assert installed(starts.good()) == {"ready-1.0", "helper-1.0"}
    if len(record) < 1 << 20:
        assert starts.bucket.get(key) != record
        starts.index.asked.clear()
        starts.good()
        assert starts.index.asked == []


def test_an_archive_that_leads_out_of_its_folder_is_refused(starts: Starts, tmp_path: Path) -> None:
    import gzip
    import hashlib
    import io
    import tarfile

    before = files(starts.good())
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("../escaped")
        archive.addfile(member)
    packed = gzip.compress(data.getvalue())
    digest = hashlib.sha256(packed).hexdigest()
    starts.bucket.put(f"{FOLDER}trees/{digest}.tar.gz", packed)
    tree = {"sha256": digest, "size": len(packed), "files": 9, "unpacked": 9999}
    starts.bucket.put(starts.key("tree.json"), json.dumps(tree).encode())
    pod = starts.good()
    assert "is damaged and will be replaced" in log(pod)
    assert not pod.path("/millrace/ctl/escaped").exists()
    assert files(pod) == before


def test_a_lock_stays_when_the_index_offers_a_newer_version(starts: Starts) -> None:
    starts.good()
    lock = starts.lock()
    assert [line.split()[0] for line in lock] == ["helper==1.0", "ready==1.0"]
    assert all("--hash=sha256:" in line for line in lock)
    starts.index.files |= dict([wheel("ready", "2.0", "VALUE = 42")])
    starts.bucket.client.remove_object(starts.bucket.name, starts.key("tree.json"))  # so that it is installed once more
    assert installed(starts.good()) == {"ready-1.0", "helper-1.0"}
    assert starts.lock() == lock
    for key in starts.listed():  # as docs/operations.md says
        starts.bucket.client.remove_object(starts.bucket.name, key)
    assert "ready-2.0" in installed(starts.good())


def test_a_file_that_the_index_replaces_under_its_name_is_not_installed_from_a_lock(starts: Starts) -> None:
    starts.good()
    starts.bucket.client.remove_object(starts.bucket.name, starts.key("tree.json"))
    starts.index.files |= dict([wheel("ready", "1.0", "VALUE = 'another'", *NEEDS)])
    _, done = starts.stage()
    assert (done.code, done.message["reason"]) == (246, "RequirementsFailed")
    assert "ash mismatch" in done.message["message"] or "no matching hash" in done.message["message"].lower()


def test_of_two_first_starts_the_second_takes_the_lock_of_the_first(starts: Starts) -> None:
    """The other start's lock appears after this one has looked for it, and while it resolves to a newer version."""
    starts.good()
    key = starts.key("lock.json")
    first = starts.bucket.get(key)
    for found in starts.listed():
        starts.bucket.client.remove_object(starts.bucket.name, found)
    starts.index.files |= dict([wheel("ready", "2.0", "VALUE = 42")])
    starts.index.before = lambda path: starts.bucket.put(key, first)
    assert installed(starts.good()) == {"ready-1.0", "helper-1.0"}
    assert starts.bucket.get(key) == first


def test_many_first_starts_at_once_all_succeed_and_leave_one_tree(starts: Starts) -> None:
    begun = [starts.pod().begin("stage") for _ in range(5)]
    assert [program.wait(60).code for program in begun] == [0] * 5
    assert len({json.dumps(sorted(map(str, files(pod).items()))) for pod in starts.pods}) == 1
    starts.index.asked.clear()
    starts.good()
    assert starts.index.asked == []


def test_hashes_that_came_with_a_requirement_are_the_ones_that_count(starts: Starts) -> None:
    starts.requirements = ["ready==1.0 --hash=sha256:" + "0" * 64]
    _, done = starts.stage()
    assert (done.code, done.message["reason"]) == (246, "RequirementsFailed")
    assert "ash mismatch" in done.message["message"]
    assert not [key for key in starts.listed() if "trees" in key or "tree.json" in key]


@pytest.mark.parametrize("requirements", [["ready>=3"], ["ready==1.0", "ready==2.0"]])
def test_what_cannot_be_resolved_fails_as_without_a_cache_and_keeps_nothing(starts: Starts, requirements: list[str]) -> None:
    starts.requirements = requirements
    _, done = starts.stage()
    plain = starts.pod(cached=False).begin("stage").wait()
    assert (done.code, done.message) == (plain.code, plain.message)
    assert done.code == 246
    assert starts.listed() == []


def test_what_must_be_built_fails_as_without_a_cache(starts: Starts) -> None:
    starts.index.files |= dict([sdist("built", "1", "raise SystemExit")])
    starts.requirements = ["built"]
    _, done = starts.stage()
    assert (done.code, done.message["reason"]) == (247, "NeedsBuild")
    assert done.message["message"].startswith("built ")


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes every connection and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_says_nothing_costs_seconds_and_not_the_run(starts: Starts, silent: str) -> None:
    pod = starts.pod()
    pod.plan["stores"][0]["s3"]["endpoint"] = silent
    began = time.monotonic()
    done = pod.begin("stage").wait(60)
    assert (done.code, installed(pod)) == (0, {"ready-1.0", "helper-1.0"}), done.err
    assert time.monotonic() - began < 20
    assert "the store is left alone" in log(pod)


def test_a_store_that_is_away_costs_seconds_and_not_the_run(starts: Starts, tmp_path: Path, minio: Bucket) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        pod = starts.pod()
        pod.plan["stores"][0]["s3"]["endpoint"] = f"http://127.0.0.1:{unused.getsockname()[1]}"
        began = time.monotonic()
        done = pod.begin("stage").wait(60)
    assert (done.code, installed(pod)) == (0, {"ready-1.0", "helper-1.0"}), done.err
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("trouble", ["no keys", "wrong keys", "no bucket", "no authority", "no store"])
def test_without_a_store_that_can_be_used_the_run_goes_on_and_the_log_says_why(starts: Starts, trouble: str) -> None:
    pod = starts.pod()
    says = "left alone"
    match trouble:
        case "no keys":
            pod.credentials, says = {}, "its Secret has no access_key"
        case "wrong keys":
            pod.credentials["MILLRACE_STORE_0_SECRET_KEY"] = "wrong-secret-canary"
        case "no bucket":
            pod.plan["stores"][0]["s3"]["bucket"] = "nowhere"
        case "no authority":
            pod.plan["stores"][0]["ca"], says = "/millrace/ca/0/ca.crt", "cannot be read"
        case "no store":
            pod.plan["cache"], says = None, "no default store that is ready"
    done = pod.begin("stage").wait()
    assert (done.code, installed(pod)) == (0, {"ready-1.0", "helper-1.0"}), done.err
    assert says in log(pod)
    assert "wrong-secret-canary" not in done.out + done.err


def test_keys_that_may_only_read_use_what_is_kept_and_keep_nothing(starts: Starts) -> None:
    starts.good()
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": ["*"]},
                "Action": ["s3:GetObject"],
                "Resource": [f"arn:aws:s3:::{starts.bucket.name}/*"],
            }
        ],
    }
    starts.bucket.client.set_bucket_policy(starts.bucket.name, json.dumps(policy))
    before = starts.listed()
    starts.index.asked.clear()
    for requirements, asked in ((["ready"], False), (["helper"], True)):
        starts.requirements = requirements
        pod = starts.pod()
        pod.plan["stores"][0]["credentials"] = False
        pod.credentials = {}
        assert pod.begin("stage").wait().code == 0
        assert bool(starts.index.asked) == asked
    assert starts.listed() == before
    assert "left alone" in log(pod)


def test_no_key_of_the_store_reaches_uv(starts: Starts) -> None:
    files = starts.index.url.replace("/simple/", "/files/")
    starts.requirements = [f"ready @ {files}${{MILLRACE_STORE_0_SECRET_KEY}}/ready-1.0-py3-none-any.whl"]
    starts.stage()
    assert starts.index.asked
    assert not [path for path in starts.index.asked if SECRET_KEY in path]


def test_a_pod_that_is_stopped_leaves_no_archive_half_written(starts: Starts) -> None:
    """SIGTERM while uv asks: nothing is kept, and the next start works."""
    starts.index.before = lambda path: time.sleep(2)
    pod = starts.pod()
    program = pod.begin("stage")
    until(lambda: starts.index.asked, "uv asks")
    program.process.terminate()
    assert program.wait().code == 244
    starts.index.before = lambda path: None
    assert installed(starts.good()) == {"ready-1.0", "helper-1.0"}
