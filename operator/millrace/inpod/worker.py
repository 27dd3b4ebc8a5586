"""collect's worker: publishes the outputs that main's end allows, archives the logs, says what it did.

It is a fork of collect.py that begins while main still runs: everything is imported and the stores are open when the
order comes. The data plane retries each call; what is tried again here is the whole of it, until limits.uploading is over.
"""

from __future__ import annotations

import functools
import json
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from millrace import protocol
from millrace.inpod.faults import Fault
from millrace.inpod.podplan import Json, open_stores, timestamp, whose
from millrace.inpod.report import Log, redact, write_failure, write_termination
from millrace.inpod.runtime.files import read_all
from millrace.inpod.runtime.paths import here

if TYPE_CHECKING:
    from millrace.data.model import Outcome, PendingOutput, Published
    from millrace.data.publish import Attempt
    from millrace.data.stores import Store

T = TypeVar("T")
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
WARNINGS_SHOWN = 5  # of one output
ORDER_LIMIT = 1024 * 1024
LOG_SECONDS = 600.0  # for the log archive, once the outputs are published
LATE_LOG_SECONDS = 10.0  # for the log archive, once publishing has failed

FINAL = {"Superseded", "KeyRefused", "InvalidStore", "TreeTooLarge", "TypeMismatch", "DiskError", "UploadFailed"}
# What somebody may be about to repair (a policy, a bucket, a Secret); hours of trying would only hide it.
SLOW = {"AccessDenied", "BucketNotFound", "ContainerNotFound", "CredentialsMissing", "TlsUntrusted", "WrongRegion"}
SLOW_SECONDS = 60.0


def work(plan: Json, order: int) -> int:
    """Wait for the order, {"outcome": record or None, "deadline": monotonic, "again": bool}, and carry it out; the exit
    code. `again`: a worker before this one was killed.
    """
    worker = Worker(plan)
    worker.prepare()
    told = json.loads(read_all(order, ORDER_LIMIT) or b"null")
    if told is None:
        return 0  # the supervisor is gone, and with it the container
    try:
        return worker.collect(told["outcome"], told["deadline"], again=told["again"])
    except Fault as fault:
        worker.log(f"{fault.reason}: {fault.message}")
        worker.archive(time.monotonic() + LATE_LOG_SECONDS)
        return write_failure(protocol.COLLECT, fault, "output")


