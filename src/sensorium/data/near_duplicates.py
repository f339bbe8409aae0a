"""Which texts, pictures or sounds are known already, exactly or nearly?

Enters: what is to be judged (H of them) and what is learned from (L).  Leaves: `Known`: for each of the H, an equal
or a nearly equal one among the L.

Nearly equal texts: of the shorter one's shingles (four words running), at least 80 % stand in the longer one, so
that a sentence and its phrases are found, too; texts under five words are compared as wholes alone.  Words are
compared case folded and without punctuation.  Source: Broder 1997, "On the resemblance and containment of
documents".
Nearly equal pictures and sounds: fingerprints (`data/fingerprints.py`) that differ in few bits.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sensorium.data.groups import normal_text

Ints = npt.NDArray[np.int64]
Advance = Callable[[int, int], None]

SHINGLE_WORDS = 4
CONTAINED = 0.8
_LEAST_SHINGLES = 2
_MOST_WORDS = 512  # of a text; a longer one is known by its beginning
_BOILERPLATE = 200  # shingles of more learned texts than that tell no text from another
_CHUNK = 2_000
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_ONE_SIGN_WORDS = re.compile(r"([\u2e80-\u30ff\u3400-\u9fff\uf900-\ufaff])")  # Han, kana: a sign is a word here
_PUNCTUATION = string.punctuation + "“”‘’«»„…–—。、，！？"


class Known(NamedTuple):
    """What is known of H things, as places among those that are learned from; -1 = nothing.

    Attributes:
        exact_H: (H,) an equal one.
        near_H: (H,) the nearest of those that are nearly equal, where none is equal.
    """

    exact_H: Ints
    near_H: Ints


def known_texts(held: Sequence[str], learned: Sequence[str], advance: Advance | None = None) -> Known:
    """Find each held text among the learned ones."""
    first: dict[str, int] = {}
    for place, text in enumerate(learned):
        first.setdefault(normal_text(text), place)
    exact_H = np.array([first.get(normal_text(text), -1) for text in held], np.int64)
    return Known(exact_H, np.where(exact_H < 0, near_texts(held, learned, advance), -1))


def near_texts(held: Sequence[str], learned: Sequence[str], advance: Advance | None = None) -> Ints:
    """Return the learned text that shares the largest part of the shorter one's shingles, (H,); -1 under 80 %."""
    number_of: dict[str, int] = {}
    learned_E, learned_text_E = _shingles(learned, number_of)
    held_E, held_text_E = _shingles(held, number_of)
    order_E = np.argsort(learned_E, kind="stable")
    learned_E, learned_text_E = learned_E[order_E], learned_text_E[order_E]
    first_E = np.searchsorted(learned_E, held_E, "left")
    count_E = np.searchsorted(learned_E, held_E, "right") - first_E
    count_E[count_E > _BOILERPLATE] = 0
    size_L = np.bincount(learned_text_E, minlength=len(learned))
    size_H = np.bincount(held_text_E, minlength=len(held))
    found_H = np.full(len(held), -1, np.int64)
    for start in range(0, len(held), _CHUNK):
        some = slice(*np.searchsorted(held_text_E, [start, start + _CHUNK]).tolist())
        number_P = np.repeat(np.arange(len(held_E))[some], count_E[some])
        begin_P = np.repeat(np.cumsum(count_E[some]) - count_E[some], count_E[some])
        place_P = first_E[number_P] + np.arange(len(number_P)) - begin_P
        pair_P = held_text_E[number_P] * len(learned) + learned_text_E[place_P]
        pair_Q, shared_Q = np.unique(pair_P, return_counts=True)
        held_Q, learned_Q = np.divmod(pair_Q, max(1, len(learned)))
        shorter_Q = np.minimum(size_H[held_Q], size_L[learned_Q])
        share_Q = np.where(shorter_Q >= _LEAST_SHINGLES, shared_Q / np.maximum(shorter_Q, 1), 0.0)
        best_Q = np.lexsort((-learned_Q, share_Q))  # the best comes last, and is written last
        best_Q = best_Q[share_Q[best_Q] >= CONTAINED]
        found_H[held_Q[best_Q]] = learned_Q[best_Q]
        if advance is not None:
            advance(min(start + _CHUNK, len(held)), len(held))
    return found_H


def words_of(text: str) -> list[str]:
    """Return the words by which texts are compared."""
    spaced = _ONE_SIGN_WORDS.sub(r" \1 ", normal_text(text))
    return [word for part in spaced.split() if (word := part.strip(_PUNCTUATION))][:_MOST_WORDS]


def _shingles(texts: Sequence[str], number_of: dict[str, int]) -> tuple[npt.NDArray[np.uint64], Ints]:
    """Return the distinct shingles of each text, hashed to 64 bits, and whose each is, in the order of texts."""
    words = [[number_of.setdefault(word, len(number_of)) for word in words_of(text)] for text in texts]
    word_X = np.array([number for one in words for number in one], np.uint64) + np.uint64(1)
    text_X = np.repeat(np.arange(len(texts)), [len(one) for one in words])
    num = len(word_X) - SHINGLE_WORDS + 1
    if num <= 0:
        return np.zeros(0, np.uint64), np.zeros(0, np.int64)
    hash_E = np.zeros(num, np.uint64)
    for k in range(SHINGLE_WORDS):
        hash_E = (hash_E ^ word_X[k : k + num]) * _PRIME
        hash_E ^= hash_E >> np.uint64(29)
    is_whole_E = text_X[:num] == text_X[SHINGLE_WORDS - 1 :]
    pair = np.unique(np.stack([text_X[:num][is_whole_E].astype(np.uint64), hash_E[is_whole_E]]), axis=1)
    return pair[1], pair[0].astype(np.int64)


def known_bits(held_HB: npt.NDArray[np.uint8], learned_LB: npt.NDArray[np.uint8], most: int) -> Ints:
    """Return the learned fingerprint that differs in the fewest bits, `most` at most, (H,); -1 where none does.

    Args:
        held_HB, learned_LB: packed bits; a fingerprint without any bit says nothing and is near nothing.
    """
    found_H = np.full(len(held_HB), -1, np.int64)
    if not len(learned_LB):
        return found_H
    is_telling_L = learned_LB.any(1)
    for place, bits in enumerate(held_HB):
        if bits.any():
            distance_L = np.where(is_telling_L, _ONES[learned_LB ^ bits].sum(1), 10_000)
            nearest = int(distance_L.argmin())
            found_H[place] = nearest if distance_L[nearest] <= most else -1
    return found_H


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1).astype(np.int64)
