"""The budget of a run, and its learning rate: linear warm-up, then half a cosine down to zero.

Enters: how far the run is, by steps and by the clock.  Leaves: a fraction 0..1 of the budget, and a
factor of the peak rate.
Source: Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts, after a linear warm-up
(Goyal et al. 2017, section 2.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """What a run may use: updates, seconds, or both; the first that is used up ends it."""

    steps: int | None
    seconds: float | None

    def fraction(self, num_steps: float, elapsed_s: float) -> float:
        """Say how much is used after `num_steps` updates and `elapsed_s`, 0..1.

        While the steps are the nearer bound the clock has no say, so a run that is bound by its
        steps takes the same course on a fast and on a slow machine.
        """
        by_steps = 0.0 if self.steps is None else num_steps / self.steps
        by_time = 0.0 if self.seconds is None else elapsed_s / self.seconds
        return min(1.0, max(by_steps, by_time))

    def ended_by(self, num_steps: int, elapsed_s: float) -> str | None:
        """Name the bound that is used up ("steps" or "seconds"), if any is."""
        if self.steps is not None and num_steps >= self.steps:
            return "steps"
        return "seconds" if self.seconds is not None and elapsed_s >= self.seconds else None


def rate_factor(fraction: float, warmup: float) -> float:
    """Return the factor of the peak learning rate at `fraction` of the run.

    f / w                                   f < w   (1 % at least: by the clock, a run begins at 0)
    (1 + cos(pi (f - w) / (1 - w))) / 2     else
    """
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * (fraction - warmup) / (1.0 - warmup)))
