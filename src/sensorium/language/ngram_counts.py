"""Count every n-gram of a corpus into one forward trie of sorted integers.

Enters: token sequences from BOS to EOS.  Leaves: a trie and the adjusted counts of its n-grams
(Heafield et al. 2013, "Scalable Modified Kneser-Ney Language Model Estimation", section 3.2).

A node is an n-gram.  Nodes 0..V-1 are the unigrams, node = token id.  A longer n-gram has the key
`node(all but its last word) * V + last word`; keys of all lengths stand in one ascending array, and
the node of `key_N[i]` is `V + i`.  Shorter n-grams come first, because their prefixes do.  So any
order fits into 64 bits, and finding the successors of a whole batch is one binary search.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import BOS, EOS, PAD

Ints = NDArray[np.int64]
AnyInts = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Occurrences:
    """A trie with how often each n-gram occurs: counts that can be added up; see `NgramCounts`."""

    num_tokens: int
    level_start: tuple[int, ...]
    key_N: Ints
    suffix_N: AnyInts
    occurrence_N: AnyInts


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """A trie of n-grams with what Kneser-Ney estimation needs to know of each.

    Attributes:
        num_tokens: V.
        level_start: node at which the n-grams of length 1, 2, ..., order begin, then the number of nodes.
        key_N: (nodes - V,) keys, ascending; the n-gram of `key_N[i]` is node V + i.
        suffix_N: (nodes - V,) node of the same n-gram without its first word.
        count_N: (nodes,) adjusted counts: at the highest order and after BOS, how often the n-gram
            occurs; elsewhere, how many distinct words precede it.  PAD and BOS, never predicted, have 0.
        kept_N: (nodes,) bool: occurs more often than its length's threshold; None where all are kept.
        known: what was counted before it was adjusted; None where it is not kept.
    """

    num_tokens: int
    level_start: tuple[int, ...]
    key_N: Ints
    suffix_N: AnyInts
    count_N: Ints
    kept_N: Bools | None = None
    known: Occurrences | None = None

    @property
    def order(self) -> int:
        """Return the longest n-gram's length."""
        return len(self.level_start) - 1


def count_ngrams(
    sequences: Iterable[Sequence[int]], order: int, num_tokens: int, prune: Sequence[int] = ()
) -> NgramCounts:
    """Count all n-grams up to length `order`; for `prune` see `count_joined`.

    Raises:
        DataError: no sequence, or one that does not run from BOS to EOS over ids 0..num_tokens-1.
    """
    return count_joined(join(sequences, num_tokens), order, num_tokens, prune)


def count_joined(token_T: Ints, order: int, num_tokens: int, prune: Sequence[int] = ()) -> NgramCounts:
    """Count all n-grams of sequences laid end to end, each from BOS to EOS.

    Args:
        token_T: (T,) ids 0..num_tokens-1, as `join` and `check_joined` see to.
        prune: for each length the occurrences up to which an n-gram is not kept; the last one holds for
            all longer ones, too.
    """
    return adjusted(count_occurrences(token_T, order, num_tokens), prune)


def count_occurrences(token_T: Ints, order: int, num_tokens: int) -> Occurrences:
    """Count how often each n-gram up to length `order` occurs in checked sequences laid end to end."""
    place_T = places(token_T)
    token_T = node_T = token_T.astype(np.int64, copy=False)
    starts, keys, suffixes = [0, num_tokens], [], []
    occurrences = [np.bincount(token_T, minlength=num_tokens)]
    for length in range(2, order + 1):
        end_E = np.flatnonzero(place_T >= length - 1)
        key_N, index_E = number_keys(node_T[end_E - 1] * num_tokens + token_T[end_E])
        suffix_N = np.empty(len(key_N), np.int64)
        suffix_N[index_E] = node_T[end_E]
        node_T = np.full(len(token_T), -1)
        node_T[end_E] = starts[-1] + index_E
        starts.append(starts[-1] + len(key_N))
        keys.append(key_N)
        suffixes.append(suffix_N)
        occurrences.append(np.bincount(index_E, minlength=len(key_N)))
    none = np.empty(0, np.int64)
    key_N, suffix_N = np.concatenate([none, *keys]), np.concatenate([none, *suffixes])
    return Occurrences(num_tokens, tuple(starts), key_N, suffix_N, np.concatenate(occurrences))


