"""Process 1 of main, from its first line to its exit code."""

from __future__ import annotations

import os
import sys
import time

from millrace import protocol
from millrace.inpod.runtime import plan as plans
from millrace.inpod.runtime import record
from millrace.inpod.runtime.errors import RuntimeFault
from millrace.inpod.runtime.files import Folder
from millrace.inpod.runtime.memory import oom_kills
from millrace.inpod.runtime.paths import here
from millrace.inpod.runtime.supervise import Signals, Supervisor
from millrace.inpod.runtime.verdict import Verdict, judge

DRAIN_SECONDS = 2.0  # for output that is still in the pipes when all who could write to them are dead


def main() -> int:
    """Run user code as the plan says; the exit code of this process."""
    signals = Signals()
    try:
        return _run(signals)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is not user code's fault
        told = str(error) if isinstance(error, (RuntimeFault, OSError)) else repr(error)
        fault = _own(protocol.EXIT_RUNTIME_ERROR, told)
        record.write_termination(fault, "")
        return fault.exit_code


def _own(exit_code: int, message: str) -> Verdict:
    print(f"[millrace] {message}", file=sys.stderr)
    return Verdict(exit_code, protocol.REASONS[exit_code], message)


def _run(signals: Signals) -> int:
    plan = plans.load()
    run = _run_folder()
    _hide()
    lock = _take_lock()
    key = _take_key(run)
    if lock is not None and key is None:
        raise RuntimeFault(f"{protocol.MAIN_KEY_FILE} is missing: nothing could be published")
    _make_outputs(plan)
    began = time.time()
    if run is not None:
        run.write("started", record.timestamp(began).encode())
    missing = plan.missing_script()
    tail = ""
    if signals.stops:
        verdict = _own(protocol.EXIT_TERMINATED, "stopped before user code")
    elif missing:
        verdict = _own(protocol.EXIT_HANDLER_NOT_FOUND, missing)
    else:
        verdict, tail = _child(plan, run, signals)
    verdict = record.write(verdict, tail, began, run, key)
    del lock
    return verdict.exit_code


def _child(plan: plans.Plan, run: Folder | None, signals: Signals) -> tuple[Verdict, str]:
    """Start user code, wait for its end, end what it left behind; the verdict and the end of its output."""
    from millrace.inpod.runtime.environment import child_environment
    from millrace.inpod.runtime.launch import start
    from millrace.inpod.runtime.logs import CappedLog, Copier
    from millrace.inpod.runtime.scratch import Scratch

    killed_before = oom_kills()
    env = child_environment(plan, dict(os.environ))
    child = start(plan, env, here(protocol.RUN_DIR) if run else here(protocol.TMP_DIR))
    copier = Copier(child.stdout, child.stderr, CappedLog(run.create("main.log") if run else None, plan.log_bytes))
    copier.start()
    folders = [here(path) for path in (protocol.OUT_VOLUME, protocol.RUN_DIR, protocol.TMP_DIR)]
    scratch = Scratch(folders, plan.scratch_bytes)
    supervisor = Supervisor(child, signals, scratch, plan.running, plan.stop)
    import hmac  # noqa: F401

    from millrace.inpod.runtime import cleanup, returned  # from here on user code runs, and imports cost it nothing

    status = supervisor.run()
    cleanup.end_leftovers(child.pid)
    copier.finish(DRAIN_SECONDS)
    verdict = judge(status, supervisor.stop, oom_kills() - killed_before, child.report(), copier.stderr_tail.text())
    if verdict.exit_code == 0:
        verdict.tables = returned.read_report(child.report(), [item["name"] for item in plan.outputs])
    return verdict, copier.tail.text()


def _run_folder() -> Folder | None:
    """The run folder, or None in a pod that has main alone and no such volume."""
    try:
        os.makedirs(here(protocol.RUN_DIR), exist_ok=True)
        return Folder(here(protocol.RUN_DIR))
    except OSError:
        return None


def _take_lock() -> int | None:
    """The lock that tells collect that we live; None without stage. The child does not inherit it (close-on-exec)."""
    import fcntl

    try:
        fd = os.open(here(protocol.LOCK_FILE), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _take_key(run: Folder | None) -> bytes | None:
    """The key of the seal, which nobody can read once this returns."""
    from millrace.inpod.runtime.seal import KEY_BYTES

    try:
        key = run.take("key", KEY_BYTES) if run else b""
    except FileNotFoundError:
        return None
    return key if len(key) == KEY_BYTES else None


def _make_outputs(plan: plans.Plan) -> None:
    """The output folder, and one for each output where there are several; they belong to the user that main runs as."""
    for folder in plan.output_folders:
        os.makedirs(folder, exist_ok=True)


def _hide() -> None:
    """Become undumpable: then not even the same user can read our memory, environment or descriptors, or trace us.

    Outside a PID namespace of our own we also become the reaper of orphans, to find what user code leaves behind.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    set_dumpable, set_child_subreaper = 4, 36
    if prctl(set_dumpable, 0, 0, 0, 0) != 0:
        raise RuntimeFault(f"prctl(PR_SET_DUMPABLE) failed: {os.strerror(ctypes.get_errno())}")
    if os.getpid() != 1:
        prctl(set_child_subreaper, 1, 0, 0, 0)
