"""main's process 1 and the user code that it runs, as they are shipped."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from integration.inpod.support import Ended, Pod, until
from millrace.inpod.runtime.seal import unseal

UV_PYTHONS = ".local/share/uv/python/cpython-*/bin/python3"
Run = Callable[..., Ended]


def test_a_handler_gets_parameters_and_inputs_by_name(pod: Pod, run: Run) -> None:
    pod.plan["parameters"] = {"threshold": 0.5, "flag": None, "rows": [1, {"a": "ü$(X)"}], "big": 2**70, "yes": True}
    pod.plan["inputs"] = [
        {"name": "data", "type": "uri_folder", "path": "/millrace/in/data", "key": "heart/3", "stage": True},
        {"name": "file", "type": "uri_file", "path": "/millrace/in/file", "key": "a/b c.csv", "stage": True},
        {"name": "raw", "type": "uri_folder", "stage": False, "reference": {"type": "connection_asset"}},
        {"name": "limit", "type": "value", "value": 3},
    ]
    ended = run("import json\ndef predict(threshold, *, data, **rest): print(json.dumps([threshold, data, rest]))")
    threshold, data, rest = json.loads(ended.out)
    assert ended.code == 0, ended.err
    assert (threshold, data) == (0.5, str(pod.path("/millrace/in/data")))
    assert rest == {
        "flag": None,
        "rows": [1, {"a": "ü$(X)"}],
        "big": 2**70,
        "yes": True,
        "file": str(pod.path("/millrace/in/file/b c.csv")),
        "raw": {"type": "connection_asset"},
        "limit": 3,
    }


def test_a_parameter_may_come_from_a_variable_that_user_code_does_not_see(pod: Pod, run: Run) -> None:
    names = {"token": "MILLRACE_PARAMETER_0", "region": "REGION", "absent": "MILLRACE_PARAMETER_1", "kept": "ABSENT"}
    pod.plan["parameters"] = {"region": "default", "kept": "default"}
    pod.plan["parametersFrom"] = names
    pod.environment |= {"MILLRACE_PARAMETER_0": "a key", "REGION": "eu"}
    ended = run("import json, os\ndef predict(**given): print(json.dumps([given, dict(os.environ)]))")
    given, seen = json.loads(ended.out)
    assert given == {"token": "a key", "region": "eu", "kept": "default"}
    assert seen["REGION"] == "eu"
    assert not [name for name in seen if name.startswith("MILLRACE_PARAMETER")]


def test_an_optional_input_that_is_not_there_is_none(pod: Pod, run: Run) -> None:
    item = {"name": "data", "type": "uri_file", "path": "/millrace/in", "key": "a/b.csv", "stage": True, "optional": True}
    pod.plan["inputs"] = [item]
    assert run("def predict(data): print(data)").out == "None\n"


def test_a_script_is_the_real_main(pod: Pod, run: Run) -> None:
    pod.plan["code"] = {"script": "run.py", "source": "/millrace/source"}
    pod.source("value = 7", "helper.py")
    pod.source("import helper, sys\nif __name__ == '__main__': print(helper.value, sys.argv[0])", "run.py")
    ended = run()
    assert ended.out == f"7 {pod.path('/millrace/source/run.py')}\n"
    assert ended.record["exitCode"] == 0
    assert ended.message == {"reason": "Completed", "message": "", "exitCode": 0, "logTail": ended.out}


def test_a_handler_without_a_module_is_in_main(pod: Pod, run: Run) -> None:
    pod.plan["code"]["handler"] = "predict"
    assert run("def predict(): print('here')").out == "here\n"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("async def predict(): print('ran'); return 5", "returned 5"),
        ("def predict():\n    print('ran')\n    yield 1", ""),
        ("def predict(): print('ran'); return 'x' * 1000", "returned 'xxx"),
        ("class Bad:\n    def __repr__(self): raise ValueError\ndef predict(): print('ran'); return Bad()", ""),
        ("class C:\n    def run(self, **all): print('ran')\npredict = C().run", ""),
    ],
    ids=["coroutine", "generator", "long value", "value without repr", "bound method"],
)
def test_every_kind_of_callable_runs_to_its_end(run: Run, source: str, shown: str) -> None:
    ended = run(source)
    assert (ended.code, ended.out) == (0, "ran\n")
    assert shown in ended.err


@pytest.mark.parametrize(
    ("parameters", "signature", "message"),
    [
        ({"a": 1}, "a, b", "main:predict(a, b) was given a; missing: b"),
        ({"a": 1, "c": 2}, "a, b=2", "main:predict(a, b=…) was given a, c; unknown: c"),
        ({}, "a, /, *, b", "main:predict(a, b) was given nothing; missing: a, b"),
    ],
)
def test_arguments_that_do_not_fit_end_before_the_function(
    pod: Pod, run: Run, parameters: dict[str, int], signature: str, message: str
) -> None:
    pod.plan["parameters"] = parameters
    ended = run(f"def predict({signature}): print('ran')")
    assert (ended.code, ended.out) == (241, "")
    assert (ended.message["reason"], ended.message["message"]) == ("ParameterMismatch", message)


def test_a_name_that_is_parameter_and_input_is_refused(pod: Pod, run: Run) -> None:
    pod.plan |= {"parameters": {"a": 1}, "inputs": [{"name": "a", "type": "value", "value": 2}]}
    assert run("def predict(a): print('ran')").message["reason"] == "ParameterMismatch"


def test_positional_only_and_wrapped_functions_are_bound_by_name(pod: Pod, run: Run) -> None:
    pod.plan["parameters"] = {"a": 1, "b": 2}
    source = """
