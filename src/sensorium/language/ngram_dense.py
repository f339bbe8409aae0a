"""Whole next-word distributions of the contexts that most words follow, kept ready.

Enters: the tables of an n-gram.  Leaves: log p(next | word), a row for each of some words, and which row is whose.
After "the" thousands of words have been seen; to lay them one by one over the unigrams costs more than all else of
a step of decoding.  Few words are like that, and they are the frequent ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

MOST_NUMBERS = 1 << 22
"""Kept log-probabilities: 16 MiB."""
FEWEST_CHILDREN = 64
"""Shorter lists are laid over the unigrams as fast as a row is copied."""


@dataclass(frozen=True)
class DenseContexts:
    """Rows of log p(next | word); row 0 is of no word: the unigrams themselves.

    Attributes:
        row_V: (V,) int64 the row of each word, 0 where there is none.
        log_p_SV: (S, V).
        source: the buffers they were made from; made of others, they say nothing.
    """

    row_V: Tensor
    log_p_SV: Tensor
    source: tuple[Tensor, ...]

    @classmethod
    def of(cls, key_: Tensor, log_p_: Tensor, log_backoff_: Tensor, first_child_: Tensor, num_tokens: int) -> Self:
        """Choose the words that most words follow, and work out what follows them."""
        with torch.inference_mode(mode=False):
            row_V = torch.zeros(num_tokens, dtype=torch.int64, device=log_p_.device)
            rows = [log_p_[:num_tokens]]
            if len(first_child_) > num_tokens and key_.numel():
                num_V = first_child_[1 : num_tokens + 1] - first_child_[:num_tokens]
                most, word_W = num_V.topk(min(MOST_NUMBERS // num_tokens, num_tokens))
                for word in word_W[most >= FEWEST_CHILDREN].tolist():
                    row_V[word] = len(rows)
                    child_E = torch.arange(int(first_child_[word]), int(first_child_[word + 1]), device=key_.device)
                    row = log_p_[:num_tokens] + log_backoff_[word]
                    row[key_[child_E] - word * num_tokens] = log_p_[child_E + num_tokens]
                    rows.append(row)
            return cls(row_V, torch.stack(rows), (key_, log_p_, log_backoff_, first_child_))

    def is_of(self, *buffers: Tensor) -> bool:
        """Say whether these very buffers are the source."""
        return len(buffers) == len(self.source) and all(a is b for a, b in zip(buffers, self.source, strict=True))
