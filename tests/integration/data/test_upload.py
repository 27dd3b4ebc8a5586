"""Files of a machine into a store: as they are, and with the checksum that staging them says."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from integration.data.servers import Bucket, Proxy
from integration.data.witnesses import ON_EACH, AnyBucket
from millrace.data import DataError, stage_input
from millrace.data.multipart import S3Uploads
from millrace.data.upload import Content, content, pack, upload

FILES = {"a.csv": b"id\n", "sub/deep/b ü.csv": b"x" * 300_000, "big": os.urandom(65 << 20), "empty": b""}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    top = tmp_path / "heart"
    for name, data in FILES.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(data)
    (top / "hollow").mkdir()
    (top / "inside").symlink_to("a.csv")
    (top / "outside").symlink_to("/etc/passwd")
    os.mkfifo(top / "fifo")
    return top


@ON_EACH
def test_a_folder_arrives_whole_and_what_is_not_in_it_is_left_out(
    folder: Path, bucket: AnyBucket, tmp_path: Path, deadline: float
) -> None:
    subject = content(folder)
    assert subject.files.keys() == {*FILES, "inside"}
    assert [warning.partition(" was left out")[0] for warning in subject.warnings] == ["'fifo'", "'outside'"]
    seen: list[tuple[int, int]] = []
    upload(bucket.store(prefix="team"), "up/1", subject, deadline=deadline, progress=lambda *done: seen.append(done))
    assert seen[-1] == (subject.bytes, 5)
    assert {key.removeprefix("team/up/1/"): bucket.get(key) for key in list(bucket.keys())} == FILES | {"inside": b"id\n"}
    assert bucket.uploads("team/up/1/big") == []
    item = {"type": "uri_folder", "key": "up/1", "path": str(tmp_path / "back")}
    assert stage_input(bucket.store(prefix="team"), item, deadline=deadline).sha256 == subject.sha256


def test_one_file(folder: Path, bucket: Bucket, tmp_path: Path, deadline: float) -> None:
    subject = content(folder / "a.csv")
    upload(bucket.store(), "up", subject, deadline=deadline)
    assert bucket.keys() == ["up/a.csv"]
    item = {"type": "uri_file", "key": "up/a.csv", "path": str(tmp_path / "back")}
    assert stage_input(bucket.store(), item, deadline=deadline).sha256 == subject.sha256


@pytest.mark.parametrize("name", ["sub/deep/b ü.csv", "big"])
def test_a_file_that_is_written_meanwhile_is_refused(folder: Path, bucket: Bucket, deadline: float, name: str) -> None:
    subject = content(folder)
    (folder / name).write_bytes(FILES[name][:-1] + b"!")
    with pytest.raises(DataError, match=f"{name} was changed while it was uploaded"):
        upload(bucket.store(), "up", subject, deadline=deadline)
    with pytest.raises(DataError, match=f"{name} was changed while it was uploaded"):
        pack(subject, io.BytesIO(), "tree")


def test_an_upload_that_vanished_is_no_success(
    folder: Path, bucket: Bucket, deadline: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind our back, before it is completed; an older object of that name is not ours."""
    bucket.put("up/big", b"last night's")
    complete = S3Uploads.complete

    def too_late(uploads: S3Uploads, key: str, upload_id: str, parts: Sequence[str], *, deadline: float) -> bool:
        uploads.abort(key, upload_id, deadline=deadline)
        return complete(uploads, key, upload_id, parts, deadline=deadline)

    monkeypatch.setattr(S3Uploads, "complete", too_late)
    with pytest.raises(DataError) as caught:
        upload(bucket.store(), "up", content(folder / "big"), deadline=deadline)
    assert caught.value.reason == "UploadFailed"
    assert bucket.get("up/big") == b"last night's"


def test_a_store_that_fails_once_gets_it_all(folder: Path, bucket: Bucket, proxy: Proxy, deadline: float) -> None:
    proxy.on("PUT", "", "answer", status=503, body=b"", times=3)
    subject = content(folder)
    upload(bucket.store(proxy.address), "up", subject, deadline=deadline)
    assert len(bucket.keys()) == len(subject.files)


def test_the_stream_holds_each_file(folder: Path) -> None:
    subject: Content = content(folder)
    stream = io.BytesIO()
    pack(subject, stream, "tree")
    stream.seek(0)
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {f"tree/{name}": data for name, data in FILES.items()} | {"tree/inside": b"id\n"}
