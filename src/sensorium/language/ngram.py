"""The n-gram scorer: interpolated modified Kneser-Ney over a trie of sorted integers.

Enters: tokens.  Leaves: log p(next), from counts alone; it does not look at the conditioning.
A state is the trie nodes of the last 1, 2, ..., order-1 tokens (-1 where never seen), so extending
a whole batch is one binary search.  Estimation: `kneser_ney`; the trie: `ngram_counts`.

For a context h_1..h_k and a word w whose longest seen match is (h_j..h_k w), back-off form says

    log p(w | h) = log p(w | h_j..h_k) + sum_{i<j} log b(h_i..h_k)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import ModelError
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import BOS, Vocab
from sensorium.language.ascending import ascending, search_ascending
from sensorium.language.emission import emission_bias, last_real
from sensorium.language.kneser_ney import estimate
from sensorium.language.ngram_arrays import DiskArrays
from sensorium.language.ngram_counts import Ints, check_joined, count_joined, join
from sensorium.language.ngram_dense import DenseContexts
from sensorium.language.ngram_on_disk import count_on_disk
from sensorium.language.ngram_table import StateTable, state_table
from sensorium.language.ngram_tables import NgramTables, tables_of
from sensorium.language.ngram_teaching import tables_with

UNSEEN = -1
_LEAST_LOG_BACKOFF = -10.0  # a context without discounted mass has log 0


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
        suffix_, occurrence_: (N-V,), (N,) what was counted, so that texts can be taught; empty where unknown.
    """

    fitted_by = "counting"

    class Config(Section):
        """How long the n-grams are, and which are left out.

        `prune` is KenLM's --prune: for each length, n-grams that occur so often or less are left out;
        the last number holds for all longer ones.  `[0, 0, 1]` leaves out trigrams and longer seen once.
        """

        order: int = Field(3, ge=1, le=16)
        prune: tuple[int, ...] = ()

        @field_validator("prune")
        @classmethod
        def _never_sinks(cls, prune: tuple[int, ...]) -> tuple[int, ...]:
            if list(prune) != sorted(prune) or any(prune[:1]):
                raise ValueError("begins with 0, because words are not pruned, and never sinks")
            return prune

        @model_validator(mode="after")
        def _is_no_longer_than_the_order(self) -> Self:
            if len(self.prune) > self.order:
                raise ValueError(f"prune has {len(self.prune)} numbers for n-grams of length 1 to {self.order}")
            return self

    key_: Tensor
    log_p_: Tensor
    log_backoff_: Tensor
    first_child_: Tensor
    level_start_: Tensor
    discount_: Tensor
    num_fallbacks_: Tensor
    suffix_: Tensor
    occurrence_: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        num_tokens, num_contexts = len(vocab), len(vocab) if config.order > 1 else 0
        level_start = [0] + [num_tokens] * config.order
        self._dense_contexts: DenseContexts | None = None
        self.register_buffer("key_", torch.empty(0, dtype=torch.int64))
        self.register_buffer("log_p_", emission_bias(vocab).log_softmax(0))
        self.register_buffer("log_backoff_", torch.zeros(num_contexts))
        self.register_buffer("first_child_", torch.zeros(num_contexts + 1, dtype=torch.int64))
        self.register_buffer("level_start_", torch.tensor(level_start))
        self.register_buffer("discount_", torch.zeros(config.order, 3))
        self.register_buffer("num_fallbacks_", torch.tensor(0))
        self.register_buffer("suffix_", torch.empty(0, dtype=torch.int32))
        self.register_buffer("occurrence_", torch.empty(0, dtype=torch.int32))
        self._fitted: NgramTables | None = None  # while more is taught than `fit` counted

    @property
    def context_tokens(self) -> int:
        """Say how many tokens decide what comes next: texts that end in the same ones are one to it."""
        return self.config.order - 1

    def table(self, most_numbers: int) -> StateTable | None:
        """Return all contexts as a table of states, for searches that look up one by one; None if too large."""
        return state_table(self.tables, most_numbers)

    def fit(self, sequences: Iterable[Sequence[int]]) -> Self:
        """Count `sequences`, each from BOS to EOS, and estimate.

        Raises:
            DataError: no sequence, or one that is no such sequence over this vocabulary.
        """
        return self.fit_joined(join(sequences, len(self.vocab)), checked=True)

    def fit_joined(self, token_T: Ints, *, checked: bool = False) -> Self:
        """Fit on sequences laid end to end in one array, each from BOS to EOS.

        Raises:
            DataError: as `fit`, unless they are `checked` already.
        """
        if not checked:
            check_joined(token_T, len(self.vocab))
        counts = count_joined(token_T, self.config.order, len(self.vocab), self.config.prune)
        return self.take(tables_of(counts, estimate(counts)))

    def fit_on_disk(self, blocks: Iterable[Ints], folder: Path) -> Self:
        """Fit on a corpus larger than memory; the tables are then files in `folder`, mapped.

        Args:
            blocks: joined sequences, as for `fit_joined`; the largest block decides how much memory is used.
            folder: for some 60 bytes a token and 100 bytes an n-gram.

        Raises:
            DataError: as `fit`.
        """
        new = DiskArrays(folder)
        counts = count_on_disk(blocks, self.config.order, len(self.vocab), new, self.config.prune)
        return self.take(tables_of(counts, estimate(counts, new), new))

    def take(self, tables: NgramTables) -> Self:
        """Answer from `tables`, which are neither copied nor changed.

        Raises:
            ModelError: they are of another order or another size of vocabulary.
        """
        order, num_tokens = len(tables.level_start) - 1, int(tables.level_start[1])
        if (order, num_tokens) != (self.config.order, len(self.vocab)):
            raise ModelError(
                f"tables of order {order} over {num_tokens:,} tokens do not fit a scorer of order "
                f"{self.config.order} over {len(self.vocab):,}"
            )
        device = self.key_.device
        for name, array in tables.arrays().items():
            self.register_buffer(name, torch.from_numpy(array).to(device))
        self._fitted = None
        return self

    def teach(self, taught: Sequence[tuple[Sequence[int], int]]) -> Self:
        """Answer as if these texts had been counted, too, in place of those taught before; see `TeachableScorer`.

        The counts are added up and estimated anew, so the tables are, bit for bit, those of a model that was
        fitted on all of it.

        Raises:
            DataError: a text that does not run from BOS to EOS over this vocabulary.
            ModelError: what was counted is not known.
        """
        fitted = self._fitted or self.tables
        if not taught:
            return self if self._fitted is None else self.take(fitted)
        known = fitted.occurrences
        if known is None:
            raise ModelError(
                "an n-gram that was pruned, read from an ARPA file or counted on disk cannot be taught",
                advice="fit it in memory and without 'prune'",
            )
        self.take(tables_with(known, taught))
        self._fitted = fitted
        return self

    @property
    def tables(self) -> NgramTables:
        """Return the tables as arrays that share the buffers' memory where these are on the CPU."""
        arrays = {name: buffer.cpu().numpy() for name, buffer in self.named_buffers()}
        num_fallbacks = int(arrays.pop("num_fallbacks_"))
        return NgramTables(**{name[:-1]: array for name, array in arrays.items()}, num_fallbacks=num_fallbacks)

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
        log_p_BT = self._score(token_BT)
        predicted_BT = mask_BT.clone()
        predicted_BT[:, 0] = False
        return torch.where(predicted_BT, log_p_BT, 0.0)

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V)."""
        node_BTK = self._nodes(token_BT, self.start(cond).node_BK, self.config.order - 1)
        log_p_BTV: Tensor = self._distribution(node_BTK.flatten(0, 1)).unflatten(0, token_BT.shape)
        return log_p_BTV

    @property
    def num_facts(self) -> int:
        """Return F of `facts`: two for each length of context."""
        return 2 * (self.config.order - 1)

    def facts(self, state: NgramState) -> Tensor:
        """Return which lengths of context were seen in training, and log b of each, (B, F); see `gate`."""
        return self._facts(state.node_BK)

    def unroll_facts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the facts after each position, (B, T, F)."""
        return self._facts(self._nodes(token_BT, self.start(cond).node_BK, self.config.order - 1))

    def _facts(self, node: Tensor) -> Tensor:
        return torch.cat([(node >= 0).float(), self._backoff(node).clamp_min(_LEAST_LOG_BACKOFF)], -1)

    def score_joined(self, token_T: Tensor) -> Tensor:
        """Return log p(token_t | before t) (T,) of sequences laid end to end; 0 at each BOS.

        No n-gram holds a BOS but as its first token, so none reaches back over the seam.
        """
        return torch.where(token_T == BOS, 0.0, self._score(token_T[None])[0])

    def _score(self, token_BT: Tensor) -> Tensor:
        """Return log p of every token after those before it in its row.

        Length by length, only places whose context was seen are looked at: where the n-gram is in the trie,
        its log p counts and it is the next place's context; elsewhere the context's back-off weight is added.
        """
        token_N, num_columns = token_BT.flatten(), token_BT.shape[1]
        log_p_N = self.log_p_.index_select(0, token_N)  # several times as fast as log_p_[token_N]
        place_M = torch.arange(token_N.numel(), device=token_N.device).view(token_BT.shape)[:, 1:].flatten()
        context_M = token_BT[:, :-1].flatten()
        starts = self.level_start_.tolist()
        for start, end in itertools.pairwise(starts[1:]):
            key_K = self.key_[start - starts[1] : end - starts[1]]
            if not (place_M.numel() and key_K.numel()):
                break
            key_M, order_M = ascending(context_M * len(self.vocab) + token_N.index_select(0, place_M))
            place_M = place_M.index_select(0, order_M)
            at_M = search_ascending(key_K, key_M).clamp_max_(key_K.numel() - 1)
            found_M = key_K.index_select(0, at_M) == key_M
            lost_L, hit_H = (~found_M).nonzero()[:, 0], found_M.nonzero()[:, 0]
            lost_context_L = key_M.index_select(0, lost_L).div_(len(self.vocab), rounding_mode="floor")
            log_p_N.index_add_(
                0, place_M.index_select(0, lost_L), self.log_backoff_.index_select(0, lost_context_L)
            )
            place_M, context_M = place_M.index_select(0, hit_H), at_M.index_select(0, hit_H) + start
            log_p_N.index_copy_(0, place_M, self.log_p_.index_select(0, context_M))
            inner_I = ((place_M + 1) % num_columns).nonzero()[:, 0]
            place_M, context_M = place_M.index_select(0, inner_I) + 1, context_M.index_select(0, inner_I)
        return log_p_N.view(token_BT.shape)

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

    def _dense(self) -> DenseContexts:
        buffers = (self.key_, self.log_p_, self.log_backoff_, self.first_child_)
        if self._dense_contexts is None or not self._dense_contexts.is_of(*buffers):
            self._dense_contexts = DenseContexts.of(*buffers, len(self.vocab))
        return self._dense_contexts

    def _distribution(self, node_BK: Tensor) -> Tensor:
        """Return log p(next) (B, V): back off everywhere, then lay longer matches over shorter ones."""
        num_rows, num_tokens = node_BK.shape[0], len(self.vocab)
        log_backoff_BK = self._backoff(node_BK)
        dense, is_held_B = self._dense(), torch.zeros(num_rows, dtype=torch.bool, device=node_BK.device)
        held_row_B = torch.zeros(num_rows, dtype=torch.int64, device=node_BK.device)
        if node_BK.shape[1]:
            held_row_B = torch.where(node_BK[:, 0] >= 0, dense.row_V[node_BK[:, 0].clamp_min(0)], 0)
            is_held_B = held_row_B > 0
            log_backoff_BK[:, 0].masked_fill_(is_held_B, 0.0)  # it is in the row
        log_p_BV = dense.log_p_SV.index_select(0, held_row_B)
        log_p_BV += log_backoff_BK.sum(1, keepdim=True)
        flat_X, row_B = log_p_BV.view(-1), torch.arange(num_rows, device=node_BK.device)
        for k in range(node_BK.shape[1]):
            node_B = node_BK[:, k].clamp_min(0)
            first_B = self.first_child_[node_B]
            is_laid_B = (node_BK[:, k] >= 0) & ~is_held_B if k == 0 else node_BK[:, k] >= 0
            num_B = torch.where(is_laid_B, self.first_child_[node_B + 1] - first_B, 0)
            row_E = torch.repeat_interleave(row_B, num_B)
            skipped_B = num_B.cumsum(0) - num_B
            child_E = torch.arange(row_E.numel(), device=row_E.device) + (first_B - skipped_B)[row_E]
            # key = node * V + word, so the flat place of the word is row * V + key - node * V.
            place_E = self.key_[child_E] + ((row_B - node_B) * num_tokens)[row_E]
            longer_B = log_backoff_BK[:, k + 1 :].sum(1)
            flat_X[place_E] = self.log_p_[child_E + num_tokens] + longer_B[row_E]
        return log_p_BV

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take tables of any size, as they were counted."""
        self._fitted = None
        for name in ("suffix_", "occurrence_"):  # models of before texts could be taught lack them
            state_dict.setdefault(prefix + name, torch.empty(0, dtype=torch.int32))
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
