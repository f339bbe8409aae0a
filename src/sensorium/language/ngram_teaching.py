"""Add texts to an n-gram that is fitted, exactly.

Enters: what was counted, and texts.  Leaves: the tables of a model that was fitted on both.
Occurrences are integers, so they add up without error, whatever the order; Kneser-Ney's adjusted counts,
discounts and probabilities follow from them (`ngram_counts.adjusted`, `kneser_ney.estimate`) in time linear
in the number of n-grams.  Taking a text out again is adding all the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from sensorium.language.kneser_ney import estimate
from sensorium.language.ngram_counts import Ints, Occurrences, adjusted, count_occurrences, join
from sensorium.language.ngram_tables import NgramTables, tables_of


def tables_with(known: Occurrences, taught: Sequence[tuple[Sequence[int], int]]) -> NgramTables:
    """Return the tables of `known` and of texts (tokens, how many times) together.

    Raises:
        DataError: a text that does not run from BOS to EOS over this vocabulary.
    """
    order = len(known.level_start) - 1
    for times, texts in itertools.groupby(sorted(taught, key=lambda text: text[1]), key=lambda text: text[1]):
        token_T = join([tokens for tokens, _ in texts], known.num_tokens)
        known = added(known, count_occurrences(token_T, order, known.num_tokens), times)
    counts = adjusted(known)
    return tables_of(counts, estimate(counts))


def added(one: Occurrences, other: Occurrences, times: int = 1) -> Occurrences:
    """Return the n-grams of both; those of `other` count `times` times.  `other` should be the smaller one.

    Length by length: both tries' keys are rewritten to the merged trie's contexts, which keeps them ascending,
    and the few of `other` that are new are inserted.
    """
    num_tokens, order = one.num_tokens, len(one.level_start) - 1
    node_N, node_M = np.arange(num_tokens), np.arange(num_tokens)  # the merged nodes of each trie's level
    starts, keys, suffixes = [0, num_tokens], [], []
    occurrences = [one.occurrence_N[:num_tokens] + times * other.occurrence_N[:num_tokens].astype(np.int64)]
    maps = [node_N], [node_M]
    for level in range(1, order):
        key_N, key_M = (_keys(trie, level, merged[-1]) for trie, merged in zip((one, other), maps, strict=True))
        at_M = np.searchsorted(key_N, key_M)
        is_new_M = at_M == len(key_N)
        is_new_M[~is_new_M] = key_N[at_M[~is_new_M]] != key_M[~is_new_M]
        new_at = at_M[is_new_M]
        key_N = np.insert(key_N, new_at, key_M[is_new_M])
        at_N = _shifted(len(key_N) - len(new_at), new_at)
        at_M = np.searchsorted(key_N, key_M)
        suffix_N = np.empty(len(key_N), np.int64)
        occurrence_N = np.zeros(len(key_N), np.int64)
        for trie, at, weight, merged in ((one, at_N, 1, maps[0]), (other, at_M, times, maps[1])):
            span = slice(trie.level_start[level] - num_tokens, trie.level_start[level + 1] - num_tokens)
            suffix_N[at] = merged[-1][trie.suffix_N[span] - trie.level_start[level - 1]]
            occurrence_N[at] += weight * trie.occurrence_N[trie.level_start[level] : trie.level_start[level + 1]]
            merged.append(at + starts[-1])
        starts.append(starts[-1] + len(key_N))
        keys.append(key_N)
        suffixes.append(suffix_N)
        occurrences.append(occurrence_N)
    none = np.empty(0, np.int64)
    key_N, suffix_N = np.concatenate([none, *keys]), np.concatenate([none, *suffixes])
    return Occurrences(num_tokens, tuple(starts), key_N, suffix_N, np.concatenate(occurrences))


def _keys(trie: Occurrences, level: int, node_C: Ints) -> Ints:
    """Return the keys of one level with each context's number replaced by its merged one."""
    start, end = (at - trie.num_tokens for at in trie.level_start[level : level + 2])
    context_N, last_N = np.divmod(trie.key_N[start:end], trie.num_tokens)
    keys: Ints = node_C[context_N - trie.level_start[level - 1]] * trie.num_tokens + last_N
    return keys


def _shifted(num: int, inserted_at: Ints) -> Ints:
    """Return (num,): where each element went when others were inserted before the given places."""
    num_before_N = np.bincount(inserted_at, minlength=num + 1).cumsum()[:num]
    places: Ints = np.arange(num) + num_before_N
    return places
