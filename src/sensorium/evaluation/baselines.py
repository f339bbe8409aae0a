"""The baselines that need no model: what one gets for saying the same thing to everyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from sensorium.evaluation.registry import load_metric


def majority(targets: Iterable[str]) -> str:
    """Return the most frequent training target; ties go to the first in sorted order."""
    counts = Counter(targets)
    return min(counts, key=lambda text: (-counts[text], text))


def majority_metrics(
    train: Iterable[str], test: Sequence[str] | Sequence[Sequence[str]], metrics: Sequence[str]
) -> dict[str, float]:
    """Judge the majority answer on the test references (one text a row, or several)."""
    texts = [majority(train)] * len(test)
    return {name: float(load_metric(name)(texts, list(test))) for name in metrics}
