"""The publish protocol: whatever dies or is lost between two steps, one version is left and no upload."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.data.servers import Proxy
from integration.data.witnesses import ON_EACH, AnyBucket
from integration.data.worker import FOLDER_KEY, ZIP_KEY
from millrace.data import Attempt, DataError, PendingOutput, Published, abort, commit, publish, take_over, upload_output
from millrace.data.failpoints import VARIABLE
from millrace.data.model import Outcome
from support.waiting import wait_for

WORKER = Path(__file__).with_name("worker.py")
MANIFEST_KEY = FOLDER_KEY + "manifest.json"
BOTH = (ZIP_KEY, MANIFEST_KEY)
FIRST = [  # every point that a first attempt passes, and whether its record stands by then
    ("intent-written", False),
    ("upload-created", False),
    ("upload-recorded", False),
    ("parts-sent", False),
    ("before-commit-record", False),
    ("after-commit-record", True),
    ("completed-a", True),
    ("completed-b", True),
    ("after-complete", True),
]
numbers = itertools.count(1)


def make_tree(folder: Path, mark: str) -> Path:
    """A tree whose content tells which attempt published it."""
    root = folder / mark
    (root / "sub").mkdir(parents=True)
    (root / "mark.txt").write_text(mark)
    (root / "sub" / "rows.csv").write_bytes(b"%d,%s\n" % (1, mark.encode()) * 50_000)
    return root


def new_uid() -> str:
    return f"uid-{os.getpid()}-{next(numbers)}"


def outputs(tree: Path) -> list[dict[str, Any]]:
    return [
        {"name": "a", "path": str(tree), "store": 0, "key": ZIP_KEY, "archive": "Zip"},
        {"name": "b", "path": str(tree), "store": 0, "key": FOLDER_KEY, "archive": "None"},
    ]


def start(bucket: AnyBucket, uid: str, number: int, tree: Path, failpoint: str = "", **more: Any) -> subprocess.Popen[str]:
    task = {
        "entry": bucket.entry(),
        "keys": [bucket.keys_of_store.access_key, bucket.keys_of_store.secret_key],
        "uid": uid,
        "attempt": number,
        "tree": str(tree),
        **more,
    }
    environment = {**os.environ, VARIABLE: failpoint, "PYTHONPATH": str(WORKER.parents[3] / "operator")}
    command = [sys.executable, str(WORKER), json.dumps(task)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def asleep(bucket: AnyBucket, uid: str, tree: Path, failpoint: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """The first attempt, which has got to the failpoint and goes on from there at the end."""
    gate = tree.with_name("gate")
    process = start(bucket, uid, 1, tree, f"{failpoint}=hold:{gate}", **more)
    try:
        wait_for("it has got there", gate.exists)
        yield process
        gate.unlink()
    except BaseException:
        process.kill()
        process.communicate()
        raise


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=100)
    assert process.returncode in (0, 3), err
    answer: dict[str, Any] = json.loads(out)
    return answer


def assert_published(
    bucket: AnyBucket, answer: dict[str, Any], mark: str, *, versions: int = 1, given_up: bool = False
) -> None:
    """The oracle: what was reported is what can be read, it is of one attempt, and nothing is left over."""
    zipped, folder = answer["outputs"]
    data = bucket.get(ZIP_KEY)
    assert hashlib.sha256(data).hexdigest() == zipped["sha256"]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("mark.txt").decode() == mark
    manifest = bucket.get(MANIFEST_KEY)
    assert hashlib.sha256(manifest).hexdigest() == folder["sha256"]
    for entry in json.loads(manifest)["files"]:
        assert hashlib.sha256(bucket.get(FOLDER_KEY + entry["path"])).hexdigest() == entry["sha256"]
    assert folder["content_digest"] == zipped["content_digest"] == json.loads(manifest)["contentDigest"]
    assert [bucket.versions(key) for key in BOTH] == [versions, versions]
    assert bucket.uploads(*BOTH) == [] or (given_up and not bucket.aborts)


@ON_EACH
@pytest.mark.parametrize(("point", "recorded"), FIRST)
def test_a_first_attempt_that_is_killed(bucket: AnyBucket, tmp_path: Path, point: str, recorded: bool) -> None:
    uid = new_uid()
    one, two = make_tree(tmp_path, "one"), make_tree(tmp_path, "two")
    first = start(bucket, uid, 1, one, f"{point}=kill")
    first.communicate(timeout=100)
    assert first.returncode == -9
    if not recorded:
        assert bucket.versions(ZIP_KEY) == 0, "an upload was visible before its record stood"
        answer = result(start(bucket, uid, 2, two))
        assert_published(bucket, answer, "two")
    else:
        answer = result(start(bucket, uid, 2, one))  # the same content: files of an output without archive lie there already
        assert_published(bucket, answer, "one")
        assert {output["attempt"] for output in answer["outputs"]} == {1}


SECOND = [
    ("fence-written-1", "parts-sent", 2),
    ("stale-aborted-1", "parts-sent", 2),
    ("before-commit-record", "upload-created", 2),
    ("after-commit-record", "intent-written", 2),
    ("fence-written-1", "after-commit-record", 1),
    ("completed-a", "after-commit-record", 1),
    ("rolled-forward-1", "after-commit-record", 1),
]


@ON_EACH
@pytest.mark.parametrize(("point", "first_point", "winner"), SECOND)
def test_a_second_attempt_that_is_killed_too(
    bucket: AnyBucket, tmp_path: Path, point: str, first_point: str, winner: int
) -> None:
    """`winner` is the attempt whose record stands, or, where none does, the second one whose place the third takes."""
    uid = new_uid()
    trees = [make_tree(tmp_path, mark) for mark in ("one", "two", "three")]
    start(bucket, uid, 1, trees[0], f"{first_point}=kill").communicate(timeout=100)
    tree = trees[0] if winner == 1 else trees[1]
    second = start(bucket, uid, 2, tree, f"{point}=kill")
    second.communicate(timeout=100)
    assert second.returncode == -9
    stands = winner == 1 or point == "after-commit-record"
    third = tree if stands else trees[2]
    assert_published(bucket, result(start(bucket, uid, 3, third)), third.name)


def attempt_of(bucket: AnyBucket, uid: str, number: int, address: str | None = None) -> Attempt:
    return Attempt(run_uid=uid, number=number, stores={0: bucket.store(address)}, record=0)


def publish_all(attempt: Attempt, tree: Path, outcome: Outcome = "success", seconds: float = 60) -> list[Published]:
    deadline = time.monotonic() + seconds
    pending = [upload_output(attempt, output, deadline=deadline) for output in outputs(tree)]
    return commit(attempt, outcome, pending, deadline=deadline)


def as_answer(published: list[Published]) -> dict[str, Any]:
    return {"outputs": [{field: getattr(output, field) for field in Published.__slots__} for output in published]}


STEPS = [
    ("PUT", "uploads.json"),
    ("POST", f"{ZIP_KEY}?uploads"),
    ("PUT", f"{ZIP_KEY}?partNumber"),
    ("PUT", "files/b/mark.txt"),
    ("PUT", "files/b/sub/rows.csv"),
    ("PUT", "commit.json"),
    ("POST", f"{ZIP_KEY}?uploadId"),
    ("POST", f"{MANIFEST_KEY}?uploadId"),
]


@pytest.mark.parametrize("action", ["drop", "refuse", "answer", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_each_answer_lost_once(bucket: AnyBucket, proxy: Proxy, tmp_path: Path, step: tuple[str, str], action: str) -> None:
    """Lost before or after the server did it, or answered with 500 before or after: one attempt gets through alone."""
    rule = proxy.on(*step, action, status=500, times=2)
    published = publish_all(attempt_of(bucket, new_uid(), 1, proxy.address), make_tree(tmp_path, "one"))
    assert rule.seen > 1, "the rule never matched"
    assert_published(bucket, as_answer(published), "one")


ERROR = b'<?xml version="1.0"?><Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>'


@pytest.mark.parametrize("action", ["answer", "after"])
def test_complete_that_answers_200_with_an_error(bucket: AnyBucket, proxy: Proxy, tmp_path: Path, action: str) -> None:
    proxy.on("POST", f"{ZIP_KEY}?uploadId", action, status=200, body=ERROR, times=3)
    published = publish_all(attempt_of(bucket, new_uid(), 1, proxy.address), make_tree(tmp_path, "one"))
    assert_published(bucket, as_answer(published), "one")


def test_complete_that_never_works_is_no_success(bucket: AnyBucket, proxy: Proxy, tmp_path: Path) -> None:
    proxy.on("POST", f"{ZIP_KEY}?uploadId", "answer", status=200, body=ERROR, times=10_000)
    uid, tree = new_uid(), make_tree(tmp_path, "one")
    with pytest.raises(DataError):
        publish_all(attempt_of(bucket, uid, 1, proxy.address), tree, seconds=4)
    assert bucket.versions(ZIP_KEY) == 0
    assert_published(bucket, result(start(bucket, uid, 2, tree)), "one")


def test_a_part_that_is_damaged_on_its_way(bucket: AnyBucket, proxy: Proxy, tmp_path: Path) -> None:
    rules = [proxy.on("PUT", part, "damage-request") for part in (f"{ZIP_KEY}?partNumber", "mark.txt", "rows.csv")]
    published = publish_all(attempt_of(bucket, new_uid(), 1, proxy.address), make_tree(tmp_path, "one"))
    assert all(rule.seen > 1 for rule in rules)
    assert_published(bucket, as_answer(published), "one")


def test_one_part_in_three_fails(bucket: AnyBucket, proxy: Proxy, tmp_path: Path) -> None:
    """The parts that arrived are not sent again."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "mark.txt").write_text("one")
    (tree / "random").write_bytes(os.urandom(60 << 20))
    for skip in range(0, 9, 3):
        proxy.on("PUT", f"{ZIP_KEY}?partNumber", "refuse", skip=skip)
    attempt = attempt_of(bucket, new_uid(), 1, proxy.address)
    deadline = time.monotonic() + 60
    pending = upload_output(attempt, outputs(tree)[0], deadline=deadline)
    commit(attempt, "success", [pending], deadline=deadline)
    sent = [path for method, path in proxy.requests if method == "PUT" and "partNumber" in path]
    assert len(pending.parts) == 8
    assert len(sent) == 8 + 3
    assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == pending.sha256


