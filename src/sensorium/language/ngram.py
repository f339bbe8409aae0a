"""The n-gram scorer: interpolated modified Kneser-Ney over a trie of sorted integers.

Enters: tokens.  Leaves: log p(next), from counts alone; it does not look at the conditioning.
A state is the trie nodes of the last 1, 2, ..., order-1 tokens (-1 where never seen), so extending
a whole batch is one binary search.  Estimation: `kneser_ney`; the trie: `ngram_counts`.

For a context h_1..h_k and a word w whose longest seen match is (h_j..h_k w), back-off form says

    log p(w | h) = log p(w | h_j..h_k) + sum_{i<j} log b(h_i..h_k)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import Vocab
from sensorium.language.emission import emission_bias, last_real
from sensorium.language.kneser_ney import estimate
from sensorium.language.ngram_counts import NgramCounts, count_ngrams
from sensorium.language.ngram_table import StateTable, state_table

UNSEEN = -1


@dataclass(frozen=True, slots=True)
class NgramState:
    """Nodes (B, order-1) of the last 1, 2, ... tokens; UNSEEN where there is none."""

    node_BK: Tensor


class Ngram(nn.Module):
    """Score words by Kneser-Ney; uniform before `fit`.

    Attributes:
        key_: (N-V,) ascending keys of the n-grams of length two and more (see `ngram_counts`).
        log_p_: (N,) log p(last word | the words before) of every node.
        log_backoff_: (C,) log b of every context; contexts are the nodes 0..C-1.
        first_child_: (C+1,) where in `key_` the n-grams begin that extend each context.
        level_start_: (order+1,) node at which each length begins.
        discount_: (order, 3) D1, D2, D3+ of each length.
        num_fallbacks_: () lengths whose discounts could not be estimated.
    """

    fitted_by = "counting"

    class Config(Section):
        """How long the n-grams are."""

        order: int = Field(3, ge=1, le=16)

    key_: Tensor
    log_p_: Tensor
    log_backoff_: Tensor
    first_child_: Tensor
    level_start_: Tensor
    discount_: Tensor
    num_fallbacks_: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        num_tokens, num_contexts = len(vocab), len(vocab) if config.order > 1 else 0
        level_start = [0] + [num_tokens] * config.order
        self.register_buffer("key_", torch.empty(0, dtype=torch.int64))
        self.register_buffer("log_p_", emission_bias(vocab).log_softmax(0))
        self.register_buffer("log_backoff_", torch.zeros(num_contexts))
        self.register_buffer("first_child_", torch.zeros(num_contexts + 1, dtype=torch.int64))
        self.register_buffer("level_start_", torch.tensor(level_start))
        self.register_buffer("discount_", torch.zeros(config.order, 3))
        self.register_buffer("num_fallbacks_", torch.tensor(0))

    @property
    def context_tokens(self) -> int:
        """Say how many tokens decide what comes next: texts that end in the same ones are one to it."""
        return self.config.order - 1

    def table(self, most_numbers: int) -> StateTable | None:
        """Return all contexts as a table of states, for searches that look up one by one; None if too large."""
        return state_table(self, most_numbers)

    def fit(self, sequences: Iterable[Sequence[int]]) -> Self:
        """Count `sequences`, each from BOS to EOS, and estimate.

        Raises:
            DataError: no sequence, or one that is no such sequence over this vocabulary.
        """
        counts = count_ngrams(sequences, self.config.order, len(self.vocab))
        found = estimate(counts)
        with np.errstate(divide="ignore"):
            log_p_N, log_backoff_C = np.log(found.p_N), np.log(found.backoff_C)
        device = self.key_.device
        self.key_ = torch.from_numpy(counts.key_N).to(device)
        self.log_p_ = torch.from_numpy(log_p_N).float().to(device)
        self.log_backoff_ = torch.from_numpy(log_backoff_C).float().to(device)
        self.first_child_ = torch.from_numpy(_first_children(counts)).to(device)
        self.level_start_ = torch.tensor(counts.level_start, device=device)
        self.discount_ = torch.from_numpy(found.discount_L3).float().to(device)
        self.num_fallbacks_ = torch.tensor(found.num_fallbacks, device=device)
        return self

    def start(self, cond: Conditioning) -> NgramState:
        """Begin B rows with no token seen."""
        shape = (cond.num_rows, self.config.order - 1)
        return NgramState(torch.full(shape, UNSEEN, device=self.key_.device))

    def extend(self, state: NgramState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, NgramState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        before_BTK = self._nodes(token_BT, state.node_BK, self.config.order - 1)
        node_BK = last_real(before_BTK, mask_BT) if token_BT.shape[1] > 1 else before_BTK[:, 0]
        return self._distribution(node_BK), NgramState(node_BK)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T) without ever making a row of V numbers."""
        node_BTK = self._nodes(token_BT, self.start(cond).node_BK, self.config.order)
        log_p_BT = self.log_p_[token_BT]
        for k in range(self.config.order - 1):
            context_BT = _delayed(node_BTK[..., k], UNSEEN)
            node_BT = node_BTK[..., k + 1]
            backed_off_BT = log_p_BT + self._backoff(context_BT)
            log_p_BT = torch.where(node_BT >= 0, self.log_p_[node_BT.clamp_min(0)], backed_off_BT)
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        return torch.where(predicted_BT, log_p_BT, 0.0)

    def _nodes(self, token_BT: Tensor, before_BK: Tensor, depth: int) -> Tensor:
        """Return (B, T, depth): the nodes of the last 1..depth tokens at each position."""
        if depth == 0:
            return token_BT.new_empty(*token_BT.shape, 0)
        levels = [token_BT]
        for k in range(depth - 1):
            context_BT = torch.cat([before_BK[:, k : k + 1], levels[-1][:, :-1]], 1)
            levels.append(self._child(context_BT, token_BT))
        return torch.stack(levels, -1)

    def _child(self, node: Tensor, token: Tensor) -> Tensor:
        """Return the node of each context followed by each token, UNSEEN where there is none."""
        if self.key_.numel() == 0:
            return torch.full_like(token, UNSEEN)
        key = torch.where(node >= 0, node * len(self.vocab) + token, UNSEEN)
        at = torch.searchsorted(self.key_, key).clamp_max(self.key_.numel() - 1)
        return torch.where(self.key_[at] == key, at + len(self.vocab), UNSEEN)

    def _backoff(self, node: Tensor) -> Tensor:
        return torch.where(node >= 0, self.log_backoff_[node.clamp_min(0)], 0.0)

    def _distribution(self, node_BK: Tensor) -> Tensor:
        """Return log p(next) (B, V): back off everywhere, then lay longer matches over shorter ones."""
        num_rows, num_tokens = node_BK.shape[0], len(self.vocab)
        log_backoff_BK = self._backoff(node_BK)
        log_p_BV = self.log_p_[:num_tokens] + log_backoff_BK.sum(1, keepdim=True)
        flat_X, row_B = log_p_BV.view(-1), torch.arange(num_rows, device=node_BK.device)
        for k in range(node_BK.shape[1]):
            node_B = node_BK[:, k].clamp_min(0)
            first_B = self.first_child_[node_B]
            num_B = torch.where(node_BK[:, k] >= 0, self.first_child_[node_B + 1] - first_B, 0)
            row_E = torch.repeat_interleave(row_B, num_B)
            skipped_B = num_B.cumsum(0) - num_B
            child_E = torch.arange(row_E.numel(), device=row_E.device) + (first_B - skipped_B)[row_E]
            # key = node * V + word, so the flat place of the word is row * V + key - node * V.
            place_E = self.key_[child_E] + ((row_B - node_B) * num_tokens)[row_E]
            longer_B = log_backoff_BK[:, k + 1 :].sum(1)
            flat_X[place_E] = self.log_p_[child_E + num_tokens] + longer_B[row_E]
        return log_p_BV

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take tables of any size, as they were counted."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


def _first_children(counts: NgramCounts) -> np.ndarray[Any, np.dtype[np.int64]]:
    if counts.order == 1:
        return np.zeros(1, np.int64)
    context_C1 = np.arange(counts.level_start[-2] + 1)
    return np.searchsorted(counts.key_N, context_C1 * counts.num_tokens)


def _delayed(x_BT: Tensor, first: int) -> Tensor:
    return torch.cat([torch.full_like(x_BT[:, :1], first), x_BT[:, :-1]], 1)
