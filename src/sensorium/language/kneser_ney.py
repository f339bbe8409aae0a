"""Estimate interpolated modified Kneser-Ney probabilities from counts.

Enters: `NgramCounts`.  Leaves: for every n-gram its log p(last word | the words before), and for every
context the log-weight of what the next shorter context says: the two columns of an ARPA file.

Sources: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling",
section 4.1.6, equation 26 for the discounts; Heafield et al. 2013, sections 3.3 and 3.4:

    u(w | h) = (a(h w) - D(a(h w))) / sum_x a(h x)          a: adjusted counts
    b(h)     = sum_x D(a(h x)) / sum_x a(h x)
    p(w | h) = u(w | h) + b(h) p(w | h without its first word)
    p(w)     = u(w) + b() / |emittable|                      emittable: the vocabulary without PAD, BOS
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.vocabulary import BOS, PAD
from sensorium.language.ngram_counts import Bools, Ints, NgramCounts

Floats = NDArray[np.float64]

_FALLBACK = (0.5, 1.0, 1.5)  # KenLM's --discount_fallback

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NgramEstimate:
    """Probabilities of a trie's n-grams.

    Attributes:
        p_N: (nodes,) p(last word | the words before); 0 for PAD and BOS.
        backoff_C: (contexts,) b(h), where contexts are the nodes shorter than the order; 1 where
            nothing ever followed.
        discount_L3: (order, 3) D1, D2, D3+ of each length.
        num_fallbacks: lengths whose counts of counts did not give discounts.
    """

    p_N: Floats
    backoff_C: Floats
    discount_L3: Floats
    num_fallbacks: int


def estimate(counts: NgramCounts) -> NgramEstimate:
    """Estimate all probabilities, shortest n-grams first."""
    levels = list(zip(counts.level_start[:-1], counts.level_start[1:], strict=True))
    discount_L3, num_fallbacks = _all_discounts([counts.count_N[start:end] for start, end in levels])
    num_tokens = counts.num_tokens
    p_N, backoff_C = np.zeros(len(counts.count_N)), np.ones(counts.level_start[-2])

    root_N = np.zeros(num_tokens, np.int64)
    u_N, backoff_1 = _discounted(counts.count_N[:num_tokens], root_N, 1, discount_L3[0])
    p_N[:num_tokens] = u_N + backoff_1 / (num_tokens - 2)
    p_N[[PAD, BOS]] = 0
    for level, (start, end) in enumerate(levels[1:], start=1):
        first = levels[level - 1][0]  # contexts of this length are nodes first..start-1
        key_N, suffix_N = (x[start - num_tokens : end - num_tokens] for x in (counts.key_N, counts.suffix_N))
        context_N = key_N // num_tokens
        kept_N = None if counts.kept_N is None else counts.kept_N[start:end]
        u_N, backoff = _discounted(
            counts.count_N[start:end], context_N - first, start - first, discount_L3[level], kept_N
        )
        backoff_C[first:start] = backoff
        p_N[start:end] = u_N + backoff_C[context_N] * p_N[suffix_N]
    return NgramEstimate(p_N, backoff_C, discount_L3, num_fallbacks)


def discounts_of(count_N: Ints) -> tuple[float, float, float] | None:
    """Return D1, D2, D3+ from how many n-grams have the counts 1 to 4 (Chen and Goodman, equation 26).

    None where they give no discount in 0 < D_k <= k: the corpus is too small or too regular.
    """
    num_with = np.bincount(np.minimum(count_N, 5), minlength=6)[:5].astype(float)
    if not num_with[1:4].all():
        return None
    y = num_with[1] / (num_with[1] + 2 * num_with[2])
    d1, d2, d3 = (k - (k + 1) * y * num_with[k + 1] / num_with[k] for k in (1, 2, 3))
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else None


def _all_discounts(counts: list[Ints]) -> tuple[Floats, int]:
    found = [discounts_of(count_N) for count_N in counts]
    fallen = [length for length, discounts in enumerate(found, start=1) if discounts is None]
    if fallen:
        log.warning(
            "Kneser-Ney discounts fall back to %s for n-grams of length %s: the corpus is too small or too regular",
            _FALLBACK,
            ", ".join(map(str, fallen)),
        )
    return np.array([discounts or _FALLBACK for discounts in found]), len(fallen)


def _discounted(
    count_N: Ints, context_N: Ints, num_contexts: int, discount_3: Floats, kept_N: Bools | None = None
) -> tuple[Floats, Floats]:
    """Return u (N,) and b (contexts,); a context that nothing follows passes all its weight on: b = 1."""
    discount_N = np.concatenate([[0.0], discount_3])[np.minimum(count_N, 3)]
    if kept_N is not None:
        discount_N = np.where(kept_N, discount_N, count_N)  # what is pruned gives its whole count away
    total_C = np.bincount(context_N, weights=count_N, minlength=num_contexts)
    freed_C = np.bincount(context_N, weights=discount_N, minlength=num_contexts)
    followed_C = total_C > 0
    backoff_C = np.divide(freed_C, total_C, out=np.ones(num_contexts), where=followed_C)
    u_N = np.divide(
        count_N - discount_N, total_C[context_N], out=np.zeros(len(count_N)), where=followed_C[context_N]
    )
    return u_N, backoff_C