def test_a_store_that_is_away_for_a_while(bucket: AnyBucket, proxy: Proxy, tmp_path: Path) -> None:
    proxy.down = True
    threading.Timer(3, lambda: setattr(proxy, "down", False)).start()
    published = publish_all(attempt_of(bucket, new_uid(), 1, proxy.address), make_tree(tmp_path, "one"))
    assert_published(bucket, as_answer(published), "one")


def test_an_upload_whose_answer_was_lost_in_an_outage_is_aborted(bucket: AnyBucket, proxy: Proxy, tmp_path: Path) -> None:
    """The note with its intent is written again when the store is back, long after that upload was begun."""
    lost = proxy.on("POST", f"{ZIP_KEY}?uploads", "drop")
    away = proxy.on("POST", f"{ZIP_KEY}?uploads", "refuse", times=10_000)
    threading.Timer(5, lambda: proxy.rules.remove(away)).start()
    published = publish_all(attempt_of(bucket, new_uid(), 1, proxy.address), make_tree(tmp_path, "one"))
    assert lost.seen > 2, "the store was away"
    assert_published(bucket, as_answer(published), "one")


@ON_EACH
@pytest.mark.parametrize("round_", range(6))
def test_two_attempts_commit_at_the_same_instant(bucket: AnyBucket, tmp_path: Path, round_: int) -> None:
    uid = new_uid()
    barrier = threading.Barrier(2)
    answers: dict[int, list[Published] | DataError] = {}
    trees = {n: make_tree(tmp_path, str(n)) for n in (1, 2)}
    attempts = {n: attempt_of(bucket, uid, n) for n in (1, 2)}
    deadline = time.monotonic() + 60

    def work(number: int, pending: list[PendingOutput]) -> None:
        barrier.wait()
        try:
            answers[number] = commit(attempts[number], "success", pending, deadline=deadline)
        except DataError as error:
            answers[number] = error

    pendings = {n: [upload_output(attempts[n], outputs(trees[n])[0], deadline=deadline)] for n in (1, 2)}
    threads = [threading.Thread(target=work, args=(n, pendings[n])) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = [a for a in answers.values() if isinstance(a, list)]
    lost = [a for a in answers.values() if isinstance(a, DataError)]
    assert won
    assert all(error.reason == "Superseded" for error in lost)
    assert len({published[0].sha256 for published in won}) == 1, "two attempts report different outputs"
    assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == won[0][0].sha256
    assert bucket.versions(ZIP_KEY) == 1 or not bucket.conditional
    assert bucket.uploads(ZIP_KEY) == []


@ON_EACH
def test_a_zombie_before_its_record_is_superseded(bucket: AnyBucket, tmp_path: Path) -> None:
    uid = new_uid()
    one, two = make_tree(tmp_path, "one"), make_tree(tmp_path, "two")
    with asleep(bucket, uid, one, "before-commit-record") as zombie:
        answer = result(start(bucket, uid, 2, two))
    assert result(zombie) == {"reason": "Superseded"}
    assert_published(bucket, answer, "two")


@ON_EACH
def test_a_zombie_after_its_record_reports_what_the_other_completed(bucket: AnyBucket, tmp_path: Path) -> None:
    uid, tree = new_uid(), make_tree(tmp_path, "one")
    with asleep(bucket, uid, tree, "after-commit-record") as zombie:
        answer = result(start(bucket, uid, 2, tree))
    assert result(zombie) == answer
    assert_published(bucket, answer, "one")


@ON_EACH
def test_a_failure_s_outputs_are_published_over(bucket: AnyBucket, tmp_path: Path) -> None:
    uid = new_uid()
    one, two = make_tree(tmp_path, "one"), make_tree(tmp_path, "two")
    publish_all(attempt_of(bucket, uid, 1), one, "failure")
    published = publish_all(attempt_of(bucket, uid, 2), two)
    assert {output.attempt for output in published} == {2}
    assert_published(bucket, as_answer(published), "two", versions=2)


@ON_EACH
def test_a_zombie_of_a_failure_never_completes_over_a_success(bucket: AnyBucket, tmp_path: Path) -> None:
    uid = new_uid()
    one, two = make_tree(tmp_path, "one"), make_tree(tmp_path, "two")
    with asleep(bucket, uid, one, "after-commit-record", outcome="failure") as zombie:
        answer = result(start(bucket, uid, 2, two))
    assert result(zombie) == {"reason": "Superseded"}
    assert_published(bucket, answer, "two", versions=2)


@ON_EACH
def test_commit_twice_is_commit_once(bucket: AnyBucket, tmp_path: Path) -> None:
    attempt, tree = attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "one")
    deadline = time.monotonic() + 60
    pending = [upload_output(attempt, output, deadline=deadline) for output in outputs(tree)]
    first = commit(attempt, "success", pending, deadline=deadline)
    assert commit(attempt, "success", pending, deadline=deadline) == first
    assert_published(bucket, as_answer(first), "one")


