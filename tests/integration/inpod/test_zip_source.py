"""stage with a zip as the source: fetched, checked, unpacked where main finds its code."""

from __future__ import annotations

import hashlib
import io
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from integration.inpod.storage import SECRET_KEY, Bucket
from integration.inpod.support import Ended, Pod
from support.https_server import file, https_server
from support.memory import MemoryGroup
from support.store import zipped

CODE = {
    "main.py": b"from heart.model import score\n\n\ndef predict():\n    print(score(3))\n",
    "heart/__init__.py": b"",
    "heart/model.py": b"def score(value):\n    return value * 7\n",
}
PACKED = zipped(CODE)
SHA256 = hashlib.sha256(PACKED).hexdigest()


def prepare(pod: Pod, stored: Bucket, packed: bytes, sha256: str | None = None) -> None:
    stored.put("code/heart.zip", packed)
    pod.plan["code"] |= {"script": None, "zip": {"store": 0, "key": "code/heart.zip", "sha256": sha256}}


def deflated(*members: tuple[str, bytes, int]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as found:
        for name, data, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            found.writestr(info, data)
    return packed.getvalue()


def test_main_finds_its_modules_and_no_archive_is_left(pod: Pod, stored: Bucket, run: Callable[..., Ended]) -> None:
    prepare(pod, stored, PACKED, SHA256)
    pod.source("what an earlier start has left", "heart/model.py")
    pod.source("left, too", "old/module.py")
    done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    source = done.message["source"]
    assert (source["bytes"], source["files"], source["sha256"]) == (len(PACKED), len(CODE), SHA256)
    assert source["identityUsed"] == "Store"
    top = pod.path("/millrace/source")
    assert {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()} == CODE
    assert not list(pod.path("/tmp").rglob("*.zip"))
    ended = run()
    assert (ended.code, ended.log.splitlines()[0]) == (0, "21")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("packed", "sha256", "reason", "message"),
    [
        (lambda: PACKED, "0" * 64, "ChecksumMismatch", f"its SHA-256 is {SHA256}, not the {'0' * 64}"),
        (lambda: b"no zip", None, "SourceRejected", "not a zip that can be read"),
        (lambda: PACKED[:-30], None, "SourceRejected", "not a zip that can be read"),
        (lambda: deflated(("main.py", b"", 0), ("../evil.py", b"", 0)), None, "SourceRejected", "'../evil.py' would leave"),
        (lambda: deflated(("/etc/evil", b"", 0)), None, "SourceRejected", "'/etc/evil' would leave"),
        (lambda: deflated(("l", b"/etc", stat.S_IFLNK | 0o777)), None, "SourceRejected", "'l' is a link"),
        (lambda: deflated(("d", b"", stat.S_IFCHR | 0o666)), None, "SourceRejected", "'d' is neither a file nor a folder"),
        (lambda: deflated(("a", b"1", 0), ("a", b"2", 0)), None, "SourceRejected", "'a' twice"),
        (lambda: deflated(("bomb", bytes(100 << 20), 0)), None, "SourceRejected", "most of them in 'bomb'"),
        (lambda: deflated(*((f"f{n}", b"", 0) for n in range(20_001))), None, "SourceRejected", "has 20001 files"),
    ],
    ids=["sum", "no zip", "cut off", "up", "absolute", "link", "device", "twice", "bomb", "many"],
)
def test_what_is_wrong_with_an_archive_is_named_and_nothing_of_it_is_run(
    pod: Pod, stored: Bucket, packed: Callable[[], bytes], sha256: str | None, reason: str, message: str
) -> None:
    prepare(pod, stored, packed(), sha256)
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (248, reason), done.err
    assert done.message["message"].startswith("source heart.zip: ")
    assert message in done.message["message"]
    assert SECRET_KEY not in done.out + done.err
    assert not list(pod.root.rglob("evil*"))
    assert not [path for path in pod.root.rglob("*") if path.is_symlink()]


def test_an_archive_that_is_not_there_is_named(pod: Pod, stored: Bucket) -> None:
    prepare(pod, stored, PACKED)
    pod.plan["code"]["zip"]["key"] = "code/other.zip"
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (248, "NotFound")
    assert f"{stored.name}/code/other.zip" in done.message["message"]


def test_from_a_web_address(pod: Pod, tmp_path: Path) -> None:
    packed = zipped({f"heart-main/{name}": data for name, data in CODE.items()})
    with https_server(tmp_path) as web:
        web.answers["/heart/archive/main.zip"] = file(packed)
        plan: dict[str, Any] = {"uri": web.url("/heart/archive/main.zip"), "key": "main.zip"}
        plan["sha256"] = hashlib.sha256(packed).hexdigest()
        pod.plan["code"] |= {"script": None, "zip": plan}
        pod.plan["httpsInputs"] = {"allow": ["127.0.0.1"], "deny": [], "maxBytes": 100_000}
        pod.plan["index"] = {"url": None, "ca": "/millrace/ca/index/ca.crt"}
        authority = pod.path("/millrace/ca/index/ca.crt")
        authority.parent.mkdir(parents=True)
        authority.write_bytes(Path(web.authority).read_bytes())
        done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    assert done.message["source"]["identityUsed"] == "Anonymous"
    assert pod.text("/millrace/source/heart/model.py").startswith("def score")


def test_the_largest_archive_is_unpacked_within_the_limit_of_stage(pod: Pod, stored: Bucket) -> None:
    try:
        group = MemoryGroup(96)
    except OSError as error:
        pytest.skip(f"no memory groups here: {error}")
    members = [(f"package/{'n' * 100}{number}.py", b"x = 1\n", 0) for number in range(19_000)]
    prepare(pod, stored, deflated(("main.py", b"", 0), ("data.bin", bytes(range(256)) * (200 << 12), 0), *members))
    done = pod.begin("stage", group).wait()
    pod.end()
    group.end()
    assert done.code == 0, (done.code, done.err)
    assert done.message["source"]["files"] == 19_002
