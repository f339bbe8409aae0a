"""Progress for a person: a bar that moves on a terminal, plain lines elsewhere.

Enters: `Status`.  Leaves: text on stderr; stdout is left to answers.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from sensorium.training.progress import Item, Progress, Stage, Status, Work


def console_progress() -> Progress:
    """Return the progress that fits stderr: a bar on a terminal, plain lines off one."""
    return TerminalBar() if sys.stderr.isatty() else PlainLines()


_SHOWN_BY: ContextVar[Progress | None] = ContextVar("shown_by", default=None)


@contextlib.contextmanager
def shown_by(progress: Progress | None) -> Iterator[None]:
    """Let `progress` show every stage begun inside, so that a job need not hand it to all that it calls."""
    token = _SHOWN_BY.set(progress or _SHOWN_BY.get())
    try:
        yield
    finally:
        _SHOWN_BY.reset(token)


def stage(progress: Progress | None, title: str, unit: str = "rows") -> Stage:
    """Return what shows a piece of work that is not training; None = as the job around it (`shown_by`) is shown,
    else as `console_progress`."""
    return Stage(progress or _SHOWN_BY.get() or console_progress(), title, unit)


def staged(items: Iterable[Item], total: int, title: str, unit: str = "rows") -> Iterator[Item]:
    """Go through items as a stage of its own, which begins with the first."""
    with stage(None, title, unit) as told:
        yield from told.over(items, total)


class Stages:
    """One stage after the other, by the name of what is worked on: 'preparing photo'.

    Args:
        doing: what is done with each.
        unit: of what is counted.
    """

    def __init__(self, doing: str, unit: str) -> None:
        self._doing, self._unit = doing, unit
        self._name: str | None = None
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Tell how much of how much is done of one of them."""
        if name != self._name:
            self._stack.close()
            self._name = name
            self._stage = self._stack.enter_context(stage(None, f"{self._doing} {name}", self._unit))
        self._stage(done, total)


class PlainLines:
    """A line every `every_s` seconds, for logs and pipes.

    Args:
        stream: where to; None = stderr.
        every_s: the first line comes at once, the last one always.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = 10.0) -> None:
        self._stream = stream
        self._every_s = every_s
        self._next_s = 0.0
        self._pending: Status | Work | None = None

    def update(self, status: Status | Work) -> None:
        """Print the status, if the last line is old enough."""
        self._pending = status
        if time.monotonic() >= self._next_s:
            self._print_pending()

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Print the last status, if it was not."""
        self._print_pending()
        self._next_s = 0.0

    def _print_pending(self) -> None:
        if self._pending is not None:
            self.note(f"{self._pending.fraction:4.0%}  {self._pending}")
            self._pending = None
            self._next_s = time.monotonic() + self._every_s


class TerminalBar:
    """A bar with the status beside it, redrawn in place.

    Args:
        console: of rich; None = one on stderr.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bar: Bar | None = None

    def update(self, status: Status | Work) -> None:
        """Redraw."""
        if self._bar is None:
            self._bar = self._begin()
        self._bar.update(self._bar.task_ids[0], completed=status.fraction, status=str(status), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last state standing and give the cursor back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _begin(self) -> Bar:
        # Redrawn by `update` alone: rich's own refresh thread would take time from small steps.
        bar = Bar(
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            auto_refresh=False,
        )
        bar.add_task("training", total=1.0, status="")
        bar.start()
        return bar