@ON_EACH
def test_a_restarted_collect_of_the_same_attempt_adopts_its_own_record(bucket: AnyBucket, tmp_path: Path) -> None:
    uid, tree = new_uid(), make_tree(tmp_path, "one")
    first = publish_all(attempt_of(bucket, uid, 1), tree)
    assert publish_all(attempt_of(bucket, uid, 1), tree) == first
    assert_published(bucket, as_answer(first), "one", given_up=True)


@ON_EACH
def test_abort_leaves_nothing_and_fences_itself(bucket: AnyBucket, tmp_path: Path) -> None:
    attempt, tree = attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "one")
    deadline = time.monotonic() + 60
    pending = [upload_output(attempt, output, deadline=deadline) for output in outputs(tree)]
    assert len(bucket.uploads(*BOTH)) == 2
    abort(attempt)
    assert bucket.uploads(*BOTH) == [] or not bucket.aborts
    with pytest.raises(DataError) as caught:
        commit(attempt, "success", pending, deadline=deadline)
    assert caught.value.reason == "Superseded"
    assert bucket.versions(ZIP_KEY) == 0


@ON_EACH
def test_abort_after_the_record_stands_leaves_it_to_the_next(bucket: AnyBucket, tmp_path: Path, monkeypatch: Any) -> None:
    uid, tree = new_uid(), make_tree(tmp_path, "one")
    attempt = attempt_of(bucket, uid, 1)

    def stop(name: str) -> None:
        if name == "after-commit-record":
            raise KeyboardInterrupt

    monkeypatch.setattr(publish, "failpoint", stop)
    with pytest.raises(KeyboardInterrupt):
        publish_all(attempt, tree)
    abort(attempt)
    monkeypatch.undo()
    assert len(bucket.uploads(*BOTH)) == 2
    published = publish_all(attempt_of(bucket, uid, 2), tree)
    assert {output.attempt for output in published} == {1}
    assert_published(bucket, as_answer(published), "one")


