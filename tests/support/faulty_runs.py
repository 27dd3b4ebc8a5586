"""Runs whose requests to the store are held or lost at a step of publish (support/faulty_store.py), and their oracle."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass

from support.cluster import Object, Refused, job_run
from support.faulty_store import FaultyStore, Rule

MARK = """
import os, pathlib
def main():
    out = pathlib.Path(os.environ["BATCH_OUTPUT_DIR"])
    (out / "mark.txt").write_text(os.environ["MILLRACE_ATTEMPT"])
    (out / "rows.csv").write_text("1,2\\n" * 50_000)
"""
# Memory that is no process's own: the kernel takes the process with the highest score, and with process 1 all others.
KILL_CONTAINER = """
import os
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("1000")
hoard = os.memfd_create("hoard")
while True:
    os.write(hoard, b"x" * 1_000_000)
"""
INTENT, RECORD = r"ATTEMPTS/1/uploads\.json", r"ATTEMPTS/1/commit\.json"
CREATE, PART, COMPLETE = r"KEY\?uploads", r"KEY\?.*partNumber", r"KEY\?uploadId"
STEPS: dict[str, tuple[str, str, int]] = {  # the next request at this point: method, path and query, how many went before
    "start": ("PUT", INTENT, 0),
    "intent-written": ("POST", CREATE, 0),
    "upload-created": ("PUT", INTENT, 1),
    "upload-recorded": ("PUT", PART, 0),
    "before-commit-record": ("PUT", RECORD, 0),
    "after-commit-record": ("POST", COMPLETE, 0),
    "after-complete": ("PUT", r"logs/RUN/1/collect\.log", 0),
}
RECORDED = {"after-commit-record", "after-complete"}


@dataclass(frozen=True)
class Run:
    """A run whose output tells which attempt has written it."""

    faulty: FaultyStore
    name: str
    uid: str

    @property
    def key(self) -> str:
        """Where its output is published."""
        return f"{self.name}/out.zip"

    def rule(self, method: str, url: str, action: str, **more: int) -> Rule:
        """A rule for requests of this run."""
        url = (
            url.replace("ATTEMPTS", f"runs/{self.uid}/attempts")
            .replace("KEY", rf"{self.name}/out\.zip")
            .replace("RUN", self.name)
        )
        return self.faulty.rule(method, url, action, **more)

    def pod(self, attempt: int) -> str:
        """Name of an attempt's pod."""
        (pod,) = self.faulty.namespace.list("pods", f"millrace.dev/jobrun={self.name},millrace.dev/attempt={attempt}")
        name: str = pod["metadata"]["name"]
        return name

    def exec(self, container: str, program: str) -> None:
        """Runs a program in a container of the first attempt; it may die with it."""
        with contextlib.suppress(Refused):
            self.faulty.namespace.kubectl("exec", self.pod(1), "-c", container, "--", "python3", "-c", program)

    def delete_pod(self, attempt: int) -> None:
        """Deletes an attempt's pod; one second later its containers are killed."""
        self.faulty.namespace.delete("pod", self.pod(attempt), "--grace-period=1")

    def finished(self) -> Object:
        """Its status at its end."""
        return self.faulty.namespace.finished(self.name, seconds=180)

    def assert_published(self, *, attempt: int, mark: str, before: int = 0) -> None:
        """The oracle: Succeeded, exactly one version more than `before`, which is what the status says, nothing left over."""
        status, bucket, log = self.finished(), self.faulty.bucket, self.requests()
        assert (status["phase"], status["attempt"]) == ("Succeeded", attempt), (status, log)
        assert [version.is_delete_marker for version in bucket.versions(self.key)] == [False] * (before + 1), log
        (output,) = status["outputs"]
        assert hashlib.sha256(bucket.get(self.key)).hexdigest() == output["sha256"]
        assert bucket.unzip(self.key)["mark.txt"].decode() == mark
        assert bucket.uploads(self.key) == [], log

    def requests(self) -> list[str]:
        """What the store was asked for this run, without signatures."""
        return [line.partition("X-Amz-")[0] for line in self.faulty.log() if self.uid in line or f"/{self.name}/" in line]


def start(faulty: FaultyStore, name: str, **spec: object) -> Run:
    """Makes the run of function `mark`; its upload is seconds away."""
    output = {"name": "out", "dataStore": {"name": "store", "path": name}}
    faulty.namespace.apply(job_run(name, "mark", outputs=[output], **spec))
    return Run(faulty, name, faulty.namespace.run(name)["metadata"]["uid"])
