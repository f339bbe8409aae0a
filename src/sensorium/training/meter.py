"""The clock of a run: what passed since the last line of the log, what is left, when to save.

Enters: each step's result.  Leaves: rates and means over a window, elapsed and remaining seconds.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from types import TracebackType

from sensorium.training.update import StepResult

LOG_SECONDS = 0.5
CHECKPOINT_SECONDS = 60.0
CHECKPOINT_SHARE = 50


@dataclass(frozen=True, slots=True)
class Means:
    """A line of the log: means since the line before it.

    Attributes:
        loss: nats a token; NaN if there was none.
        lr, grad_norm: of the last step; the norm before clipping.
        rows_per_s, tokens_per_s: all costs of the loop included.
        elapsed_s: since the run began.
    """

    loss: float
    lr: float
    grad_norm: float
    rows_per_s: float
    tokens_per_s: float
    elapsed_s: float


class Meter:
    """Sum what passes between two lines of the log, and keep the run's clock.

    Args:
        elapsed_s: what earlier parts of this run have used.
    """

    def __init__(self, elapsed_s: float = 0.0) -> None:
        self._part_begun = self._window_begun = time.monotonic()
        self._run_begun = self._part_begun - elapsed_s
        self._part_rows = 0
        self._first_fraction: tuple[float, float] | None = None  # and when it was
        self._steps: list[StepResult] = []
        self.loss: float | None = None

    def add(self, result: StepResult) -> None:
        """Count one step."""
        self._steps.append(result)
        self._part_rows += result.num_rows

    def elapsed_s(self) -> float:
        """Return the wall-clock seconds of the whole run."""
        return time.monotonic() - self._run_begun

    def is_line_due(self) -> bool:
        """Say whether the last line is half a second old."""
        return time.monotonic() - self._window_begun >= LOG_SECONDS

    def close_window(self) -> Means:
        """Return the means over the steps since the last call, of which there is one at least."""
        now, steps = time.monotonic(), self._steps
        seconds = max(now - self._window_begun, 1e-9)
        num_tokens = sum(step.num_tokens for step in steps)
        self.loss = sum(step.nll for step in steps) / num_tokens if num_tokens else math.nan
        self._window_begun, self._steps = now, []
        return Means(
            loss=self.loss,
            lr=steps[-1].rate,
            grad_norm=steps[-1].grad_norm,
            rows_per_s=round(sum(step.num_rows for step in steps) / seconds, 1),
            tokens_per_s=round(num_tokens / seconds, 1),
            elapsed_s=round(now - self._run_begun, 3),
        )

    def rows_per_s(self) -> float:
        """Return the rate since this process began, everything included."""
        return self._part_rows / max(time.monotonic() - self._part_begun, 1e-9)

    def left_s(self, fraction: float) -> float | None:
        """Estimate the seconds to go from how fast `fraction` grew since the first call."""
        now = time.monotonic()
        if self._first_fraction is None:
            self._first_fraction = fraction, now
        gained = fraction - self._first_fraction[0]
        return (1.0 - fraction) * (now - self._first_fraction[1]) / gained if gained > 0 else None


class Pace:
    """Say when the next checkpoint is due by time.

    Every minute, unless writing one takes long: then so rarely that it costs at most a fiftieth of
    the time.  Use it as a context around the writing.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cost_s = 0.0

    def is_due(self) -> bool:
        """Say whether the last checkpoint is old enough."""
        return time.monotonic() - self._last >= max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * self._cost_s)

    def __enter__(self) -> None:
        self._last = time.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = time.monotonic()
        self._cost_s, self._last = now - self._last, now
