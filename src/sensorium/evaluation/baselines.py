"""The baselines that need no model: what one gets for saying the same thing to everyone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def majority(targets: Iterable[str]) -> str:
    """Return the most frequent training target; ties go to the first in sorted order."""
    counts = Counter(targets)
    return min(counts, key=lambda text: (-counts[text], text))
