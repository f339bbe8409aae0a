"""The arrays an n-gram scorer answers from: keys, log-probabilities and back-off weights of a trie.

Enters: counts with their estimate, or the n-grams of an ARPA file.  Leaves: `NgramTables`, ready to be
buffers or to be written.  The trie's layout is told in `ngram_counts`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.language.kneser_ney import NgramEstimate
from sensorium.language.ngram_counts import Ints, NgramCounts

Singles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NgramTables:
    """A trie of N nodes with two numbers a node; see `Ngram` for the meaning of each array.

    Attributes:
        key: (N-V,) int64, ascending.
        log_p: (N,) float32, nats.
        log_backoff: (C,) float32, nats.
        first_child: (C+1,) int64.
        level_start: (order+1,) int64.
        discount: (order, 3) float32; zeros where unknown.
        num_fallbacks: lengths whose discounts could not be estimated.
    """

    key: Ints
    log_p: Singles
    log_backoff: Singles
    first_child: Ints
    level_start: Ints
    discount: Singles
    num_fallbacks: int

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tables by the names of the scorer's buffers."""
        return {
            "key_": self.key,
            "log_p_": self.log_p,
            "log_backoff_": self.log_backoff,
            "first_child_": self.first_child,
            "level_start_": self.level_start,
            "discount_": self.discount,
            "num_fallbacks_": np.array(self.num_fallbacks),
        }


def tables_of(counts: NgramCounts, found: NgramEstimate) -> NgramTables:
    """Bring an estimate into the form it is read in."""
    with np.errstate(divide="ignore"):
        log_p_N, log_backoff_C = (np.log(x).astype(np.float32) for x in (found.p_N, found.backoff_C))
    return NgramTables(
        counts.key_N,
        log_p_N,
        log_backoff_C,
        first_children(counts.key_N, len(log_backoff_C), counts.num_tokens),
        np.array(counts.level_start),
        found.discount_L3.astype(np.float32),
        found.num_fallbacks,
    )


def first_children(key_N: Ints, num_contexts: int, num_tokens: int) -> Ints:
    """Return (C+1,): where in `key_N` the n-grams begin that extend each context."""
    return np.searchsorted(key_N, np.arange(num_contexts + 1) * num_tokens)
