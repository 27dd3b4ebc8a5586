"""stage, main and collect together against a real store."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.inpod.storage import ACCESS_KEY, SECRET_KEY, Bucket, free_port
from integration.inpod.support import Ended, Pod, until

Run = Callable[..., Ended]


def with_logs(pod: Pod) -> None:
    pod.plan["logs"] = {"store": 0, "prefix": "logs/score/1/"}


def test_a_run_from_inputs_to_outputs(pod: Pod, stored: Bucket, run: Run) -> None:
    stored.put("heart/3/a.csv", b"1,2\n")
    stored.put("heart/3/deep/b.csv", b"3\n")
    stored.put("limits/max.json", b"{}")
    pod.plan["inputs"] = [
        {"name": "data", "type": "uri_folder", "store": 0, "key": "heart/3", "path": "/millrace/in/data", "stage": True},
        {"name": "max", "type": "uri_file", "store": 0, "key": "limits/max.json", "path": "/millrace/in/max", "stage": True},
        {"name": "limit", "type": "value", "value": 3},
    ]
    pod.output()
    with_logs(pod)
    staged = pod.begin("stage").wait()
    assert staged.code == 0, staged.err
    assert [(item["name"], item["bytes"], item["files"], item["identityUsed"]) for item in staged.message["inputs"]] == [
        ("data", 6, 2, "Store"),
        ("max", 2, 1, "Store"),
    ]
    collect = pod.begin("collect")
    ended = run(
        "import os\ndef predict(data, max, limit):\n"
        "    print(sorted(os.listdir(data)), open(max).read(), limit)\n"
        "    open(os.environ['BATCH_OUTPUT_DIR'] + '/s.txt', 'w').write('scored')"
    )
    assert (ended.code, ended.out) == (0, "['a.csv', 'deep'] {} 3\n")
    done = collect.wait()
    assert done.code == 0, done.err + done.out
    assert stored.zip("o/scores.zip") == {"s.txt": b"scored"}
    output = done.message["outputs"][0]
    assert output["uri"] == f"s3://{stored.name}/o/scores.zip"
    assert (output["files"], len(output["sha256"]), len(output["contentDigest"])) == (1, 64, 64)
    assert done.message["logs"] == f"s3://{stored.name}/logs/score/1/"
    assert done.message["warnings"] == []
    assert stored.get("logs/score/1/main.log").decode() == ended.out
    assert b"input data: 6 bytes, 2 files" in stored.get("logs/score/1/stage.log")
    assert b"output scores" in stored.get("logs/score/1/collect.log")
    assert stored.uploads("o/scores.zip") == []


@pytest.mark.parametrize("code", [0, 1])
def test_outputs_are_published_as_their_when_says(pod: Pod, stored: Bucket, run: Run, code: int) -> None:
    for when in ("OnSuccess", "OnFailure", "Always"):
        pod.output(when, f"/millrace/out/data/{when}", when=when)
    pod.seal()
    collect = pod.begin("collect")
    source = (
        "import os, sys\ndef predict():\n    for d in os.listdir('../out/data'): open(f'../out/data/{d}/x', 'w').write(d)\n"
    )
    assert run(source + f"    sys.exit({code})").code == code
    done = collect.wait()
    assert done.code == 0, done.err
    expected = {"o/Always.zip", "o/OnSuccess.zip" if code == 0 else "o/OnFailure.zip"}
    assert stored.keys() == expected
    assert {item["uri"].split("/", 3)[3] for item in done.message["outputs"]} == expected


def test_a_void_output_is_written_and_not_published(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output(path="/millrace/out/data/scores")
    pod.plan["outputs"].insert(0, {"name": "debug", "path": "/millrace/out/data/debug", "void": True})
    pod.seal()
    collect = pod.begin("collect")
    source = "import os\ndef predict():\n    open('../out/data/debug/x', 'w').close()\n    return {'scores': 'kept', 'debug': print}"
    assert run(source).code == 0
    done = collect.wait()
    assert done.code == 0, done.err
    assert stored.keys() == {"o/scores.zip"}
    assert stored.zip("o/scores.zip") == {"scores.txt": b"kept"}
    assert [item["name"] for item in done.message["outputs"]] == ["scores"]


def test_an_empty_output_is_an_empty_zip(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output()
    pod.seal()
    collect = pod.begin("collect")
    assert run("def predict(): pass").code == 0
    assert collect.wait().code == 0
    assert stored.zip("o/scores.zip") == {}


def test_nothing_is_published_while_main_runs_or_without_its_seal(pod: Pod, stored: Bucket, bundle: Path) -> None:
    pod.output()
    pod.output("partial", "/millrace/out/data", when="OnFailure")
    pod.seal()
    pod.source(
        "import os, time, json\ndef predict():\n    open('../out/data/x', 'w').write('x')\n"
        "    body = json.dumps({'exitCode': 0})\n"
        "    open('../run/exit.json', 'w').write(json.dumps({'body': body, 'hmac': '0' * 64}))\n"
        "    os.rename('../ctl/lock', '../ctl/old') if os.access('../ctl/lock2', 0) else None\n"
        "    print('ready')\n    time.sleep(60)"
    )
    collect = pod.begin("collect")
    main = pod.start(bundle)
    main.until_log("ready")
    assert collect.process.poll() is None
    main.signal(signal.SIGKILL)
    done = collect.wait()
    assert (done.code, stored.keys()) == (0, {"o/partial.zip"})
    assert "process 1 was killed" in done.out


def test_a_link_to_a_key_is_neither_in_the_output_nor_in_the_logs(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output()
    with_logs(pod)
    key = pod.seal()
    collect = pod.begin("collect")
    secret = pod.path("/millrace/seal/key")
    source = f"""
