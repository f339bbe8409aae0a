"""The interval beside every metric of an evaluation, at a cost that stays in seconds.

Enters: the metrics' names and what was judged.  Leaves: 95 % bounds by name.  Rows are drawn with replacement
(see `metrics_interval`).  A metric that is a mean over rows is judged once a row; any other is judged anew for each
draw, so that of large tables fewer draws are taken.  Perplexity, and what finds rows, have none here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sensorium.evaluation.metrics_interval import bootstrap_interval
from sensorium.evaluation.registry import METRICS, load_metric
from sensorium.evaluation.runner import Evaluation

MEANS = frozenset({"accuracy", "exact_match"})
"""Metrics whose value is the mean of their values on single rows."""
DRAWS = 1_000
_JUDGED_ROWS = 100_000
_FEWEST_DRAWS = 100


def intervals(evaluation: Evaluation, *, many_references: bool, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return (low, high) by metric.

    Args:
        many_references: rows are judged against lists of texts, as the evaluation's task says.
    """
    said = [prediction.text for _, prediction, _ in evaluation.predictions]
    right: Sequence[object] = [refs if many_references else refs[0] for _, _, refs in evaluation.predictions]
    if not said:
        return {}
    found = {}
    for name in evaluation.metrics:
        if name in MEANS:
            found[name] = _of_a_mean(row_values(name, said, right), seed)
        elif name in METRICS:
            draws = max(_FEWEST_DRAWS, min(DRAWS, _JUDGED_ROWS // len(said)))
            bounds = bootstrap_interval(load_metric(name), said, right, num_resamples=draws, seed=seed)
            found[name] = (bounds.low, bounds.high)
    return found


def row_values(name: str, said: Sequence[str], right: Sequence[object]) -> np.ndarray:
    """Return a metric's value on each row alone, (N,)."""
    metric = load_metric(name)
    return np.array([metric([text], [refs]) for text, refs in zip(said, right, strict=True)])  # type: ignore[list-item]


def _of_a_mean(value_N: np.ndarray, seed: int) -> tuple[float, float]:
    random = np.random.default_rng(seed)
    mean_R = [value_N[random.integers(len(value_N), size=len(value_N))].mean() for _ in range(DRAWS)]
    low, high = np.quantile(mean_R, [0.025, 0.975])
    return float(low), float(high)
