"""Bags of n-grams of the words that rows have, as sparse counts.

Enters: evidence, one (B, T) int64 of word ids an input, -1 where there is no word.
Leaves: which known n-grams each row holds, as columns of a sparse matrix of counts.

An n-gram is one integer: with each word a digit from 1 (0 = no word),

    key(w_1..w_n) = sum_i digit(w_i) base^(i-1),   digit(w of input k) = k size + w + 1,   base = K size + 1

so that n-grams of unequal length, or of different inputs, never share a key.  Unknown words are no
evidence, nor is any n-gram that holds one.  Where boundaries count, a row's words stand between BOS and EOS,
which take part in n-grams of two words and more.

Letters beside the shared ones: K inputs, N rows, E counted entries, F features (distinct n-grams).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.vocabulary import BOS, EOS, UNK
from sensorium.language.sparse_counts import Ints, SparseCounts

_LARGEST_KEY = (1 << 63) - 1


@dataclass(frozen=True)
class Layout:
    """How words become digits: `size` ids an input, `num_inputs` inputs."""

    size: int
    num_inputs: int

    @property
    def base(self) -> int:
        """Return the number of digits."""
        return self.size * self.num_inputs + 1

    def require_room(self, ngrams: int) -> None:
        """Check that keys fit 63 bits.  Raises DataError."""
        if self.base**ngrams > _LARGEST_KEY:
            raise DataError(
                f"{ngrams}-grams over {self.base - 1:,} words do not fit into 63 bits",
                advice="count shorter n-grams, or limit the vocabulary of the inputs",
            )

    def keys(self, word_BT: Tensor, number: int, ngrams: int, *, boundaries: bool) -> tuple[Tensor, Tensor]:
        """Return the rows and keys (E,) of every n-gram of input `number`, repeated as often as it occurs."""
        if boundaries and ngrams > 1:
            word_BT = _bounded(word_BT)
        is_word_BT = (word_BT > UNK) & (word_BT < self.size)
        is_known_BT = is_word_BT | (word_BT == BOS) | (word_BT == EOS)
        digit_BT = torch.where(is_known_BT, word_BT + (number * self.size + 1), 0)
        rows, keys = [], []
        key_BT, whole_BT = torch.zeros_like(digit_BT), torch.ones_like(is_known_BT)
        for n in range(min(ngrams, word_BT.shape[1])):
            length = word_BT.shape[1] - n
            key_BT = key_BT[:, :length] + digit_BT[:, n:] * self.base**n
            whole_BT = whole_BT[:, :length] & is_known_BT[:, n:]
            row_E, position_E = (whole_BT if n else is_word_BT).nonzero(as_tuple=True)
            rows.append(row_E)
            keys.append(key_BT[row_E, position_E])
        if not rows:
            return word_BT.new_zeros(0), word_BT.new_zeros(0)
        return torch.cat(rows), torch.cat(keys)


def known_words(evidence: Mapping[str, Tensor], names: Sequence[str]) -> list[Tensor]:
    """Return the words of the named inputs, (B, T) each; of all inputs if none is named.

    What a fusion leaves as evidence (its gates, its edges) is no word.
    """
    words = {name: tensor for name, tensor in evidence.items() if not tensor.is_floating_point()}
    return [words[name] for name in names or words if name in words]


def matches(
    words: Sequence[Tensor], key_F: Tensor, layout: Layout, ngrams: int, *, binary: bool, boundaries: bool
) -> tuple[Tensor, Tensor]:
    """Find the known n-grams of B rows: their columns (E,), by row, and where each row's begin (B,).

    An n-gram that occurs twice is there twice, unless `binary`.
    """
    num_rows, num_features = words[0].shape[0], len(key_F)
    cells = []
    for number, word_BT in enumerate(words):
        row_E, key_E = layout.keys(word_BT, number, ngrams, boundaries=boundaries)
        column_E = torch.searchsorted(key_F, key_E).clamp_max(num_features - 1)
        cells.append((row_E * num_features + column_E)[key_F[column_E] == key_E])
    cell_E = torch.cat(cells)
    cell_E = torch.unique(cell_E) if binary else cell_E.sort().values
    num_B = torch.bincount(cell_E // num_features, minlength=num_rows)
    return cell_E % num_features, num_B.cumsum(0) - num_B


class Observed:
    """Rows of words and their classes, kept until an estimate is asked for.

    Words are kept as int32 without padding, so a million rows of thirty words are 120 MB.
    """

    def __init__(self) -> None:
        self.num_inputs = 0
        self._words: list[list[NDArray[np.int32]]] = []  # by chunk, by input: flat words
        self._lengths: list[list[Ints]] = []  # by chunk, by input: (B,), 0 where the row lacks the input
        self._tokens: list[Ints] = []

    def __len__(self) -> int:
        return sum(len(token_B) for token_B in self._tokens)

    def add(self, words: Sequence[Tensor], token_B: Tensor) -> None:
        """Keep B rows."""
        self.num_inputs = len(words)
        self._words.append([word_BT[word_BT >= 0].cpu().numpy().astype(np.int32) for word_BT in words])
        self._lengths.append([(word_BT >= 0).sum(1).cpu().numpy() for word_BT in words])
        self._tokens.append(token_B.cpu().numpy())

    @property
    def token_N(self) -> Ints:
        """Return each row's label id."""
        return np.concatenate(self._tokens)

    def has_NK(self) -> NDArray[np.bool_]:
        """Say which rows have which inputs, (N, K)."""
        shape = (len(self), self.num_inputs)
        by_chunk = [np.stack(lengths, 1) > 0 for lengths in self._lengths if lengths]
        return np.concatenate(by_chunk) if by_chunk else np.zeros(shape, bool)

    def layout(self) -> Layout:
        """Return digits for the largest id seen."""
        largest = max((int(flat.max()) for chunk in self._words for flat in chunk if len(flat)), default=UNK)
        return Layout(largest + 1, max(self.num_inputs, 1))

    def counts(
        self, layout: Layout, ngrams: int, *, min_rows: int = 1, boundaries: bool = False
    ) -> tuple[Ints, SparseCounts]:
        """Count every n-gram that at least `min_rows` rows hold.

        Returns:
            key_F: the n-grams, ascending; and their counts (N, F).
        """
        layout.require_room(ngrams)
        rows, keys, counts, first = [], [], [], 0
        for words, lengths, token_B in zip(self._words, self._lengths, self._tokens, strict=True):
            row_E, key_E, count_E = _count(words, lengths, layout, ngrams, boundaries)
            rows.append(row_E + first)
            keys.append(key_E)
            counts.append(count_E)
            first += len(token_B)
        key_F, column_E = np.unique(_joined(keys), return_inverse=True)
        row_E, count_E = _joined(rows), _joined(counts)
        if min_rows > 1:
            is_kept_F = np.bincount(column_E, minlength=len(key_F)) >= min_rows
            kept_E = is_kept_F[column_E]
            column_E = (np.cumsum(is_kept_F) - 1)[column_E[kept_E]]
            row_E, count_E, key_F = row_E[kept_E], count_E[kept_E], key_F[is_kept_F]
        offset_N1 = np.searchsorted(row_E, np.arange(first + 1))
        return key_F, SparseCounts(column_E, count_E.astype(np.float64), offset_N1, len(key_F))


