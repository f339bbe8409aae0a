"""Whether one system beats another on the same rows: the paired bootstrap, and what many tests cost.

Enters: two systems' scores of the same rows.  Leaves: their difference, its bounds and its p value.

Few rows can be sure of little: of n rows that differ, each of which chance might have turned either way, all point
one way with probability 2^(1-n).  Drawing anew knows nothing of it (one row always shows the same), so a p value is
never below that; from six rows on it may be below 0.05.
Sources: Efron and Tibshirani 1993, chapters 13 and 15 (the sign flips: Fisher 1935); Koehn 2004 (W04-3250) for the
pairing; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError

_ROWS_AT_ONCE = 1 << 22  # drawn numbers in memory at a time


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more one system has than the other, a row.

    Attributes:
        mean: on the rows as they are.
        low: the lower end of the 95 % interval.
        high: its upper end.
        p: two-sided: how often rows drawn anew would show a difference of the other sign, twice; at least
            1 / (draws + 1), and what as many turned signs leave possible.
    """

    mean: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    first_N: Sequence[float] | npt.NDArray[np.float64],
    second_N: Sequence[float] | npt.NDArray[np.float64],
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Draw the rows with replacement again and again; a draw takes both systems' scores of a row.

    Raises:
        DataError: no rows, or not the same number of them.
    """
    if len(first_N) != len(second_N) or not len(first_N):
        raise DataError(f"{len(first_N)} and {len(second_N)} rows cannot be paired")
    # Sorted, so that what is drawn does not depend on the rows' order.
    gain_N = np.sort(np.asarray(first_N, np.float64) - np.asarray(second_N, np.float64))
    random, found = np.random.default_rng(seed), []
    at_once = max(1, _ROWS_AT_ONCE // len(gain_N))
    for start in range(0, num_resamples, at_once):
        shape = (min(at_once, num_resamples - start), len(gain_N))
        found.append(gain_N[random.integers(len(gain_N), size=shape)].mean(1))
    gain_R = np.concatenate(found)
    low, high = np.quantile(gain_R, [0.025, 0.975])
    other = min(int((gain_R <= 0).sum()), int((gain_R >= 0).sum()))
    p = max(2 * (other + 1) / (num_resamples + 1), 2.0 ** (1 - int((gain_N != 0).sum())))
    return Difference(float(gain_N.mean()), float(low), float(high), min(1.0, p))


def holm(p_K: Sequence[float]) -> list[float]:
    """Return the p values that K tests together deserve: of the k-th smallest, times K - k + 1, ascending."""
    adjusted, highest = [0.0] * len(p_K), 0.0
    for rank, k in enumerate(sorted(range(len(p_K)), key=lambda k: p_K[k])):
        highest = max(highest, min(1.0, p_K[k] * (len(p_K) - rank)))
        adjusted[k] = highest
    return adjusted
