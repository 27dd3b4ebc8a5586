"""Words for the person who watches, and commands that fail with a reason."""

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

_began = time.monotonic()


class Fail(Exception):
    """What failed and what to do about it, in words for a person."""


def say(message: str) -> None:
    stream = sys.stderr if say.quiet_stdout else sys.stdout
    print(f"{time.monotonic() - _began:7.1f}s  {message}", file=stream, flush=True)


say.quiet_stdout = False  # set by commands whose standard output is for programs


def run(*command: object, stdin: str | None = None, check: bool = True, **more) -> subprocess.CompletedProcess:
    """Run to the end with the output kept; on failure say what it said."""
    words = [str(word) for word in command]
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True, **given, **more)
    except FileNotFoundError:
        raise Fail(f"{words[0]}: no such program; install it and try again") from None
    if check and done.returncode:
        raise Fail(f"`{' '.join(words)}` failed ({done.returncode}):\n{tail(done.stderr or done.stdout)}")
    return done


def run_long(what: str, command: list, log: Path, **more) -> None:
    """Run something that takes minutes, with a sign of life twice a minute and its output in a file."""
    say(f"{what} (output: {log})")
    began = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        process = subprocess.Popen([str(w) for w in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out, **more)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                    break
                say(f"  still at it, {time.monotonic() - began:.0f} s")
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise Fail(f"{what} failed:\n{tail(log.read_text())}\nAll of it: {log}")


def wait_for(what: str, ready, seconds: float, interval: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise Fail(f"{what}: not within {seconds:.0f} s; see `hack/cluster status` and `hack/cluster logs`")
        time.sleep(interval)


@contextlib.contextmanager
def locked(path: Path):
    """One at a time on this machine; the kernel drops the lock with its holder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another hack/cluster to let go of {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def tail(text: str, lines: int = 15) -> str:
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])


def tail_file(path: Path, lines: int) -> str:
    """The last lines of a file of any size."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 400 * lines))
        return b"\n".join(file.read().splitlines()[-lines:]).decode(errors="replace")
