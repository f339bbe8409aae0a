"""Leave n-grams out of a trie and number the rest anew.

Enters: tables and which nodes are kept, every kept node's context among them.  Leaves: smaller tables.
An n-gram is kept only if it occurs more often than its length's threshold, and no threshold is below a
shorter length's, so a context, which occurs at least as often, is kept too.
"""

from __future__ import annotations

import numpy as np

from sensorium.language.ngram_arrays import BLOCK, NewArray, in_memory, spans
from sensorium.language.ngram_counts import Bools, Ints


def renumbered(kept_N: Bools, new: NewArray = in_memory) -> Ints:
    """Return (N+1,): how many of the nodes before each one are kept, which is its new number."""
    number_N1 = new(len(kept_N) + 1, np.int64)
    number_N1[0] = total = 0
    for start, end in spans(0, len(kept_N)):
        number_N1[start + 1 : end + 1] = total + np.cumsum(kept_N[start:end])
        total = int(number_N1[end])
    return number_N1


def kept_keys(key_N: Ints, kept_N: Bools, number_N1: Ints, num_tokens: int, new: NewArray = in_memory) -> Ints:
    """Return the keys of the kept n-grams, made of their contexts' new numbers; still ascending."""
    kept_key_N = new(int(number_N1[-1]) - num_tokens, np.int64)
    for start, end in spans(0, len(key_N), BLOCK):
        is_kept = kept_N[num_tokens + start : num_tokens + end]
        context, last = np.divmod(key_N[start:end][is_kept], num_tokens)
        first, after = number_N1[num_tokens + start], number_N1[num_tokens + end]
        kept_key_N[first - num_tokens : after - num_tokens] = number_N1[context] * num_tokens + last
    return kept_key_N