import os
def predict():
    os.symlink({str(secret)!r}, '../out/data/innocent.txt')
    os.symlink('/proc/self/environ', '../out/data/env')
    os.mkfifo('../out/data/fifo')
    os.unlink('../run/main.log')
    os.symlink({str(secret)!r}, '../run/main.log')
    open('../out/data/real', 'w').write('real')
"""
    assert run(source).code == 0
    done = collect.wait()
    assert done.code == 0, done.err
    assert stored.zip("o/scores.zip") == {"real": b"real"}
    names = stored.keys()
    assert "logs/score/1/main.log" not in names
    assert any("innocent.txt" in warning for warning in done.message["warnings"])
    for name in names:
        assert key not in stored.get(name)


def test_a_stop_during_the_upload_does_not_end_it(pod: Pod, stored: Bucket, bundle: Path) -> None:
    pod.output(when="Always")
    pod.seal()
    pod.source(
        "import time\ndef predict():\n    open('../out/data/x', 'w').write('x')\n    print('ready')\n    time.sleep(60)"
    )
    collect = pod.begin("collect")
    main = pod.start(bundle)
    main.until_log("ready")
    until(lambda: pod.path("/tmp/collect.log").exists(), "the worker")
    collect.process.send_signal(signal.SIGTERM)
    main.signal(signal.SIGTERM)
    assert main.wait().code == 244
    assert collect.wait().code == 0
    assert stored.zip("o/scores.zip") == {"x": b"x"}


def test_a_stop_before_main_ends_collect(pod: Pod, stored: Bucket) -> None:
    pod.output()
    pod.seal()
    collect = pod.begin("collect")
    until(lambda: pod.path("/tmp/collect.log").exists(), "the worker")
    collect.process.send_signal(signal.SIGTERM)
    done = collect.wait()
    assert (done.code, done.message["reason"]) == (244, "Terminated")


def worker_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(until(children.read_text, "a worker").split()[0])


def test_a_worker_that_is_killed_is_started_again(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output()
    pod.seal()
    collect = pod.begin("collect")
    first = worker_of(collect.process.pid)
    os.kill(first, signal.SIGKILL)
    assert run("def predict(): open('../out/data/x', 'w').write('x')").code == 0
    done = collect.wait()
    assert done.code == 0, done.err
    assert "killed by signal 9" in done.out
    assert stored.zip("o/scores.zip") == {"x": b"x"}


def test_a_store_that_never_answers_is_an_upload_failed(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.plan["stores"][0]["s3"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    pod.plan["limits"]["uploading"] = 2
    pod.output()
    pod.seal()
    collect = pod.begin("collect")
    assert run("def predict(): pass").code == 0
    done = collect.wait()
    assert (done.code, done.message["reason"]) == (242, "UploadFailed"), done.out
    assert "Unreachable" in done.message["message"] or "Timeout" in done.message["message"]


def test_logs_alone_are_archived(pod: Pod, stored: Bucket, run: Run) -> None:
    with_logs(pod)
    pod.seal()
    collect = pod.begin("collect")
    assert run("def predict(): print('hello')").code == 0
    done = collect.wait()
    assert (done.code, done.message["outputs"]) == (0, [])
    assert stored.get("logs/score/1/main.log") == b"hello\n"


@pytest.mark.parametrize(
    ("key", "kind", "reason"),
    [("nothing/here", "uri_folder", "NotFound"), ("heart", "uri_file", "TypeMismatch"), ("../x", "uri_file", "KeyRefused")],
)
def test_an_input_that_cannot_be_staged_is_named(pod: Pod, stored: Bucket, key: str, kind: str, reason: str) -> None:
    stored.put("heart/3/a.csv", b"x")
    pod.plan["inputs"] = [{"name": "data", "type": kind, "store": 0, "key": key, "path": "/millrace/in", "stage": True}]
    with_logs(pod)
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"], done.message["input"]) == (248, reason, "data")
    assert done.message["message"] in done.err
    assert reason in stored.get("logs/score/1/stage.log").decode()
    assert done.message["logs"] == f"s3://{stored.name}/logs/score/1/"


def test_keys_that_are_missing_or_wrong_are_told_and_never_shown(pod: Pod, stored: Bucket) -> None:
    pod.plan["inputs"] = [{"name": "d", "type": "uri_folder", "store": 0, "key": "k", "path": "/millrace/in", "stage": True}]
    pod.credentials["MILLRACE_STORE_0_SECRET_KEY"] = "wrong-secret-canary"
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (248, "AccessDenied")
    everything = done.out + done.err + json.dumps(done.message) + pod.text("/millrace/ctl/stage.log")
    assert "wrong-secret-canary" not in everything
    assert ACCESS_KEY not in everything
    pod.credentials = {}
    done = pod.begin("stage").wait()
    assert (done.code, done.message["reason"]) == (248, "CredentialsMissing")
    assert "access_key" in done.message["message"]


def test_staging_that_takes_too_long_ends_in_time(pod: Pod, stored: Bucket) -> None:
    pod.plan["stores"][0]["s3"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    pod.plan["limits"]["staging"] = 1
    pod.plan["inputs"] = [{"name": "d", "type": "uri_folder", "store": 0, "key": "k", "path": "/millrace/in", "stage": True}]
    began = time.monotonic()
    done = pod.begin("stage").wait()
    assert (done.code, done.message["input"]) == (248, "d")
    assert time.monotonic() - began < 5


def test_a_stop_ends_stage_promptly(pod: Pod, stored: Bucket) -> None:
    pod.plan["stores"][0]["s3"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    pod.plan["inputs"] = [{"name": "d", "type": "uri_folder", "store": 0, "key": "k", "path": "/millrace/in", "stage": True}]
    stage = pod.begin("stage")
    until(lambda: pod.path("/millrace/ctl/lock").exists(), "stage at work")
    stage.process.send_signal(signal.SIGTERM)
    done = stage.wait(5)
    assert (done.code, done.message["reason"]) == (244, "Terminated")


def test_the_keys_are_fresh_equal_and_private(pod: Pod) -> None:
    keys = set()
    for _ in range(2):
        assert pod.begin("stage").wait().code == 0
        for path in ("/millrace/run/key", "/millrace/seal/key"):
            keys.add(pod.path(path).read_bytes())
            assert pod.path(path).stat().st_mode & 0o777 == 0o600
    assert sorted(map(len, keys)) == [32, 32]


def test_the_runtime_that_stage_brings_runs(pod: Pod, bundle: Path) -> None:
    pod.plan["code"]["bringRuntime"] = True
    assert pod.begin("stage").wait().code == 0
    pod.source("def predict(): print('brought')")
    assert pod.start(pod.path("/millrace/ctl/runtime")).wait().out == "brought\n"


@pytest.mark.parametrize(("break_it", "code"), [(False, 0), (True, 1)])
def test_a_probe_says_whether_the_store_can_be_used(pod: Pod, stored: Bucket, break_it: bool, code: int) -> None:
    entry = stored.entry()
    if break_it:
        entry["s3"]["bucket"] = "no-such-bucket"
    done = pod.begin("probe", MILLRACE_PROBE=json.dumps({"stores": [entry]})).wait()
    assert done.code == code, done.err
    assert done.message.get("reason") == ("BucketNotFound" if break_it else None)
    assert SECRET_KEY not in done.err


def test_a_probe_of_a_store_that_swallows_everything_is_bounded(pod: Pod, stored: Bucket) -> None:
    import socket

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        entry = stored.entry()
        entry["s3"]["endpoint"] = f"http://127.0.0.1:{sock.getsockname()[1]}"
        done = pod.begin("probe", MILLRACE_PROBE=json.dumps({"stores": [entry]})).wait(20)
    assert (done.code, done.message["reason"]) == (1, "Unreachable")


def test_a_worker_killed_in_its_upload_leaves_no_upload_behind(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output()
    pod.seal()
    held = pod.path("/held")
    collect = pod.begin("collect", MILLRACE_FAILPOINT=f"upload-recorded=hold:{held}")
    assert run("def predict(): open('../out/data/x', 'w').write('x')").code == 0
    until(held.exists, "an upload")
    assert stored.uploads("o/scores.zip")
    os.kill(worker_of(collect.process.pid), signal.SIGKILL)
    done = collect.wait()
    assert done.code == 0, done.err
    assert stored.zip("o/scores.zip") == {"x": b"x"}
    assert stored.uploads("o/scores.zip") == []


def test_a_worker_killed_after_its_record_is_followed_by_one_that_completes_it(pod: Pod, stored: Bucket, run: Run) -> None:
    pod.output()
    pod.seal()
    held = pod.path("/held")
    collect = pod.begin("collect", MILLRACE_FAILPOINT=f"after-commit-record=hold:{held}")
    assert run("def predict(): open('../out/data/x', 'w').write('x')").code == 0
    until(held.exists, "the record")
    assert list(stored.client.list_objects(stored.name, ".millrace/runs/uid-1/attempts/1/commit.json"))
    os.kill(worker_of(collect.process.pid), signal.SIGKILL)
    done = collect.wait()
    assert done.code == 0, done.err
    assert stored.zip("o/scores.zip") == {"x": b"x"}
    assert stored.uploads("o/scores.zip") == []


def test_a_second_attempt_reports_what_the_first_has_published(pod: Pod, stored: Bucket, bundle: Path) -> None:
    pod.output()
    uris = []
    for attempt in (1, 2):
        pod.plan["run"]["attempt"] = attempt
        for name in ("started", "exit.json"):
            pod.path(f"/millrace/run/{name}").unlink(missing_ok=True)
        pod.seal()
        pod.source(f"def predict(): open('../out/data/x', 'w').write('{attempt}')")
        collect = pod.begin("collect")
        assert pod.start(bundle).wait().code == 0
        done = collect.wait()
        assert done.code == 0, done.err
        uris.append(done.message["outputs"][0]["sha256"])
    assert uris[0] == uris[1]
    assert stored.zip("o/scores.zip") == {"x": b"1"}
    assert "attempt 1" in done.message["warnings"][0]


@pytest.mark.parametrize("program", ["stage", "collect", "probe"])
def test_a_pod_that_breaks_the_contract_is_told_from_other_failures(pod: Pod, program: str) -> None:
    pod.plan = {"inputs": [{"stage": True}], "outputs": [{}]}
    pod.seal()
    pod.path("/millrace/run/started").touch()
    done = pod.begin(program, MILLRACE_PROBE="[]").wait()
    assert (done.code, done.message["reason"]) == (1 if program == "probe" else 249, "RuntimeError")


def test_requirements_that_fail_do_not_wait_for_inputs(pod: Pod, stored: Bucket) -> None:
    pod.plan["stores"][0]["s3"]["endpoint"] = f"http://127.0.0.1:{free_port()}"
    pod.plan["inputs"] = [{"name": "d", "type": "uri_folder", "store": 0, "key": "k", "path": "/millrace/in", "stage": True}]
    pod.plan["index"] = {"url": f"http://127.0.0.1:{free_port()}/simple/", "ca": None}
    pod.plan["code"]["requirements"] = ["six @ file:///nothing-1-py3-none-any.whl"]
    done = pod.begin("stage").wait(20)
    assert (done.code, done.message["reason"]) == (246, "RequirementsFailed")


def test_a_stop_bounds_the_upload_by_the_pods_grace(pod: Pod, stored: Bucket, bundle: Path) -> None:
    pod.plan["limits"]["uploading"] = 1
    pod.output(when="Always")
    pod.seal()
    pod.source("import time\ndef predict():\n    print('ready')\n    time.sleep(60)")
    collect = pod.begin("collect", MILLRACE_FAILPOINT=f"upload-recorded=hold:{pod.path('/held')}")
    main = pod.start(bundle)
    main.until_log("ready")
    until(lambda: pod.path("/tmp/collect.log").exists(), "the worker")
    began = time.monotonic()
    collect.process.send_signal(signal.SIGTERM)
    main.signal(signal.SIGTERM)
    assert main.wait().code == 244
    done = collect.wait()
    assert (done.code, done.message["reason"]) == (242, "UploadFailed")
    assert time.monotonic() - began < 15 + 1  # the grace period of this pod


def test_all_workers_of_a_run_write_one_log(pod: Pod, stored: Bucket, run: Run) -> None:
    with_logs(pod)
    pod.seal()
    collect = pod.begin("collect")
    until(lambda: pod.path("/tmp/collect.log").exists(), "the worker")
    pod.path("/tmp/collect.log").write_text("of the first\n")
    os.kill(worker_of(collect.process.pid), signal.SIGKILL)
    assert run("def predict(): pass").code == 0
    assert collect.wait().code == 0
    assert stored.get("logs/score/1/collect.log").startswith(b"of the first\n")
