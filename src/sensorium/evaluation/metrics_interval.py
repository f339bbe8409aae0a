"""How far chance moves a metric: percentile bootstrap over rows.

Enters: a metric and the lists that it reads.  Leaves: its value with a confidence interval.
Efron and Tibshirani 1993, chapter 13; for BLEU: Koehn 2004 (W04-3250).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sensorium.core.errors import DataError, UsageError


@dataclass(frozen=True, slots=True)
class Interval:
    """A metric's value on all rows, and the bounds between which it stays with the asked confidence."""

    value: float
    low: float
    high: float


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation (n - 1) of a metric over runs; infinite where a value is."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.inf


def bootstrap_interval(
    metric: Callable[..., float],
    *columns: Sequence[Any],
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Draw the rows with replacement again and again, and judge each draw; the rows' order is of no account.

    Args:
        metric: a function of as many lists as there are columns.
        columns: lists of equal length whose entries belong together by row.
        num_resamples: draws; the cost is so many calls of `metric`.
        confidence: the share of draws between the bounds, in (0, 1).
        seed: of the draws.

    Raises:
        DataError: no rows, or columns of unequal length.
        UsageError: a setting out of range.
    """
    if num_resamples < 1 or not 0 < confidence < 1:
        raise UsageError(f"num_resamples = {num_resamples}, confidence = {confidence} cannot be meant")
    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or lengths == {0}:
        raise DataError(f"columns of {sorted(lengths)} rows have no interval", advice="give equal, non-empty lists")
    num_rows = lengths.pop()
    # By content, so that what is drawn does not depend on the rows' order.
    drawn_from = list(zip(*sorted(zip(*columns, strict=True), key=repr), strict=True))
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(num_resamples):
        rows = generator.integers(num_rows, size=num_rows).tolist()
        values.append(metric(*([column[row] for row in rows] for column in drawn_from)))
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(metric(*columns), float(low), float(high))