import functools
def deco(f):
    @functools.wraps(f)
    def g(*args, **kwargs): return f(*args, **kwargs)
    return g
@deco
def predict(a, /, b, c=3): print(a, b, c)
"""
    assert run(source).out == "1 2 3\n"


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        ("main:nope", "handler nope is not there in module main: it has load, predict"),
        ("main:VALUE", "handler VALUE is not callable"),
        ("other:predict", "no module other: the source has the modules main"),
        ("pkg.sub:predict", "no module pkg.sub"),
    ],
)
def test_a_handler_that_is_not_there_is_named_with_those_that_are(pod: Pod, run: Run, handler: str, said: str) -> None:
    pod.plan["code"]["handler"] = handler
    ended = run("import os\nfrom json import loads\nVALUE = 1\ndef load(): pass\ndef predict(): pass")
    assert (ended.code, ended.message["reason"]) == (240, "HandlerNotFound")
    assert said in ended.message["message"]


def test_a_script_that_is_not_there_is_named_with_what_is(pod: Pod, run: Run) -> None:
    pod.plan["code"] = {"script": "run.py", "source": "/millrace/source"}
    ended = run("print('ran')")
    assert (ended.code, ended.out, ended.message["reason"]) == (240, "", "HandlerNotFound")
    assert ended.message["message"] == "no script run.py: the source has main.py"


def test_a_module_that_imports_what_is_not_there_is_a_user_error(run: Run) -> None:
    ended = run("import not_installed")
    assert (ended.code, ended.message["reason"]) == (1, "UserError")
    assert ended.message["message"] == "ModuleNotFoundError: No module named 'not_installed'"
    assert "child.py" not in ended.err
    assert "importlib" not in ended.err


def test_an_uncaught_exception_is_one_with_its_last_line(run: Run) -> None:
    ended = run("def predict():\n    try: 1/0\n    except Exception as e: raise ValueError('größer\\nzweite') from e")
    assert (ended.code, ended.message["reason"], ended.message["message"]) == (1, "UserError", "ValueError: größer")
    assert "Traceback (most recent call last)" in ended.log
    assert "child.py" not in ended.err


@pytest.mark.parametrize("code", [0, 3, 137, 238, 250, 255])
def test_an_exit_code_is_kept(run: Run, code: int) -> None:
    ended = run(f"import sys\ndef predict(): sys.exit({code})")
    assert (ended.code, ended.record["exitCode"]) == (code, code)


@pytest.mark.parametrize("code", range(239, 250))
def test_a_reserved_exit_code_is_no_more_than_a_user_error(run: Run, code: int) -> None:
    ended = run(f"import os\ndef predict(): os._exit({code})")
    assert (ended.code, ended.message["reason"]) == (1, "UserError")
    assert str(code) in ended.message["message"]


def test_a_signal_that_kills_the_child_is_named(run: Run) -> None:
    ended = run("import os, signal\ndef predict(): os.kill(os.getpid(), signal.SIGSEGV)")
    assert (ended.code, ended.message["reason"]) == (139, "UserError")
    assert "SIGSEGV" in ended.message["message"]


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"])
@pytest.mark.parametrize("death", ["os.kill(os.getpid(), 9)", "sys.exit(1)"], ids=["killed", "a process of it killed"])
def test_a_kill_for_lack_of_memory_is_told_from_others(pod: Pod, run: Run, path: str, death: str) -> None:
    counter = pod.path(path)
    counter.parent.mkdir(parents=True)
    counter.write_text("low 0\noom 1\noom_kill 1\n")
    ended = run(f"import os, sys\ndef predict():\n    open({str(counter)!r}, 'w').write('oom_kill 2\\n'); {death}")
    assert (ended.code, ended.message["reason"]) == (137, "OOMKilled")


def test_deep_recursion_is_an_error_like_any_other(run: Run) -> None:
    ended = run("def predict(): return predict()")
    assert (ended.code, ended.message["message"][:14]) == (1, "RecursionError")


def test_the_environment_is_the_containers_and_the_contracts(pod: Pod, run: Run) -> None:
    values = {"A": "a=b", "B": "line\nbreak", "C": "$(X) $$ $Y", "D": "'\"", "E": "ünï✓", "PYTHONPATH": "/own"}
    pod.environment = {**values, "MILLRACE_RUN": "score", "MILLRACE_ATTEMPT": "1", "HOME": "/"}
    ended = run("import os, json\ndef predict(): print(json.dumps(dict(os.environ)))")
    env = json.loads(ended.out)
    assert {name: env[name] for name in "ABCDE"} == {name: values[name] for name in "ABCDE"}
    assert env["PYTHONPATH"] == f"{pod.path('/millrace/source')}:/own"
    assert (env["MILLRACE_RUN"], env["MILLRACE_ATTEMPT"]) == ("score", "1")
    assert env["JOBS_PAYLOAD_FILE"] == str(pod.path("/millrace/pod/payload.json"))
    assert not {"MILLRACE_ROOT", "BATCH_INPUT_DIR", "BATCH_OUTPUT_DIR"} & set(env)


def test_the_directory_variables_come_with_staged_inputs_and_outputs(pod: Pod, run: Run) -> None:
    pod.plan["inputs"] = [{"name": "data", "type": "uri_folder", "path": "/millrace/in", "key": "k", "stage": True}]
    pod.output("a", "/millrace/out/data/a")
    pod.output("b", "/millrace/out/data/b")
    source = (
        "from os import environ as env, listdir\n"
        "def predict(data): print(env['BATCH_INPUT_DIR'], sorted(listdir(env['BATCH_OUTPUT_DIR'])))"
    )
    assert run(source).out == f"{pod.path('/millrace/in')} ['a', 'b']\n"


def test_output_is_copied_and_its_log_capped(pod: Pod, run: Run) -> None:
    pod.plan["limits"]["logBytes"] = 1000
    source = (
        "import sys\ndef predict():\n    for i in range(2000): print(f'{i:099d}')\n    print('the end ✓', file=sys.stderr)"
    )
    ended = run(source)
    assert len(ended.out) == 200_000
    assert ended.log[:1000] == ended.out[:1000]
    assert "bytes dropped after the first 1000" in ended.log[1000:]
    assert len(ended.log) < 1100
    assert ended.message["logTail"].endswith("the end ✓\n")


def test_two_hundred_megabytes_of_output_pass(pod: Pod, run: Run, bundle: Path) -> None:
    pod.source("import os\ndef predict():\n    for _ in range(200): os.write(1, b'x' * 1_000_000)")
    main = pod.start(bundle)
    ended = main.wait(60)
    assert (ended.code, len(ended.out)) == (0, 200_000_000)
    assert pod.path("/millrace/run/main.log").stat().st_size < (1 << 20) + 200


def test_a_termination_message_is_cut_to_its_limit_on_a_character(run: Run) -> None:
    ended = run("def predict():\n    print('\\x00' * 3000)\n    raise ValueError('✓' * 5000)")
    assert ended.message["reason"] == "UserError"
    assert ended.message["message"].startswith("ValueError: ✓✓")
    assert "�" not in ended.message["message"] + ended.message["logTail"]


def test_the_record_is_sealed_and_the_key_gone_before_user_code(pod: Pod, run: Run) -> None:
    key = pod.seal()
    ended = run("import os\ndef predict(): print(sorted(os.listdir('../run')))")
    assert "'key'" not in ended.out
    assert "'started'" in ended.out
    record = pod.path("/millrace/run/exit.json").read_bytes()
    body = unseal(record, key)
    assert body is not None
    assert body["exitCode"] == 0
    assert unseal(record, b"other") is None
    envelope = json.loads(record)
    assert envelope["hmac"] == hmac.new(key, envelope["body"].encode(), hashlib.sha256).hexdigest()


def test_a_deadline_ends_the_child_with_a_reason(pod: Pod, run: Run) -> None:
    pod.plan["limits"]["running"] = 0.3
    ended = run("import time\ndef predict(): time.sleep(60)")
    assert (ended.code, ended.message["reason"]) == (243, "DeadlineExceeded")
    assert "0.3 s" in ended.message["message"]


def test_a_child_that_ignores_sigterm_is_killed_in_time(pod: Pod, run: Run) -> None:
    pod.plan["limits"] |= {"running": 0.3, "stop": 0.3}
    source = (
        "import signal, time\ndef predict():\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    while True: time.sleep(60)"
    )
    ended = run(source)
    assert ended.code == 243


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_child_that_exits_0_when_it_is_stopped_is_no_success(pod: Pod, bundle: Path, number: signal.Signals) -> None:
    pod.source(
        "import signal, sys, time\ndef predict():\n"
        "    for n in (signal.SIGTERM, signal.SIGINT): signal.signal(n, lambda *_: sys.exit(0))\n"
        "    print('ready')\n    time.sleep(60)"
    )
    main = pod.start(bundle)
    main.until_log("ready")
    main.signal(number)
    ended = main.wait()
    assert (ended.code, ended.record["exitCode"], ended.message["reason"]) == (244, 244, "Terminated")


def test_a_signal_before_user_code_starts_none(pod: Pod, bundle: Path) -> None:
    pod.seal()
    pod.source("def predict(): print('ran')")
    import fcntl

    with pod.path("/millrace/ctl/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # process 1 stands before its lock
        main = pod.start(bundle)
        wchan = Path(f"/proc/{main.pid}/syscall")
        until(lambda: pod.path("/millrace/run/key").exists() and wchan.read_text().startswith("73 "), "flock")
        main.signal(signal.SIGTERM)
    ended = main.wait()
    assert (ended.code, ended.out, ended.message["reason"]) == (244, "", "Terminated")


def test_scratch_that_fills_up_ends_the_child_with_numbers(pod: Pod, run: Run) -> None:
    pod.plan["limits"]["scratchBytes"] = 4_000_000
    pod.output()
    source = (
        "import os, time\ndef predict():\n"
        "    with open(os.environ['BATCH_OUTPUT_DIR'] + '/x', 'wb') as f:\n"
        "        f.write(b'x' * 5_000_000); f.flush(); time.sleep(60)"
    )
    ended = run(source)
    assert (ended.code, ended.message["reason"]) == (245, "ScratchFull")
    assert "of 4000000 bytes" in ended.message["message"]


def test_what_user_code_leaves_behind_is_ended(pod: Pod, run: Run) -> None:
    source = """
