"""What a person reads about a run, from the sequence of its statuses."""

from __future__ import annotations

import pytest

from millrace.api.jobrun import JobRun, Phase
from millrace.cli.progress import Narrator, exit_code, files, headline, size, summary

from .runs import run

TIMES = {
    "admitted": "2026-11-21T10:00:02Z",
    "staged": "2026-11-21T10:00:05Z",
    "started": "2026-11-21T10:00:06Z",
    "exited": "2026-11-21T10:01:26Z",
    "uploaded": "2026-11-21T10:01:27Z",
    "finished": "2026-11-21T10:01:28Z",
}
OUTPUT = {"name": "scores", "uri": "s3://b/scores.zip", "bytes": 20_002_273, "files": 4}
FAILURE = {"reason": "UserError", "message": "ValueError: bad", "container": "main", "exitCode": 1, "logTail": "a\nb\n"}


def narrate(*runs: JobRun) -> list[str]:
    narrator = Narrator()
    return [line.text for seconds, found in enumerate(runs) for line in narrator.feed(found, float(seconds))]


@pytest.mark.parametrize(
    ("runs", "lines"),
    [
        ([run(), run()], ["    0s  Pending"]),
        (
            [
                run(),
                run("Blocked", reason="DataStoreNotReady", message="DataStore heart: AccessDenied: refused"),
                run("Blocked", reason="DataStoreNotReady", message="DataStore heart: AccessDenied: refused"),
                run("Pending", reason="Starting", message="the Job was created"),
                run("Running", reason="Running"),
                run("Succeeded", times=TIMES),
            ],
            [
                "    0s  Pending",
                "    1s  Blocked: DataStoreNotReady: DataStore heart: AccessDenied: refused",
                "    3s  Pending: Starting: the Job was created",
                "    4s  Running",
                " 1m28s  Succeeded",
            ],
        ),
        (
            [run("Running", reason="Running", attempt=1), run("Running", reason="Running", attempt=2)],
            ["    0s  Running", "    1s  Attempt 2", "    1s  Running"],
        ),
        ([run("Failed", failure=FAILURE, times=TIMES)], [" 1m28s  Failed: UserError"]),
        ([run("Cancelled", failure={"reason": "Cancelled"}, times=TIMES)], [" 1m28s  Cancelled"]),
    ],
)
def test_each_change_is_one_line(runs: list[JobRun], lines: list[str]) -> None:
    assert narrate(*runs) == lines


def test_a_stale_condition_does_not_explain_a_new_reason() -> None:
    found = run("Pending", reason="Starting", message="the Job was created")
    assert headline(found.model_copy(update={"status": found.status.model_copy(update={"reason": "ImagePull"})})) == (
        "Pending: ImagePull"
    )


def test_a_summary_of_a_success() -> None:
    found = run("Succeeded", outputs=[OUTPUT], times=TIMES, logs="s3://b/logs/", warnings=["a link was left out"])
    assert [line.text for line in summary(found, with_log=True)] == [
        "outputs  scores  s3://b/scores.zip  20.0 MB  4 files",
        "warning: a link was left out",
        "times    waiting 2s, staging 3s, running 1m20s, uploading 1s, in all 1m28s",
        "logs     s3://b/logs/",
        "next     millrace download score-1 -n ns",
    ]


def test_a_summary_of_a_failure() -> None:
    found = run("Failed", failure=FAILURE)
    shown = ["failure  UserError (container main, exit code 1)", "         ValueError: bad"]
    log = ["log      the last lines:", "         a", "         b"]
    assert [line.text for line in summary(found, with_log=True)] == shown + log
    assert [line.text for line in summary(found, with_log=False)] == shown


def test_outputs_are_aligned() -> None:
    outputs = [OUTPUT, {"name": "m", "uri": "s3://b/model/m.zip", "bytes": 312, "files": 1}]
    assert [line.text for line in summary(run("Succeeded", outputs=outputs), with_log=False)][:2] == [
        "outputs  scores  s3://b/scores.zip   20.0 MB  4 files",
        "         m       s3://b/model/m.zip  312 B    1 file",
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_400, "99.4 kB"),
        (999_600, "1.0 MB"),
        (123_456_789, "123 MB"),
        (None, "-"),
    ],
)
def test_sizes(count: int | None, text: str) -> None:
    assert size(count) == text


def test_counts() -> None:
    assert [files(count) for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]


def test_exit_codes() -> None:
    assert {phase: exit_code(phase) for phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED)} == {
        Phase.SUCCEEDED: 0,
        Phase.FAILED: 1,
        Phase.CANCELLED: 3,
    }
