"""Where lines go: what a program may read to stdout, the rest to stderr; on a terminal with a live line below it."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from millrace.cli.errors import Refused
from millrace.cli.progress import Line, clock

STYLES = {"plain": "", "good": "green", "bad": "red", "warn": "yellow", "dim": "dim"}
# What a text from elsewhere may not do to somebody's terminal: titles, cursor moves, resets. Tabs stay, in logs colours too.
_SEQUENCES = r"\x1b\][^\x07\x1b]*(\x07|\x1b\\)?|\x1b\[[0-9;?]*[A-Za-ln-z]|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]"
_LOG_CONTROL = re.compile(_SEQUENCES + r"|\x1b(?!\[[0-9;]*m)")
_CONTROL = re.compile(_SEQUENCES + r"|\x1b(\[[0-9;]*m)?")


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)


class _LiveLine:
    """Spinner, elapsed time, text; drawn anew several times a second."""

    def __init__(self, began: float) -> None:
        self.text, self._began, self._spinner = "", began, Spinner("dots")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text(f"{clock(time.monotonic() - self._began)}  {self.text}", style="bold", no_wrap=True, overflow="ellipsis")
        self._spinner.update(text=line)
        yield self._spinner


class Screen:
    """What the user sees."""

    def __init__(self, label: str = "") -> None:
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._line: _LiveLine | None = None
        self._label = label

    def of(self, run: str) -> Screen:
        """The same for one of several runs: each line begins with its name."""
        return Screen(f"[{run}] ")

    @property
    def terminal(self) -> bool:
        """Whether a person watches."""
        return self._console.is_terminal

    def say(self, lines: Line | Sequence[Line]) -> None:
        """Writes lines to stderr, above the live line."""
        for line in [lines] if isinstance(lines, Line) else lines:
            text = Text(self._label + _clean(line.text), style=STYLES[line.tone])
            self._console.print(text, soft_wrap=True)

    def refuse(self, error: Refused) -> None:
        """Writes an error, and below it what to do."""
        what = Text.assemble(self._label, ("error: ", "bold red"), _clean(error.message))
        self._console.print(what, soft_wrap=True)
        for hint in error.hints:
            self._console.print(Text(f"{self._label}  {_clean(hint)}"), soft_wrap=True)

    def interrupted(self, note: Refused) -> None:
        """Writes what goes on after Ctrl-C."""
        self._console.print(Text(f"\n{note.message}", style="yellow"), soft_wrap=True)
        self.say([Line(f"  {hint}") for hint in note.hints])

    def log(self, line: bytes) -> None:
        """Writes one log line to stdout: untouched where a program reads it."""
        line = self._label.encode() + line
        if self._line is not None and sys.stdout.isatty():
            text = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
            self._console.print(Text.from_ansi(_LOG_CONTROL.sub("", text)), soft_wrap=True)
            return
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()

    @contextmanager
    def transfer(self, name: str, total: int | None) -> Iterator[Callable[[int, int], None]]:
        """Shows a transfer on a terminal; yields what takes the bytes and files that are done, from any thread."""
        if not self.terminal:
            yield lambda _bytes, _files: None
            return
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True, redirect_stdout=False) as progress:
            task = progress.add_task(name, total=total)
            yield lambda done, _files: progress.update(task, completed=done)

    @contextmanager
    def live(self, began: float) -> Iterator[None]:
        """Shows a live line on a terminal; `began` is an instant of time.monotonic()."""
        if not self.terminal:
            yield
            return
        self._line = _LiveLine(began)
        options = {"transient": True, "redirect_stdout": False, "redirect_stderr": False}
        try:
            with Live(self._line, console=self._console, refresh_per_second=8, **options):  # type: ignore[arg-type]
                yield
        finally:
            self._line = None

    def set_live(self, text: str) -> None:
        """Changes the live line's text."""
        if self._line is not None:
            self._line.text = _clean(text)