import os, time
def predict():
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
    print(os.getpid())
"""
    ended = run(source)  # would wait for the pipe's end for ten minutes
    assert ended.code == 0


@pytest.mark.parametrize(
    "damage",
    [
        '{"code": {"handler": "a"}, "inputs": [{"name": "x", "type": "uri_file", "stage": true}]}',
        '{"code": {"handler": "a"}, "limits": {"running": "soon"}}',
        "",
        "[]",
        "{}",
        '{"code": {"handler": "a:b", "script": "c"}}',
        '{"code": 1',
    ],
)
def test_a_pod_that_breaks_the_contract_is_a_runtime_error(pod: Pod, bundle: Path, damage: str) -> None:
    main_plan = pod.path("/millrace/pod/plan.json")
    pod.write_plan = lambda: main_plan.write_text(damage)  # type: ignore[method-assign,assignment]
    ended = pod.start(bundle).wait()
    assert (ended.code, ended.message["reason"]) == (249, "RuntimeError")


def pythons() -> list[str]:
    """One Python of each minor version from 3.9 on that this machine has."""
    found = {sys.version_info[:2]: sys.executable}
    known = [Path("/usr/bin/python3"), *Path.home().glob(".pyenv/versions/*/bin/python3"), *Path.home().glob(UV_PYTHONS)]
    for path in filter(Path.exists, known):
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
        major, minor = map(int, said.split()[1].split(".")[:2])
        found[major, minor] = str(path)
    return [found[version] for version in sorted(found) if version >= (3, 9)]


@pytest.mark.parametrize("python", pythons())
def test_every_python_at_hand_runs_it(run: Run, python: str) -> None:
    ended = run("import sys\nasync def predict(): print(sys.version_info[:2])\n", python=python)
    assert ended.code == 0, ended.err
    ended = run("def predict(a): pass", python=python)
    assert ended.code == 241, ended.err


def test_a_handlers_processes_can_be_spawned(run: Run) -> None:
    source = """
