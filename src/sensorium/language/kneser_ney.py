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
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.vocabulary import BOS, PAD
from sensorium.language.ngram_arrays import BLOCK, NewArray, in_memory, spans
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
        first_C1: (contexts + 1,) where in the keys the n-grams begin that extend each context.
    """

    p_N: Floats
    backoff_C: Floats
    discount_L3: Floats
    num_fallbacks: int
    first_C1: Ints


def estimate(counts: NgramCounts, new: NewArray = in_memory) -> NgramEstimate:
    """Estimate all probabilities, shortest n-grams first, a block of contexts at a time."""
    start_L, num_tokens = counts.level_start, counts.num_tokens
    discount_L3, num_fallbacks = _all_discounts(counts)
    p_N, backoff_C = new(len(counts.count_N), np.float64), new(start_L[-2], np.float64)
    first_C1 = first_children(counts.key_N, start_L[-2], num_tokens, new)

    root_V = np.zeros(num_tokens, np.int64)
    u_V, backoff_1 = _discounted(np.asarray(counts.count_N[:num_tokens]), root_V, 1, discount_L3[0])
    p_N[:num_tokens] = u_V + backoff_1 / (num_tokens - 2)
    p_N[[PAD, BOS]] = 0
    for level in range(1, counts.order):
        for context in _context_spans(first_C1, *start_L[level - 1 : level + 1]):
            _estimate_span(counts, context, first_C1, discount_L3[level], p_N, backoff_C)
    return NgramEstimate(p_N, backoff_C, discount_L3, num_fallbacks, first_C1)


def first_children(key_N: Ints, num_contexts: int, num_tokens: int, new: NewArray = in_memory) -> Ints:
    """Return (C+1,): where in `key_N` the n-grams begin that extend each context."""
    first_C1 = new(num_contexts + 1, np.int64)
    for start, end in spans(0, num_contexts + 1):
        first_C1[start:end] = np.searchsorted(key_N, np.arange(start, end) * num_tokens)
    return first_C1


def _context_spans(first_C1: Ints, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut contexts start..end into spans of about a block of contexts and children; one at least."""
    while start < end:
        stop = min(start + BLOCK, end)
        stop = start + int(np.searchsorted(first_C1[start : stop + 1], first_C1[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), end)
        yield start, stop
        start = stop


def _estimate_span(
    counts: NgramCounts,
    context: tuple[int, int],
    first_C1: Ints,
    discount_3: Floats,
    p_N: Floats,
    backoff_C: Floats,
) -> None:
    """Fill in b of the contexts in one span, and p of the n-grams that extend them."""
    start, end = int(first_C1[context[0]]), int(first_C1[context[1]])
    child = slice(start + counts.num_tokens, end + counts.num_tokens)
    context_E = counts.key_N[start:end] // counts.num_tokens - context[0]
    kept_E = None if counts.kept_N is None else counts.kept_N[child]
    u_E, b_C = _discounted(counts.count_N[child], context_E, context[1] - context[0], discount_3, kept_E)
    backoff_C[slice(*context)] = b_C
    p_N[child] = u_E + b_C[context_E] * p_N[counts.suffix_N[start:end]]


def discounts_of(num_with: Ints) -> tuple[float, float, float] | None:
    """Return D1, D2, D3+ from how many n-grams have the counts 0 to 4 (Chen and Goodman, equation 26).

    None where they give no discount in 0 < D_k <= k: the corpus is too small or too regular.
    """
    if not num_with[1:4].all():
        return None
    y = float(num_with[1]) / (num_with[1] + 2 * num_with[2])
    d1, d2, d3 = (float(k - (k + 1) * y * num_with[k + 1] / num_with[k]) for k in (1, 2, 3))
    return (d1, d2, d3) if 0 < d1 <= 1 and 0 < d2 <= 2 and 0 < d3 <= 3 else None


def counts_of_counts(count_N: Ints) -> Ints:
    """Return (5,): how many n-grams have the count 0, 1, ..., 4."""
    num_with_6 = np.zeros(6, np.int64)
    for start, end in spans(0, len(count_N)):
        num_with_6 += np.bincount(np.minimum(count_N[start:end], 5), minlength=6)
    return num_with_6[:5]


def _all_discounts(counts: NgramCounts) -> tuple[Floats, int]:
    levels = zip(counts.level_start[:-1], counts.level_start[1:], strict=True)
    found = [discounts_of(counts_of_counts(counts.count_N[start:end])) for start, end in levels]
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
