"""Requirements: wheels only, no foreign code, no key in reach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.inpod.index import Index, sdist, wheel
from integration.inpod.support import Pod

CANARY = "secret-canary"


@pytest.fixture
def index(pod: Pod, tmp_path: Path) -> Iterator[Index]:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w').write('ran')\nimport setuptools; setuptools.setup(name='built')"
    index = Index(wheel("ready", "1.0", "VALUE = 41"), wheel("ready", "2.0", "VALUE = 42"), sdist("built", "1", trap))
    pod.plan["index"] = {"url": index.url, "ca": None}
    pod.credentials = {"MILLRACE_STORE_0_ACCESS_KEY": CANARY, "MILLRACE_STORE_0_SECRET_KEY": CANARY}
    yield index
    index.stop()
    assert not (tmp_path / "ran").exists()
    assert not [path for path in index.asked if CANARY in path]


def test_wheels_are_installed_and_imported(pod: Pod, index: Index, bundle: Path) -> None:
    pod.plan["code"] |= {"requirements": ["ready<2"], "pythonVersion": "3.13"}
    done = pod.begin("stage").wait()
    assert done.code == 0, done.err
    assert "ready==1.0" in pod.text("/millrace/ctl/stage.log")
    assert not pod.path("/millrace/ctl/.uv").exists()
    pod.source("import ready\ndef predict(): print(ready.VALUE)")
    assert pod.start(bundle).wait().out == "41\n"


def test_a_lock_with_hashes_is_checked(pod: Pod, index: Index) -> None:
    pod.plan["code"]["requirements"] = ["# a lock\nready==2.0 \\\n    --hash=sha256:" + "0" * 64]
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (246, "RequirementsFailed")
    assert "ash mismatch" in done.message["message"]


def test_a_requirement_that_cannot_be_met_fails_with_the_resolvers_words(pod: Pod, index: Index) -> None:
    pod.plan["code"]["requirements"] = ["ready>=3"]
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (246, "RequirementsFailed")
    assert "ready<=2.0" in done.message["message"] or "ready>=3" in done.message["message"]
    assert "Using " not in done.message["message"]


@pytest.mark.parametrize("requirement", ["built", "built @ {files}built-1.tar.gz", "built @ git+{files}built.git"])
def test_what_must_be_built_is_refused_by_name_and_not_run(pod: Pod, index: Index, requirement: str) -> None:
    files = index.url.replace("/simple/", "/files/")
    pod.plan["code"]["requirements"] = [requirement.format(files=files)]
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (247, "NeedsBuild")
    assert done.message["message"].startswith("built ")


@pytest.mark.parametrize(
    "requirement",
    [
        "-e {folder}",
        "--editable={folder}",
        "{folder}",
        "./built",
        "-r /proc/self/environ",
        "ready --index-url http://127.0.0.1:1/",
        "ready -i http://127.0.0.1:1/",
        "ready\n-e {folder}",
        "ready # -e\n--extra-index-url=http://127.0.0.1:1/",
        "built @ file://{folder}",
    ],
)
def test_nothing_but_plain_requirements_reaches_the_installer(
    pod: Pod, index: Index, tmp_path: Path, requirement: str
) -> None:
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "setup.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').write('ran')")
    pod.plan["code"]["requirements"] = [requirement.format(folder=tmp_path / "built")]
    done = pod.begin("stage").wait()
    assert done.code in (246, 247), done.err


def test_a_variable_in_an_address_has_no_key_to_expand_to(pod: Pod, index: Index) -> None:
    files = index.url.replace("/simple/", "/files/")
    pod.plan["code"]["requirements"] = [f"ready @ {files}${{MILLRACE_STORE_0_SECRET_KEY}}/ready-2.0-py3-none-any.whl"]
    done = pod.begin("stage").wait()
    assert done.code == 246 or index.asked
    assert CANARY not in done.out + done.err


def test_a_key_in_an_output_line_is_blackened(pod: Pod, index: Index) -> None:
    pod.plan["code"]["requirements"] = [f"ready=={CANARY}"]
    done = pod.begin("stage").wait()
    assert done.code == 246
    assert CANARY not in done.out + done.err + str(done.message)