def _count(
    words: Sequence[NDArray[np.int32]], lengths: Sequence[Ints], layout: Layout, ngrams: int, boundaries: bool
) -> tuple[Ints, Ints, Ints]:
    """Count the n-grams of one chunk: rows, keys and how often, by row and key."""
    found = [
        layout.keys(_padded(flat, length_B), number, ngrams, boundaries=boundaries)
        for number, (flat, length_B) in enumerate(zip(words, lengths, strict=True))
    ]
    row_E, key_E = _joined([row.numpy() for row, _ in found]), _joined([key.numpy() for _, key in found])
    order_E = np.lexsort((key_E, row_E))
    row_E, key_E = row_E[order_E], key_E[order_E]
    is_new_E = np.ones(len(row_E), bool)
    is_new_E[1:] = (row_E[1:] != row_E[:-1]) | (key_E[1:] != key_E[:-1])
    start_X = np.flatnonzero(is_new_E)
    return row_E[start_X], key_E[start_X], np.diff(np.append(start_X, len(row_E)))


def _bounded(word_BT: Tensor) -> Tensor:
    """Put BOS before and EOS after the words of each row that has any; words are on the left."""
    wide_BT = functional.pad(word_BT, (1, 1), value=-1)
    length_B1 = (word_BT >= 0).sum(1, keepdim=True)
    place_T = torch.arange(wide_BT.shape[1], device=word_BT.device)
    wide_BT = torch.where((place_T == length_B1 + 1) & (length_B1 > 0), EOS, wide_BT)
    return torch.where((place_T == 0) & (length_B1 > 0), BOS, wide_BT)


def _padded(flat: NDArray[np.int32], length_B: Ints) -> Tensor:
    word_BT = np.full((len(length_B), int(length_B.max(initial=0))), -1, np.int64)
    word_BT[np.arange(word_BT.shape[1]) < length_B[:, None]] = flat
    return torch.from_numpy(word_BT)


def _joined(parts: Sequence[NDArray[Any]]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *parts])
