"""How a run tells a person where it is: a line that moves on a terminal, plain lines elsewhere.

Enters: a `Status` about twice a second.  Leaves: text on stderr; stdout is left to answers.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run stands.

    Attributes:
        fraction: of the budget that is used, 0..1.
        step, epoch: updates made; passes over the rows, as a decimal.
        loss: nats a token over the last moments.
        rows_per_s: over the same.
        elapsed_s, left_s: used, and estimated to go (None = not known yet).
        validation: the last one (None = none yet).
    """

    fraction: float
    step: int
    epoch: float
    loss: float
    rows_per_s: float
    elapsed_s: float
    left_s: float | None
    validation: float | None = None

    def __str__(self) -> str:
        parts = [f"step {self.step:,}", f"epoch {self.epoch:.2f}", f"loss {self.loss:.4g}"]
        if self.validation is not None:
            parts.append(f"validation {self.validation:.4g}")
        parts += [f"{self.rows_per_s:,.0f} rows/s", clock(self.elapsed_s)]
        if self.left_s is not None:
            parts.append(f"{clock(self.left_s)} left")
        return "  ".join(parts)


class Progress(Protocol):
    """Whoever shows a run's progress."""

    def update(self, status: Status) -> None:
        """Show where the run is."""
        ...

    def note(self, text: str) -> None:
        """Say something once: a warning, a checkpoint that was resumed from."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


class Silent:
    """Show nothing."""

    def update(self, status: Status) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class PlainLines:
    """A line every `every_s` seconds, for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, every_s: float = 10.0) -> None:
        self._stream = stream
        self._every_s = every_s
        self._next_s = 0.0
        self._pending: Status | None = None

    def update(self, status: Status) -> None:
        """Print the status, if the last line is old enough."""
        now = time.monotonic()
        self._pending = status
        if now >= self._next_s:
            self._next_s = now + self._every_s
            self._print()

    def note(self, text: str) -> None:
        """Print one line."""
        print(text, file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Print the last status, if it was not."""
        if self._pending is not None:
            self._print()

    def _print(self) -> None:
        status, self._pending = self._pending, None
        if status is not None:
            self.note(f"{status.fraction:4.0%}  {status}")


class TerminalBar:
    """A bar with the status beside it, redrawn in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        # Redrawn by `update` alone: rich's own refresh thread would take time from small steps.
        self._bar = Bar(
            TextColumn("training"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=Console(stderr=True),
            auto_refresh=False,
        )
        self._task = self._bar.add_task("training", total=1.0, status="")
        self._started = False

    def update(self, status: Status) -> None:
        """Redraw."""
        if not self._started:
            self._bar.start()
            self._started = True
        self._bar.update(self._task, completed=status.fraction, status=str(status), refresh=True)

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the last state standing and give the cursor back."""
        if self._started:
            self._bar.stop()


def console() -> Progress:
    """Return the progress that fits stderr: a bar on a terminal, plain lines off one."""
    return TerminalBar() if sys.stderr.isatty() else PlainLines()


def clock(seconds: float) -> str:
    """Write a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
