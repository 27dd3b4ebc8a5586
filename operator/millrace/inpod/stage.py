"""Init container `stage`: lock and keys, the runtime for images that are not ours, requirements, inputs.

uv works beside the downloads, of which some go on at a time. The first failure ends all.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.fetching import Fetch, fetching, in_stores
from millrace.inpod.podplan import Json, limit, load_plan, open_stores, whose
from millrace.inpod.report import Log, write_failure, write_termination
from millrace.inpod.runtime.files import Folder
from millrace.inpod.runtime.paths import here
from millrace.inpod.runtime.seal import KEY_BYTES

if TYPE_CHECKING:
    from millrace.inpod.requirements import Installer

AT_ONCE = 4  # jobs: the requirements, and inputs, each with threads of its own
PROGRESS_SECONDS = 5.0
ARCHIVE_SECONDS = 10.0  # for stage's own log when it has failed
LATE_SECONDS = 20.0  # after limits.staging, when something did not end by itself
_installers: list[Installer] = []  # what a sudden end has to take along


def main() -> int:
    """Prepare the pod; the exit code."""
    try:
        give_up_on_sigterm()
        plan = load_plan()
        deadline = time.monotonic() + limit(plan, "staging")
        give_up_when_late(deadline)
        _run(plan, deadline)
    except Fault as fault:
        return write_failure(protocol.STAGE, fault, "input")
    except OSError as error:
        return write_failure(protocol.STAGE, Fault(protocol.EXIT_RUNTIME_ERROR, str(error)), "input")
    return 0


def _run(plan: Json, deadline: float) -> None:
    """Stage; when that fails, archive the log, since collect will never start."""
    make_lock_and_keys()
    log = Log(here(protocol.STAGE_LOG_FILE))
    log(whose(plan))
    try:
        _stage(plan, deadline, log)
    except Fault as fault:
        _stop_installers()
        log(f"{fault.reason}: {fault.message}")
        fault.logs = _archive(plan, log)
        raise


def _archive(plan: Json, log: Log) -> str | None:
    """Where the log is now, if it could be archived."""
    if not plan.get("logs"):
        return None
    from millrace.data.errors import DataError
    from millrace.inpod.archive import STAGES, archive_logs

    try:
        index = plan["logs"]["store"]
        return archive_logs(plan, open_stores(plan, [index])[index], STAGES, time.monotonic() + ARCHIVE_SECONDS)
    except (DataError, Fault) as error:
        log(f"the log is not archived: {error}")
        return None


def _stage(plan: Json, deadline: float, log: Log) -> None:
    began = time.monotonic()
    code = plan.get("code") or {}
    if code.get("bringRuntime"):
        from millrace.inpod.bundle import write_bundle

        write_bundle(here(protocol.RUNTIME_DIR))
        log("the runtime is brought")
    jobs: list[Callable[[], Json | None]] = []
    if code.get("requirements"):
        jobs.append(_install(plan, deadline, log))
    about: Json = {}
    if code.get("zip"):
        jobs.append(functools.partial(_unpack, plan, deadline, log, about))
    jobs += _inputs(plan, deadline, log)
    slices = (plan.get("shards") or {}).get("slices") or {}
    # Of what is sliced the plan's own pod reports the whole.
    about["inputs"] = [entry for entry in _do(jobs) if entry is not None and entry["name"] != slices.get("input")]
    about["seconds"] = round(time.monotonic() - began, 3)
    log(f"done in {about['seconds']} s")
    write_termination(protocol.STAGE, about, ("inputs",))


def make_lock_and_keys() -> None:
    """ctl/lock, and the same 32 random bytes in run/key and seal/key, which nobody but this user may read."""
    for folder in (protocol.CTL_DIR, protocol.RUN_DIR, protocol.SEAL_DIR):
        os.makedirs(here(folder), exist_ok=True)
    key = os.urandom(KEY_BYTES)
    Folder(here(protocol.RUN_DIR)).write("key", key, 0o600)
    Folder(here(protocol.SEAL_DIR)).write("key", key, 0o600)
    Folder(here(protocol.CTL_DIR)).write("lock", b"", 0o444)


def _install(plan: Json, deadline: float, log: Log) -> Callable[[], None]:
    """The job that installs the requirements."""
    from millrace.inpod.cache import install_once
    from millrace.inpod.requirements import Installer

    installer = Installer(plan["code"], plan.get("index") or {}, deadline, log)
    _installers.append(installer)
    return functools.partial(install_once, installer, plan, deadline, log)


def _unpack(plan: Json, deadline: float, log: Log, about: Json) -> None:
    """Makes the source out of its zip, and says so under `source`."""
    from millrace.inpod.source import unpack_source

    about["source"] = unpack_source(plan, deadline, log)


def _inputs(plan: Json, deadline: float, log: Log) -> list[Callable[[], Json]]:
    """A job for each input that is to be staged; it returns the input's entry for the termination message."""
    wanted = [item for item in plan.get("inputs") or [] if item.get("stage") and item.get("type") != "value"]
    if not wanted:
        return []
    from millrace.data.errors import DataError
    from millrace.inpod.inline import write_inline
    from millrace.inpod.mount import check_mount

    try:
        slices = (plan.get("shards") or {}).get("slices")
        stores = open_stores(plan, [*in_stores(wanted), *([slices["store"]] if slices else [])])
    except DataError as error:
        raise Fault(protocol.EXIT_STAGE_FAILED, str(error), reason=error.reason) from error
    jobs: list[Callable[[], Json]] = []
    for item in wanted:
        if item.get("inline"):
            jobs.append(functools.partial(write_inline, item, log))
            continue
        if item.get("mount"):
            copies = any(not other.get("mount") for other in wanted)
            jobs.append(functools.partial(check_mount, item, stores[item["store"]], log, beside_copies=copies))
            continue
        jobs.append(functools.partial(_stage_one, item, fetching(plan, item, stores, deadline), log))
    return jobs


