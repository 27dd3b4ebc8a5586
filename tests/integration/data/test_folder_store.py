"""A folder as a store: the same publish protocol and staging as with a bucket, by the file system's own means."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from integration.data.test_publish import FIRST, SECOND, WORKER, as_answer, make_tree, new_uid, outputs, publish_all
from integration.data.worker import FOLDER_KEY, ZIP_KEY
from millrace.data import Attempt, DataError, abort, commit, open_store, put_file, stage_input, upload_output
from millrace.data.failpoints import VARIABLE
from millrace.data.stores import Store
from millrace.data.transfer import put_bytes, read, stream


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def opened(folder: Path) -> Store:
    return open_store({"name": "f", "folder": str(folder), "credentials": False}, None)


def in_a_minute() -> float:
    return time.monotonic() + 60


def start(folder: Path, uid: str, number: int, tree: Path, failpoint: str = "") -> subprocess.Popen[str]:
    entry = {"name": "f", "folder": str(folder)}
    task = {"entry": entry, "keys": ["-", "-"], "uid": uid, "attempt": number, "tree": str(tree)}
    environment = {**os.environ, VARIABLE: failpoint, "PYTHONPATH": str(WORKER.parents[3] / "operator")}
    command = [sys.executable, str(WORKER), json.dumps(task)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if ".millrace-" in path.name]


def check(folder: Path, answer: dict[str, Any], mark: str) -> None:
    """What was reported is what can be read, it is of one attempt, and no upload is left over."""
    zipped, unpacked = answer["outputs"]
    assert hashlib.sha256((folder / ZIP_KEY).read_bytes()).hexdigest() == zipped["sha256"]
    assert zipped["uri"] == f"file://{folder / ZIP_KEY}"
    with zipfile.ZipFile(folder / ZIP_KEY) as archive:
        assert archive.read("mark.txt").decode() == mark
    manifest = (folder / FOLDER_KEY / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() == unpacked["sha256"]
    for entry in json.loads(manifest)["files"]:
        assert hashlib.sha256((folder / FOLDER_KEY / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert unpacked["content_digest"] == zipped["content_digest"]
    assert hidden(folder) == []


@pytest.mark.parametrize(("point", "recorded"), FIRST)
def test_a_first_attempt_that_is_killed(folder: Path, tmp_path: Path, point: str, recorded: bool) -> None:
    uid, one, two = new_uid(), make_tree(tmp_path, "one"), make_tree(tmp_path, "two")
    first = start(folder, uid, 1, one, f"{point}=kill")
    first.communicate(timeout=100)
    assert first.returncode == -9
    if recorded:
        answer = result(start(folder, uid, 2, one))
        check(folder, answer, "one")
        assert {output["attempt"] for output in answer["outputs"]} == {1}
    else:
        assert not (folder / ZIP_KEY).exists(), "an upload was visible before its record stood"
        check(folder, result(start(folder, uid, 2, two)), "two")


@pytest.mark.parametrize(("point", "first_point", "winner"), SECOND)
def test_a_second_attempt_that_is_killed_too(
    folder: Path, tmp_path: Path, point: str, first_point: str, winner: int
) -> None:
    uid = new_uid()
    trees = [make_tree(tmp_path, mark) for mark in ("one", "two", "three")]
    start(folder, uid, 1, trees[0], f"{first_point}=kill").communicate(timeout=100)
    tree = trees[winner - 1]
    second = start(folder, uid, 2, tree, f"{point}=kill")
    second.communicate(timeout=100)
    assert second.returncode == -9
    third = tree if winner == 1 or point == "after-commit-record" else trees[2]
    check(folder, result(start(folder, uid, 3, third)), third.name)


def test_two_attempts_commit_at_the_same_instant(folder: Path, tmp_path: Path) -> None:
    for _ in range(10):
        uid, barrier = new_uid(), threading.Barrier(2)
        attempts = {n: Attempt(run_uid=uid, number=n, stores={0: opened(folder)}, record=0) for n in (1, 2)}
        trees = {n: make_tree(tmp_path / uid, str(n)) for n in (1, 2)}
        pending = {n: [upload_output(attempts[n], outputs(trees[n])[0], deadline=in_a_minute())] for n in (1, 2)}
        won: list[str] = []

        def work(number: int) -> None:
            barrier.wait()  # noqa: B023
            try:
                published = commit(attempts[number], "success", pending[number], deadline=in_a_minute())  # noqa: B023
                won.append(published[0].sha256)  # noqa: B023
            except DataError as error:
                assert error.reason == "Superseded"

        threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(won)) == 1, "two attempts report different outputs, or none does"
        assert hashlib.sha256((folder / ZIP_KEY).read_bytes()).hexdigest() == won[0]
        assert hidden(folder) == []


def test_an_upload_that_vanished_is_never_a_success(folder: Path, tmp_path: Path) -> None:
    """Also where an older object lies under the key."""
    publish_all(Attempt(run_uid=new_uid(), number=1, stores={0: opened(folder)}, record=0), make_tree(tmp_path, "old"))
    attempt = Attempt(run_uid=new_uid(), number=1, stores={0: opened(folder)}, record=0)
    pending = [upload_output(attempt, outputs(make_tree(tmp_path, "new"))[0], deadline=in_a_minute())]
    hidden(folder)[0].unlink()
    with pytest.raises(DataError) as caught:
        commit(attempt, "success", pending, deadline=in_a_minute())
    assert caught.value.reason == "UploadFailed"


def test_a_commit_that_is_made_again_finds_its_own_file(folder: Path, tmp_path: Path) -> None:
    attempt = Attempt(run_uid=new_uid(), number=1, stores={0: opened(folder)}, record=0)
    pending = [upload_output(attempt, output, deadline=in_a_minute()) for output in outputs(make_tree(tmp_path, "one"))]
    first = commit(attempt, "success", pending, deadline=in_a_minute())
    assert commit(attempt, "success", pending, deadline=in_a_minute()) == first
    check(folder, as_answer(first), "one")


def test_what_is_given_up_leaves_no_file(folder: Path, tmp_path: Path) -> None:
    attempt = Attempt(run_uid=new_uid(), number=1, stores={0: opened(folder)}, record=0)
    upload_output(attempt, outputs(make_tree(tmp_path, "one"))[0], deadline=in_a_minute())
    assert hidden(folder)
    abort(attempt)
    assert hidden(folder) == []
    assert not (folder / ZIP_KEY).exists()


def stage(folder: Path, target: Path, key: str, **more: Any) -> Any:
    item = {"type": "uri_folder", "key": key, "path": str(target), "glob": None, "optional": False, **more}
    return stage_input(opened(folder), item, deadline=in_a_minute())


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_a_folder_is_staged_with_its_tree(folder: Path, tmp_path: Path) -> None:
    large = os.urandom(5 << 20)
    names = ("a.csv", "a/b", "a.d/c", "ä b#1", "100%", "large")
    fill(folder, {f"in/{name}": name.encode() if name != "large" else large for name in names} | {"inner/x": b"", "i": b""})
    (folder / "in" / "empty").mkdir()
    staged = stage(folder, tmp_path / "to", "in")
    found = {str(p.relative_to(tmp_path / "to")): p.read_bytes() for p in (tmp_path / "to").rglob("*") if p.is_file()}
    assert found == {name: name.encode() if name != "large" else large for name in names}
    assert (tmp_path / "to" / "empty").is_dir()
    assert (staged.files, staged.bytes) == (6, sum(map(len, found.values())))
    keys = [entry.key for entry in opened(folder).list("", deadline=in_a_minute())]
    assert keys == sorted(keys, key=str.encode)
    assert [entry.key for entry in opened(folder).list("in/a", deadline=in_a_minute(), limit=2)] == ["in/a.csv", "in/a.d/c"]


def test_one_file_a_pattern_and_what_is_not_there(folder: Path, tmp_path: Path) -> None:
    fill(folder, {"in/a.csv": b"1", "in/b.txt": b"22", "in/.b.txt.millrace-0123456789abcdef": b"an upload under way"})
    staged = stage(folder, tmp_path / "one", "in/a.csv", type="uri_file")
    assert (tmp_path / "one" / "a.csv").read_bytes() == b"1"
    assert staged.sha256 == hashlib.sha256(b"1").hexdigest()
    assert stage(folder, tmp_path / "some", "in", glob="*.csv").files == 1
    assert stage(folder, tmp_path / "all", "in").files == 2
    assert stage(folder, tmp_path / "none", "absent", optional=True).files == 0
    for key, kind, reason in (
        ("absent", "uri_folder", "NotFound"),
        ("in/a", "uri_folder", "NotFound"),
        ("in", "uri_file", "TypeMismatch"),
    ):
        with pytest.raises(DataError) as caught:
            stage(folder, tmp_path / "not", key, type=kind)
        assert caught.value.reason == reason, key
    with pytest.raises(DataError) as caught:
        stage(tmp_path / "no-such-store", tmp_path / "not", "in")
    assert caught.value.reason == "NotFound"


def test_links_are_followed_only_within_the_store(folder: Path, tmp_path: Path) -> None:
    fill(folder, {"in/real/a": b"1", "other/b": b"2"})
    (folder / "in" / "link").symlink_to("real/a")
    (folder / "in" / "sub").symlink_to(folder / "other")
    assert stage(folder, tmp_path / "to", "in").files == 3
    assert (tmp_path / "to" / "sub" / "b").read_bytes() == b"2"
    (tmp_path / "secret").write_text("canary")
    for name, target in (
        ("out", tmp_path / "secret"),
        ("environ", Path("/proc/self/environ")),
        ("up", folder / "in"),
        ("gone", Path("x")),
    ):
        link = folder / "in" / name
        link.symlink_to(target)
        with pytest.raises(DataError) as caught:
            stage(folder, tmp_path / f"to-{name}", "in")
        assert caught.value.reason == "KeyRefused", name
        assert "canary" not in "".join(p.read_text() for p in (tmp_path / f"to-{name}").rglob("*") if p.is_file())
        link.unlink()


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path, tmp_path: Path) -> None:
    fill(folder, {"in/a": b"1"})
    os.mkfifo(folder / "in" / "fifo")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        stage(folder, tmp_path / "to", "in")
    (folder / "in" / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "in" / "s"))
        with pytest.raises(DataError, match="neither a file nor a folder"):
            stage(folder, tmp_path / "to", "in")


def test_a_file_that_was_replaced_since_it_was_listed_is_not_read(folder: Path) -> None:
    fill(folder, {"in/a": b"1234"})
    store = opened(folder)
    entry = next(store.list("in/", deadline=in_a_minute()))
    (folder / "in" / "a").rename(folder / "in" / "was")
    (folder / "in" / "a").write_bytes(b"5678")
    with pytest.raises(DataError) as caught:
        list(store.read(entry, 0, 4))
    assert caught.value.reason == "ObjectChanged"


def test_a_file_appears_whole_and_what_is_in_its_way_is_told(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "log"
    source.write_bytes(b"x" * (1 << 20))
    assert put_file(opened(folder), "logs/1/main.log", source, deadline=in_a_minute()) == f"file://{folder}/logs/1/main.log"
    assert (folder / "logs/1/main.log").stat().st_size == 1 << 20
    for key in ("logs/1/main.log/below", "logs/1", "n" * 256):
        with pytest.raises(DataError) as caught:
            put_file(opened(folder), key, source, deadline=in_a_minute())
        assert caught.value.reason == "KeyRefused", key
    for key in ("../x", "/x", "a//b", "a\0b"):
        with pytest.raises(DataError) as caught:
            put_file(opened(folder), key, source, deadline=in_a_minute())
        assert caught.value.reason == "KeyRefused", key
    assert hidden(folder) == []


def test_a_small_object_is_read_within_a_limit_and_a_stream_is_what_was_put(folder: Path) -> None:
    store = opened(folder)
    put_bytes(store, "a/record", b"12345", deadline=in_a_minute())
    assert read(store, "a/record", deadline=in_a_minute(), limit=5) == b"12345"
    assert b"".join(stream(store, "a/record", deadline=in_a_minute())) == b"12345"
    assert read(store, "a/none", deadline=in_a_minute(), limit=5) is None
    with pytest.raises(DataError, match="more than 4 bytes"):
        read(store, "a/record", deadline=in_a_minute(), limit=4)
    with pytest.raises(DataError, match="no such object"):
        list(stream(store, "a/none", deadline=in_a_minute()))
