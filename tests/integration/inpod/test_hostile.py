"""User code that works against its process 1, in a container's shape: PID namespace, plain user, read-only `ctl`."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import pytest

from integration.inpod.support import Ended, Pod
from millrace.inpod.runtime.seal import unseal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes namespaces")

HELPERS = """
import ctypes, fcntl, os, signal, subprocess, sys, time
def tried(action):
    try:
        return action()
    except BaseException as error:
        return type(error).__name__
"""


def contained(pod: Pod, bundle: Path, source: str) -> Ended:
    pod.source(HELPERS + textwrap.dedent(source))
    return pod.start(bundle, contained=True).wait()


def test_user_code_runs_as_a_child_of_process_1(pod: Pod, bundle: Path) -> None:
    source = """
    def predict():
        import getpass
        print(os.getppid(), os.getuid(), getpass.getuser(), os.path.expanduser('~'))
    """
    ended = contained(pod, bundle, source)
    assert ended.out == f"1 65532 millrace {pod.path('/tmp')}\n"
    assert ended.code == 0


def test_neither_memory_nor_descriptors_of_process_1_can_be_read(pod: Pod, bundle: Path) -> None:
    pod.seal()
    ended = contained(
        pod,
        bundle,
        """
        def predict():
            for name in ('environ', 'mem', 'maps', 'fd/3'):
                print(name, tried(lambda: open('/proc/1/' + name, 'rb').read(1)))
            print('fd', tried(lambda: os.listdir('/proc/1/fd')))
            ptrace = ctypes.CDLL(None, use_errno=True).ptrace
            print('ptrace', ptrace(16, 1, 0, 0))
            pidfd = os.pidfd_open(1)
            print('pidfd_getfd', ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, 3, 0))
            print('own', sorted(os.listdir('/proc/self/fd')))
        """,
    )
    assert ended.code == 0, ended.err
    said = dict(line.split(" ", 1) for line in ended.out.splitlines())
    assert said == {
        "environ": "PermissionError",
        "mem": "PermissionError",
        "maps": "PermissionError",
        "fd/3": "PermissionError",
        "fd": "PermissionError",
        "ptrace": "-1",
        "pidfd_getfd": "-1",
        "own": "['0', '1', '2', '3', '4', '5']",  # 3: what it says of its own call; 4 and 5: the pidfd and the listing itself
    }


def test_process_1_survives_its_child(pod: Pod, bundle: Path) -> None:
    source = """
    def predict():
        for number in (signal.SIGKILL, signal.SIGSTOP): print(tried(lambda: os.kill(1, number)))
        sys.exit(7)
    """
    ended = contained(pod, bundle, source)
    assert (ended.code, ended.record["exitCode"]) == (7, 7)


def test_the_lock_can_be_neither_replaced_nor_freed(pod: Pod, bundle: Path) -> None:
    pod.seal()
    lock = pod.path("/millrace/ctl/lock")
    ended = contained(
        pod,
        bundle,
        f"""
        def predict():
            print(tried(lambda: os.unlink({str(lock)!r})))
            print(tried(lambda: os.rename({str(lock)!r}, {str(lock)!r} + '2')))
            with open({str(lock)!r}) as f:
                print(tried(lambda: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)))
                fcntl.flock(f, fcntl.LOCK_UN)
            with open({str(lock)!r}) as f:
                print(tried(lambda: fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)))
        """,
    )
    assert ended.out.split() == ["OSError", "OSError", "BlockingIOError", "BlockingIOError"]


@pytest.mark.parametrize(
    "plant",
    [
        "os.symlink(target, path)",
        "os.mkfifo(path)",
        "os.makedirs(path + '/full')",
        'open(path, \'w\').write(\'{"body": "{\\\\"exitCode\\\\": 0}", "hmac": "00"}\')',
        "os.link(target, path)",
    ],
    ids=["link", "fifo", "folder", "forged record", "hard link"],
)
def test_what_is_planted_where_the_record_goes_changes_nothing(pod: Pod, bundle: Path, plant: str) -> None:
    key = pod.seal()
    ended = contained(
        pod,
        bundle,
        f"""
        def predict():
            target = {str(pod.path("/millrace/out/target"))!r}
            open(target, 'w').write('mine')
            for name in ('exit.json', '.new-exit.json', 'started', 'main.log'):
                path = {str(pod.path("/millrace/run"))!r} + '/' + name
                tried(lambda: os.unlink(path))
                {plant}
            sys.exit(7)
        """,
    )
    body = unseal(pod.path("/millrace/run/exit.json").read_bytes(), key)
    assert (ended.code, body and body["exitCode"]) == (7, 7)
    assert pod.text("/millrace/out/target") == "mine"


def test_a_daemon_that_holds_the_output_open_is_ended(pod: Pod, bundle: Path) -> None:
    pod.seal()
    ended = contained(
        pod,
        bundle,
        f"""
        def predict():
            if os.fork() == 0:
                os.setsid()
                for number in range(1, 65): tried(lambda: signal.signal(number, signal.SIG_IGN))
                if os.fork() == 0:
                    print('daemon', flush=True)
                    while True:
                        open({str(pod.path("/millrace/out/late"))!r}, 'a').write('x')
                        time.sleep(0.01)
                os._exit(0)
            while not os.path.exists({str(pod.path("/millrace/out/late"))!r}): time.sleep(0.001)
        """,
    )
    assert (ended.code, ended.out) == (0, "daemon\n")
    size = pod.path("/millrace/out/late").stat().st_size
    assert pod.path("/millrace/out/late").stat().st_size == size


def test_zombies_of_user_code_are_reaped(pod: Pod, bundle: Path) -> None:
    ended = contained(
        pod,
        bundle,
        """
        def zombies():
            texts = [tried(lambda: open(f'/proc/{pid}/stat').read()) for pid in os.listdir('/proc') if pid.isdigit()]
            return [text for text in texts if ') Z 1 ' in text]
        def predict():
            for _ in range(50):
                if os.fork() == 0:
                    if os.fork() == 0: os._exit(0)
                    os._exit(0)
                os.wait()
            ours = {'1', str(os.getpid())}
            end = time.monotonic() + 10
            while {pid for pid in os.listdir('/proc') if pid.isdigit()} - ours and time.monotonic() < end: pass
            print(len(zombies()))
        """,
    )
    assert ended.out == "0\n"


def test_sigterm_reaches_the_whole_group_and_the_rest_is_killed(pod: Pod, bundle: Path) -> None:
    pod.plan["limits"]["stop"] = 0.3
    pod.seal()
    pod.source(
        HELPERS
        + textwrap.dedent(
            """
            def predict():
                if os.fork() == 0:
                    signal.signal(signal.SIGTERM, lambda *_: (print('child heard'), os._exit(0)))
                    print('one')
                    time.sleep(60)
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                print('two')
                while True: time.sleep(60)
            """
        )
    )
    main = pod.start(bundle, contained=True)
    main.until_log("one")
    main.until_log("two")
    main.signal(signal.SIGTERM)
    ended = main.wait()
    assert (ended.code, ended.message["reason"]) == (244, "Terminated")
    assert "child heard" in ended.out


def test_death_of_process_1_frees_the_lock_and_leaves_no_record(pod: Pod, bundle: Path) -> None:
    import fcntl

    pod.seal()
    pod.source("import time\ndef predict():\n    print('ready')\n    time.sleep(60)")
    main = pod.start(bundle, contained=True)
    main.until_log("ready")
    main.signal(signal.SIGKILL)  # from outside the namespace, as the kernel does when memory is out
    with pod.path("/millrace/ctl/lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
    assert main.wait().record == {}
