"""Sort every place of a corpus by what stands before it: a suffix array of the text read backwards.

Enters: token sequences from BOS to EOS, laid end to end.  Leaves: for each place in that order, the token that
comes next (the Burrows-Wheeler transform of the text read backwards; Burrows and Wheeler 1994).  From this one
array `context_index` finds all occurrences of any context, and what follows them.

Contexts are compared from their last token backwards, as far as their BOS.  Sorting doubles the compared length
each round (Manber and Myers 1993): O(N log N) a round, log2(length) rounds for N tokens.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sensorium.core.vocabulary import BOS
from sensorium.language.ngram_counts import Ints, number_keys, places

Int32s = NDArray[np.int32]


def rank_contexts(token_T: Ints, length: int) -> Ints:
    """Return (T,) the rank of the context that ends at each place; contexts alike in `length` tokens share theirs.

    Args:
        token_T: sequences laid end to end, each from BOS to EOS.
        length: how many tokens at least decide; more do where it is not a power of two.
    """
    place_T = places(token_T)
    distinct_N, rank_T = number_keys(token_T.astype(np.int64))
    compared = 1
    while compared < length and len(distinct_N) < len(token_T):
        before_T = np.zeros(len(token_T), np.int64)  # a context that does not reach so far comes first
        reaches = np.flatnonzero(place_T >= compared)
        if not len(reaches):
            break
        before_T[reaches] = rank_T[reaches - compared] + 1
        distinct_N, rank_T = number_keys(rank_T * (len(distinct_N) + 1) + before_T)
        compared *= 2
    return rank_T


def next_tokens(token_T: Ints, length: int) -> tuple[Ints, Ints]:
    """Return (T,) the places in the order of their contexts, and (T,) the token after each; BOS follows EOS."""
    order_T = np.argsort(rank_contexts(token_T, length), kind="stable")
    return order_T, np.append(token_T[1:], BOS)[order_T]


def merged_next_tokens(next_N: Int32s, token_T: Ints, rank_T: Ints, times_T: Ints, length: int) -> Int32s:
    """Return the next tokens of a corpus and further sequences together.

    Args:
        next_N: the corpus's, in the order of contexts.
        token_T: further sequences laid end to end, each from BOS to EOS.
        rank_T: how many contexts of the corpus come before each of theirs.
        times_T: how many times each place counts.
        length: as for `rank_contexts`.
    """
    order_T, next_T = next_tokens(token_T, length)
    order_T, next_T = (np.repeat(x_T, times_T[order_T]) for x_T in (order_T, next_T))
    merged: Int32s = np.insert(next_N, rank_T[order_T], next_T)  # equal ranks keep their order
    return merged
