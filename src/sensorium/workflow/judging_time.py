"""How long a run judges after it has been fitted, and how it says of which rows its figures are.

Enters: how long fitting took; facts of `evaluation.json`.  Leaves: seconds; plain words.
Whoever trains for 20 seconds shall not wait for minutes: what is judged after training gets a share of its time,
some seconds at least, and judges as many rows as fit.  `sensorium evaluate` has no limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL_SECONDS, MODEL_SHARE = 4.0, 0.2
"""The model itself is judged for so many seconds, or this share of what fitting took, whichever is more."""
BASELINES_SECONDS, BASELINES_SHARE = 3.0, 0.15
"""As `MODEL_SECONDS`, for all baselines together, which also have what the model left."""
PATTERNS_SECONDS, PATTERNS_SHARE = 1.0, 0.05
"""As `MODEL_SECONDS`, for all presence patterns; and again for what each input gave."""


def model_seconds(fitting_s: float) -> float:
    """Return how long the model may be judged."""
    return max(MODEL_SECONDS, MODEL_SHARE * fitting_s)


def patterns_seconds(fitting_s: float) -> float:
    """Return how long all presence patterns, or the inputs' contributions, may take."""
    return max(PATTERNS_SECONDS, PATTERNS_SHARE * fitting_s)


@dataclass
class BaselinesTime:
    """What is left for baselines to be judged in; each gets an equal part of it.

    Attributes:
        seconds: left.
        num_baselines: that are still to be judged.
    """

    seconds: float
    num_baselines: int

    @classmethod
    def after(cls, fitting_s: float, judging_s: float, num_baselines: int) -> BaselinesTime:
        """Begin after a model that was fitted for `fitting_s` and judged for `judging_s`."""
        unused_s = max(0.0, model_seconds(fitting_s) - judging_s) if math.isfinite(fitting_s) else 0.0
        return cls(max(BASELINES_SECONDS, BASELINES_SHARE * fitting_s) + unused_s, num_baselines)

    def next(self) -> float:
        """Return how long the next one may be judged."""
        return self.seconds / max(1, self.num_baselines)

    def took(self, seconds: float) -> None:
        """Take away what the next one took."""
        self.seconds, self.num_baselines = max(0.0, self.seconds - seconds), self.num_baselines - 1


def part_judged(summary: Mapping[str, Any]) -> str:
    """Say of what a run's judged rows are: 'test', or 'of 345 test' where some were left out for time."""
    num_unjudged = summary.get("not_judged", 0)
    return f"of {summary['rows'] + num_unjudged:,} {summary['judged_on']}" if num_unjudged else summary["judged_on"]


def judged_rows(summary: Mapping[str, Any]) -> str:
    """Say which rows a run was judged on: 'the test rows', or '120 of 345 test rows, as many as ...'."""
    if not summary.get("not_judged", 0):
        return f"the {summary['judged_on']} rows"
    return f"{summary['rows']:,} {part_judged(summary)} rows, as many as there was time for"


def cut_note(summary: Mapping[str, Any]) -> str | None:
    """Return what is to be said of a run that was judged on some rows only, and what judges all; else None."""
    if not summary.get("not_judged"):
        return None
    return (
        f"judged on {judged_rows(summary)} ({summary['seconds']['evaluation']:.1f} s); they were drawn without "
        f"looking at them; `sensorium evaluate {summary['run']}` judges all"
    )