import multiprocessing
def square(x): return x * x
def predict():
    with multiprocessing.get_context("spawn").Pool(1) as pool: print(pool.map(square, [2, 3]))
"""
    assert run(source).out == "[4, 9]\n"


def test_a_reader_that_stands_still_does_not_keep_the_end_off(pod: Pod, bundle: Path) -> None:
    pod.source("def predict():\n    while True: print('x' * 10_000)")
    main = pod.start(bundle)
    until(lambda: len(pod.text("/millrace/run/main.log")) > 60_000, "a full pipe")
    main.signal(signal.SIGTERM)
    assert main.returncode() == 244


def test_safe_path_of_the_users_is_no_trap(pod: Pod, run: Run) -> None:
    pod.environment = {"PYTHONSAFEPATH": "1"}
    assert run("def predict(): print('found')").out == "found\n"


def test_a_pod_with_main_alone_needs_no_run_volume(pod: Pod, bundle: Path) -> None:
    pod.path("/millrace/run").rmdir()
    pod.path("/millrace/run").write_text("not a folder")
    pod.source("def predict(): print('alone')")
    ended = pod.start(bundle).wait()
    assert (ended.code, ended.out, ended.message["reason"]) == (0, "alone\n", "Completed")


@pytest.mark.parametrize("key", [None, b"", b"short"])
def test_a_lock_without_a_key_is_a_pod_that_breaks_the_contract(pod: Pod, run: Run, key: bytes | None) -> None:
    pod.seal()
    pod.path("/millrace/run/key").unlink()
    if key is not None:
        pod.path("/millrace/run/key").write_bytes(key)
    ended = run("def predict(): print('ran')")
    assert (ended.code, ended.out, ended.message["reason"]) == (249, "", "RuntimeError")
