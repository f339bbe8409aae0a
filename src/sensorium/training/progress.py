"""What a run tells about where it is, and who may listen.

Enters: a `Status` about twice a second.  Leaves: nothing; `sensorium.training.console` shows it to a person.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


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
    """Whoever shows runs' progress; one after the other may use it."""

    def update(self, status: Status) -> None:
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

    def update(self, status: Status) -> None:
        """Show nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""

    def close(self) -> None:
        """Do nothing."""


def clock(seconds: float) -> str:
    """Write a duration as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
