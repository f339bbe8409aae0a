"""An n-gram as a table of states: a look-up says the whole distribution, another the next state.

Enters: a fitted n-gram over few tokens (characters).  Leaves: dense tables, or None where they would be too large.
Its states are the contexts it has seen (the empty one is state 0, node n is state n + 1); a context that it has not
seen is the longest seen end of it, since that alone decides what follows.  Rows are made from short to long:

    log p(. | h_1..h_k) = log b(h_1..h_k) + log p(. | h_2..h_k), then the words seen after h_1..h_k laid over it

Letters: S states, V tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sensorium.core.vocabulary import BOS
from sensorium.language.ngram_tables import NgramTables


@dataclass(frozen=True, slots=True)
class StateTable:
    """What follows each state.

    Attributes:
        start: the state after BOS.
        log_p_SV: (S, V) float32, log p(token | state), nats.
        next_SV: (S, V) int32, the state after the token.
    """

    start: int
    log_p_SV: NDArray[np.float32]
    next_SV: NDArray[np.int32]


def state_table(tables: NgramTables, most_numbers: int) -> StateTable | None:
    """Return the states of an n-gram; None if they would hold more than `most_numbers` log-probabilities."""
    num_tokens, num_contexts = int(tables.level_start[1]), len(tables.log_backoff)
    if (num_contexts + 1) * num_tokens > most_numbers:
        return None
    log_p_N, log_backoff_C = tables.log_p, tables.log_backoff
    key_N, first_child_C = tables.key, tables.first_child
    log_p_SV = np.empty((num_contexts + 1, num_tokens), np.float32)
    next_SV = np.zeros((num_contexts + 1, num_tokens), np.int32)
    log_p_SV[0] = log_p_N[:num_tokens]
    if not num_contexts:
        return StateTable(0, log_p_SV, next_SV)
    next_SV[0] = np.arange(1, num_tokens + 1)
    suffix_C = np.zeros(num_contexts, np.int64)
    starts = [start for start in tables.level_start.tolist() if start < num_contexts]
    for low, high in zip(starts, [*starts[1:], num_contexts], strict=True):
        if low:
            context_L, word_L = np.divmod(key_N[low - num_tokens : high - num_tokens], num_tokens)
            suffix_C[low:high] = next_SV[suffix_C[context_L], word_L]
        log_p_SV[low + 1 : high + 1] = log_p_SV[suffix_C[low:high]] + log_backoff_C[low:high, None]
        next_SV[low + 1 : high + 1] = next_SV[suffix_C[low:high]]
        child_E = np.arange(first_child_C[low], first_child_C[high])
        state_E, word_E = np.divmod(key_N[child_E], num_tokens)
        log_p_SV[state_E + 1, word_E] = log_p_N[child_E + num_tokens]
        is_context_E = child_E + num_tokens < num_contexts
        next_SV[state_E[is_context_E] + 1, word_E[is_context_E]] = child_E[is_context_E] + num_tokens + 1
    return StateTable(BOS + 1, log_p_SV, next_SV)