@ON_EACH
def test_taking_over_aborts_what_an_attempt_left(bucket: AnyBucket, tmp_path: Path) -> None:
    uid = new_uid()
    start(bucket, uid, 1, make_tree(tmp_path, "one"), "parts-sent=kill").communicate(timeout=100)
    assert len(bucket.uploads(*BOTH)) == 1
    assert take_over(attempt_of(bucket, uid, 2), deadline=time.monotonic() + 30) is None
    assert bucket.uploads(*BOTH) == [] or not bucket.aborts


@ON_EACH
def test_an_upload_that_vanished_is_never_a_success(bucket: AnyBucket, tmp_path: Path) -> None:
    """An older object lies at the key, the upload was removed behind our back: the old object is not ours."""
    bucket.put(ZIP_KEY, b"last night's")
    attempt, tree = attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "one")
    deadline = time.monotonic() + 30
    pending = upload_output(attempt, outputs(tree)[0], deadline=deadline)
    bucket.discard(ZIP_KEY, pending.upload_id)
    with pytest.raises(DataError) as caught:
        commit(attempt, "success", [pending], deadline=deadline)
    assert caught.value.reason == "UploadFailed"
    assert bucket.get(ZIP_KEY) == b"last night's"


def test_an_upload_that_vanishes_before_its_first_part_begins_anew(
    bucket: AnyBucket, tmp_path: Path, monkeypatch: Any
) -> None:
    attempt, tree = attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "one")
    begun: list[str] = []
    original = Attempt.begin

    def begin(self: Attempt, place: tuple[int, str], *, deadline: float) -> str:
        begun.append(original(self, place, deadline=deadline))
        if len(begun) == 1:
            bucket.client._abort_multipart_upload(bucket.name, place[1], begun[0])
        return begun[-1]

    monkeypatch.setattr(Attempt, "begin", begin)
    deadline = time.monotonic() + 30
    pending = upload_output(attempt, outputs(tree)[0], deadline=deadline)
    commit(attempt, "success", [pending], deadline=deadline)
    assert len(begun) == 2
    assert hashlib.sha256(bucket.get(ZIP_KEY)).hexdigest() == pending.sha256
    assert bucket.uploads(ZIP_KEY) == []