def adjusted(found: Occurrences, prune: Sequence[int] = ()) -> NgramCounts:
    """Replace occurrences by the number of distinct preceding words, except at the highest order and after BOS."""
    starts, num_tokens = found.level_start, found.num_tokens
    count_N = found.occurrence_N.astype(np.int64)
    after_bos_N = np.arange(num_tokens) == BOS
    for start, end, longer in zip(starts, starts[1:], starts[2:], strict=False):
        longer_E = slice(end - num_tokens, longer - num_tokens)
        preceding_N = np.bincount(found.suffix_N[longer_E] - start, minlength=end - start)
        count_N[start:end] = np.where(after_bos_N, count_N[start:end], preceding_N)
        after_bos_N = after_bos_N[found.key_N[longer_E] // num_tokens - start]
    count_N[BOS] = 0
    kept_N = _kept(found, prune)
    known = found if kept_N is None else None
    return NgramCounts(num_tokens, starts, found.key_N, found.suffix_N, count_N, kept_N, known)


def thresholds(prune: Sequence[int], order: int) -> list[int]:
    """Return one threshold a length: the last of `prune` is repeated, none is 0."""
    return [(prune[min(i, len(prune) - 1)] if prune else 0) for i in range(order)]


def places(token_T: Ints) -> Ints:
    """Return (T,): each token's distance from the BOS before it."""
    at_T = np.arange(len(token_T))
    place_T: Ints = at_T - np.maximum.accumulate(np.where(token_T == BOS, at_T, 0))
    return place_T


def check_joined(token_T: Ints, num_tokens: int) -> None:
    """Check that sequences laid end to end all run from BOS to EOS and hold known ids only.

    Raises:
        DataError: they do not; the sequence is named by its number.
    """
    if not len(token_T):
        raise DataError("an n-gram model cannot be counted from no sequences")
    is_bos_T = token_T == BOS
    opens_T = np.concatenate([[True], token_T[:-1] == EOS])
    bad_T = (token_T < 0) | (token_T >= num_tokens) | (token_T == PAD) | (is_bos_T != opens_T)
    at = int(bad_T.argmax()) if bad_T.any() else len(token_T) - 1
    if bad_T[at] or token_T[at] != EOS:
        number = int((token_T[:at] == EOS).sum())
        raise DataError(
            f"has id {token_T[at]}, where each sequence is to run from BOS to EOS", where=f"sequence {number}"
        )


def join(sequences: Iterable[Sequence[int]], num_tokens: int) -> Ints:
    """Lay the sequences end to end.

    Raises:
        DataError: no sequence, or one that does not run from BOS to EOS over ids 0..num_tokens-1.
    """
    arrays = [np.asarray(sequence, dtype=np.int64) for sequence in sequences]
    if not arrays:
        raise DataError("an n-gram model cannot be counted from no sequences")
    for number, ids_T in enumerate(arrays):
        if len(ids_T) < 2 or ids_T[0] != BOS or ids_T[-1] != EOS:
            raise DataError("does not run from BOS to EOS", where=f"sequence {number}")
    token_T = np.concatenate(arrays)
    lengths = np.array([len(ids_T) for ids_T in arrays])
    starts = np.cumsum(lengths) - lengths
    place_T = np.arange(len(token_T)) - np.repeat(starts, lengths)
    bad_T = (token_T < 0) | (token_T >= num_tokens) | (token_T == PAD) | ((token_T == BOS) & (place_T > 0))
    if bad_T.any():
        at = int(np.flatnonzero(bad_T)[0])
        number = int(np.searchsorted(starts, at, side="right")) - 1
        raise DataError(f"has id {token_T[at]} at place {place_T[at]}", where=f"sequence {number}")
    return token_T


def number_keys(key_E: Ints) -> tuple[Ints, Ints]:
    """Return the distinct keys in ascending order, and for each given key its index among them."""
    order_E = np.argsort(key_E)
    sorted_E = key_E[order_E]
    is_new_E = np.ones(len(key_E), bool)
    is_new_E[1:] = sorted_E[1:] != sorted_E[:-1]
    index_E = np.empty(len(key_E), np.int64)
    index_E[order_E] = np.cumsum(is_new_E) - 1
    return sorted_E[is_new_E], index_E


def _kept(found: Occurrences, prune: Sequence[int]) -> Bools | None:
    if not any(prune):
        return None
    num_L = np.diff(found.level_start)
    kept_N: Bools = found.occurrence_N > np.repeat(thresholds(prune, len(num_L)), num_L)
    kept_N[: found.num_tokens] = True
    return kept_N