def _do(jobs: list[Callable[[], Json | None]]) -> list[Json | None]:
    """All jobs, some at a time; what they return, in their order. The first that fails ends all."""
    if len(jobs) < 2:
        return [job() for job in jobs]
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        futures = [pool.submit(job) for job in jobs]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises what the first that failed has raised
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _stage_one(item: Json, fetch: Fetch, log: Log) -> Json:
    from millrace.data.errors import DataError

    name = item["name"]
    if item.get("type") not in ("uri_file", "uri_folder"):
        raise Fault(protocol.EXIT_STAGE_FAILED, f"inputs of type {item.get('type')} cannot be staged", about=name)
    try:
        staged = fetch(progress=_Progress(name, log))
    except DataError as error:
        raise Fault(protocol.EXIT_STAGE_FAILED, str(error), reason=error.reason, about=name) from error
    rate = staged.bytes / 1e6 / max(staged.seconds, 0.001)
    log(f"input {name}: {staged.bytes} bytes, {staged.files} files, {staged.seconds:.2f} s, {rate:.1f} MB/s")
    return {
        "name": name,
        "bytes": staged.bytes,
        "files": staged.files,
        "sha256": staged.sha256,
        "seconds": round(staged.seconds, 3),
        "identityUsed": staged.identity,
    }


class _Progress:
    """A line now and then while an input is under way. Called from the data plane's threads."""

    def __init__(self, name: str, log: Log) -> None:
        self._name = name
        self._log = log
        self._next = time.monotonic() + PROGRESS_SECONDS

    def __call__(self, done: int, files: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._log(f"input {self._name}: {done} bytes, {files} files so far")


def give_up_on_sigterm() -> None:
    """From here on the process ends when the pod is told to stop."""
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(*_: Any) -> None:
    """SIGTERM: the pod is going; what is half done goes with it.

    Ends the process right here: an exception from a signal handler is lost where Python runs a callback of its own.
    """
    _give_up(Fault(protocol.EXIT_TERMINATED, "stopped by SIGTERM"))


def _give_up(fault: Fault) -> NoReturn:
    _stop_installers()
    os._exit(write_failure(protocol.STAGE, fault, "input"))


def _stop_installers() -> None:
    for installer in _installers:
        installer.stop()


def give_up_when_late(deadline: float) -> None:
    """End the process when it is still there after the deadline: a call that never returns must not hold the run."""

    def late() -> None:
        _give_up(Fault(protocol.EXIT_STAGE_FAILED, "staging took longer than limits.staging"))

    seconds = deadline + LATE_SECONDS - time.monotonic()
    if seconds < threading.TIMEOUT_MAX:
        timer = threading.Timer(seconds, late)
        timer.daemon = True
        timer.start()
