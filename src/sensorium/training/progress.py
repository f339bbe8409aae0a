"""What a run tells about where it is, and who may listen.

Enters: a `Status` about twice a second while it trains, a `Work` for whatever else takes more than two seconds.
Leaves: nothing; `sensorium.training.console` shows it to a person.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

Item = TypeVar("Item")

_QUIET_S = 2.0
_SHOWN_EVERY_S = 0.5


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


@dataclass(frozen=True, slots=True)
class Work:
    """Where a piece of work stands that is not training: judging, explaining, remembering.

    Attributes:
        title: what is being done.
        done, total: how much of how much, in `unit`.
        elapsed_s, left_s: used, and estimated to go.
    """

    title: str
    done: int
    total: int
    unit: str
    elapsed_s: float
    left_s: float

    @property
    def fraction(self) -> float:
        """Return the share that is done, 0..1."""
        return self.done / max(self.total, 1)

    def __str__(self) -> str:
        how_far = f"{self.done:,} of {self.total:,} {self.unit}"
        return f"{self.title}: {how_far}  {clock(self.elapsed_s)}  {clock(self.left_s)} left"


class Progress(Protocol):
    """Whoever shows runs' progress; one after the other may use it."""

    def update(self, status: Status | Work) -> None:
        """Show where the run is."""
        ...

    def note(self, text: str) -> None:
        """Say something once: a warning, the checkpoint that was resumed from."""
        ...

    def close(self) -> None:
        """End the showing of one run; the next `update` begins another."""
        ...


class Silent:
    """Show nothing."""

    def update(self, status: Status | Work) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


class Stage:
    """Show how far a piece of work is, from the third second on, and end the showing when it ends.

    Args:
        progress: who shows it.
        title: what is being done.
        unit: of what is counted.
        now: tells seconds.
    """

    def __init__(
        self, progress: Progress, title: str, unit: str = "rows", now: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress, self._title, self._unit, self._now = progress, title, unit, now
        self._started = now()
        self._next_s = _QUIET_S
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            self._progress.close()

    def __call__(self, done: int, total: int) -> None:
        """Tell how much of how much is done."""
        elapsed_s = self._now() - self._started
        if elapsed_s < self._next_s or not done:
            return
        self._next_s, self._is_shown = elapsed_s + _SHOWN_EVERY_S, True
        left_s = elapsed_s * (total - done) / done
        self._progress.update(Work(self._title, done, total, self._unit, elapsed_s, left_s))

    def over(self, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Go through items, and tell after each how many of `total` are done."""
        for number, item in enumerate(items, start=1):
            yield item
            self(number, total)


def clock(seconds: float) -> str:
    """Write a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