@ON_EACH
def test_a_later_run_replaces_the_object(bucket: AnyBucket, tmp_path: Path) -> None:
    publish_all(attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "monday"))
    published = publish_all(attempt_of(bucket, new_uid(), 1), make_tree(tmp_path, "tuesday"))
    assert_published(bucket, as_answer(published), "tuesday", versions=2)


@ON_EACH
def test_an_empty_and_a_missing_tree(bucket: AnyBucket, tmp_path: Path) -> None:
    published = publish_all(attempt_of(bucket, new_uid(), 1), tmp_path / "missing")
    assert [(output.files, output.uri) for output in published] == [
        (0, f"{bucket.scheme}://{bucket.name}/{ZIP_KEY}"),
        (0, f"{bucket.scheme}://{bucket.name}/{FOLDER_KEY}"),
    ]
    with zipfile.ZipFile(io.BytesIO(bucket.get(ZIP_KEY))) as archive:
        assert archive.namelist() == []
    assert json.loads(bucket.get(MANIFEST_KEY))["files"] == []


@ON_EACH
def test_no_outputs_still_fence_the_earlier_attempts(bucket: AnyBucket, tmp_path: Path) -> None:
    uid, tree = new_uid(), make_tree(tmp_path, "one")
    first = attempt_of(bucket, uid, 1)
    deadline = time.monotonic() + 30
    pending = [upload_output(first, output, deadline=deadline) for output in outputs(tree)]
    assert commit(attempt_of(bucket, uid, 2), "failure", [], deadline=deadline) == []
    assert bucket.uploads(*BOTH) == [] or not bucket.aborts
    with pytest.raises(DataError) as caught:
        commit(first, "success", pending, deadline=deadline)
    assert caught.value.reason == "Superseded"


@ON_EACH
def test_files_of_an_output_without_archive(bucket: AnyBucket, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "leer").mkdir(parents=True)
    files = {
        "manifest.json": b"the user's own",
        "a b/ü.txt": b"1",
        ".hidden": b"",
        "line\nbreak": b"2",
        "run.sh": b"#!",
        "large": os.urandom(70 << 20),
        "middle": os.urandom(3 << 20),
    }
    for name, content in files.items():
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(content)
    (tree / "run.sh").chmod(0o755)
    attempt = attempt_of(bucket, new_uid(), 1)
    deadline = time.monotonic() + 60
    pending = [upload_output(attempt, output, deadline=deadline) for output in outputs(tree)]
    assert pending[0].content_digest == pending[1].content_digest
    assert bucket.versions(MANIFEST_KEY) == 0
    commit(attempt, "success", pending, deadline=deadline)
    manifest = json.loads(bucket.get(MANIFEST_KEY))
    listed = {entry["path"]: entry for entry in manifest["files"]}
    assert set(listed) == set(files) | {"leer/"}
    assert listed["run.sh"]["mode"] == "0755"
    for name, content in files.items():
        assert bucket.get(FOLDER_KEY + listed[name].get("key", name)) == content
        assert listed[name]["sha256"] == hashlib.sha256(content).hexdigest()
    assert bucket.uploads(f"{FOLDER_KEY}large", *BOTH) == []