class Worker:
    """One try at all that collect has to do. Raises Fault UploadFailed or Superseded."""

    def __init__(self, plan: Json) -> None:
        self._plan = plan
        kept = [output for output in plan.get("outputs") or [] if not output.get("void")]
        self._outputs = [{**output, "path": here(output["path"])} for output in kept]
        self._logs: Json | None = plan.get("logs")
        self._stores: dict[int, Store] = {}
        self._warnings: list[str] = []
        self.log = Log(here(protocol.COLLECT_LOG_FILE))
        self.log(whose(plan))

    def prepare(self) -> None:
        """What can be done before main is over: imports and stores. What fails now is tried again, and told, later."""
        from millrace.data.errors import DataError

        if self._outputs:
            import millrace.data.publish
        if self._logs:
            import millrace.inpod.archive  # noqa: F401
        try:
            self._open()
        except (DataError, Fault) as error:
            self.log(f"{error.reason}: {error}; tried again later")

    def _open(self) -> None:
        wanted = [output["store"] for output in self._outputs] + ([self._logs["store"]] if self._logs else [])
        self._stores = open_stores(self._plan, wanted)

    def collect(self, outcome: Json | None, deadline: float, *, again: bool) -> int:
        """Publish, archive, report; the exit code."""
        if outcome is None:
            self.log("main left no exit record with a right seal: its process 1 was killed")
        else:
            self.log(f"main is over: exit code {outcome.get('exitCode')}, {outcome.get('reason')}")
        if not self._stores:
            self._until(deadline, self._open)
        success = outcome is not None and outcome.get("exitCode") == 0
        ahead = threading.Thread(target=self._archive_ahead, args=(deadline,), daemon=True)
        ahead.start()
        known = (outcome or {}).get("tables") or {}
        outputs = [{**output, "table": known.get(output["name"])} for output in self._outputs]
        published = self._publish(outputs, success, deadline, again=again) if outputs else []
        uploaded = timestamp()
        ahead.join()
        uri = self.archive(min(deadline, time.monotonic() + LOG_SECONDS))
        body: Json = {"outputs": [published_entry(output) for output in published]}
        tables = [{"name": output.name, **output.table} for output in published if output.table]
        body |= ({"tables": tables} if tables else {}) | ({"logs": uri} if uri else {})
        body |= {"warnings": [redact(warning) for warning in self._warnings], "uploaded": uploaded}
        write_termination(protocol.COLLECT, body, ("warnings", "tables", "outputs"))
        return 0

    def _publish(self, outputs: list[Json], success: bool, deadline: float, *, again: bool) -> list[Published]:
        """Upload and commit, until it succeeds; the outputs that can be read now."""
        from millrace.data.publish import Attempt, abort, abort_left, commit, take_over

        fitting = ("OnSuccess", "Always") if success else ("OnFailure", "Always")
        wanted = [output for output in outputs if output.get("when", "OnSuccess") in fitting]
        run, first = self._plan["run"], outputs[0]["store"]
        shard = self._plan.get("shards")
        home = protocol.shard_home(run["uid"], shard["index"]) if shard else run["uid"]
        attempt = Attempt(run_uid=home, number=run["attempt"], stores=self._stores, record=first)
        outcome: Outcome = "success" if success else "failure"
        pending: list[PendingOutput] = []
        began = time.monotonic()
        try:
            if again:
                self._until(deadline, lambda: abort_left(attempt, deadline=deadline))
            # Also without any output: it ends what earlier attempts have left.
            published = self._until(deadline, lambda: take_over(attempt, deadline=deadline))
            if published is None:
                pending = self._upload(attempt, wanted, deadline)
                published = self._until(deadline, lambda: commit(attempt, outcome, pending, deadline=deadline))
        except BaseException:
            abort(attempt)  # not before the end: it fences this attempt off for good
            raise
        self._tell(pending, published, time.monotonic() - began)
        return published

    def _upload(self, attempt: Attempt, wanted: list[Json], deadline: float) -> list[PendingOutput]:
        """One after the other: an upload uses all CPUs by itself, and two at once need 88 of collect's 96 MiB."""
        from millrace.data.output import upload_output

        pending = []
        for output in wanted:
            action = functools.partial(upload_output, attempt, output, deadline=deadline)
            pending.append(self._until(deadline, action, about=output["name"]))
        return pending

    def _tell(self, pending: list[PendingOutput], published: list[Published], seconds: float) -> None:
        for done in published:
            self.log(f"output {done.name}: {done.uri}, {done.bytes} bytes, {done.files} files, {seconds:.2f} s")
            if done.attempt != self._plan["run"]["attempt"]:
                self._warn(f"{done.name}: attempt {done.attempt} had already published it")
        for output in pending:
            for text in shorten(output.warnings):
                self._warn(f"{output.name}: {text}")

    def archive(self, deadline: float) -> str | None:
        """Archive the logs when asked; their uri. A lost log makes no failure of a published run, only a warning."""
        store = self._stores.get(self._logs["store"]) if self._logs else None
        if store is None:
            return None
        from millrace.inpod.archive import OWN, archive_logs

        try:
            return self._until(deadline, lambda: archive_logs(self._plan, store, OWN, deadline))
        except Fault as fault:
            self._warn(f"the logs are not archived: {fault.message}")
            return None

    def _archive_ahead(self, deadline: float) -> None:
        """The logs that are complete already, beside the outputs' upload."""
        if not self._logs:
            return
        from millrace.inpod.archive import READY, archive_logs

        store = self._stores[self._logs["store"]]
        try:
            self._until(deadline, lambda: archive_logs(self._plan, store, READY, deadline))
        except Fault as fault:
            self._warn(f"main's log is not archived: {fault.message}")

    def _warn(self, text: str) -> None:
        self._warnings.append(text)
        self.log(f"warning: {text}")

    def _until(self, deadline: float, action: Callable[[], T], *, about: str | None = None) -> T:
        """Do it until it succeeds; Fault with the last cause when the time is over or trying again cannot help."""
        from millrace.data.errors import DataError

        pause = FIRST_PAUSE
        patience = min(deadline, time.monotonic() + SLOW_SECONDS)
        while True:
            try:
                return action()
            except DataError as error:
                last = patience if error.reason in SLOW else deadline
                if error.reason in FINAL or time.monotonic() + pause >= last:
                    reason = error.reason if error.reason == "Superseded" else None
                    message = f"{error.reason}: {error}"
                    raise Fault(protocol.EXIT_UPLOAD_FAILED, message, reason=reason, about=about) from error
                self.log(f"{error.reason}: {error}; again in {pause:g} s")
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)


def shorten(left_out: tuple[str, ...]) -> list[str]:
    """The first few warnings of an output, and how many there are in all."""
    more = len(left_out) - WARNINGS_SHOWN
    return [*left_out[:WARNINGS_SHOWN], *([f"and {more} more, {len(left_out)} in all"] if more > 0 else [])]


def published_entry(output: Published) -> Json:
    """What the termination message says of an output."""
    return {
        "name": output.name,
        "uri": output.uri,
        "bytes": output.bytes,
        "files": output.files,
        "sha256": output.sha256,
        "contentDigest": output.content_digest,
    }
