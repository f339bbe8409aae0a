"""The infinite-gram: the longest context that the corpus has ever seen, however long, over an n-gram.

Enters: tokens.  Leaves: log p(next), from counts alone; it does not look at the conditioning.
Every context longer than the n-gram's is looked up in the whole corpus (`context_index`), and interpolated from the
shortest to the longest, where c counts occurrences:

    p(w | h_1..h_l) = (1 - k) c(h_1..h_l w) / c(h_1..h_l) + k p(w | h_2..h_l),      k = keep(h_1..h_l)

What a context keeps for the shorter ones depends on how often it occurs, how various what follows is, and how much
longer it could be without occurring less; it is fitted to sequences left out of counting (`infinigram_keeping`).
Contexts that occur where a longer one does, and nowhere else, say what that one says, and are left out.

Sources: Liu et al. 2024, "Infini-gram: Scaling unbounded n-gram language models to a trillion tokens" (which backs
off without smoothing: a word that never followed has probability 0); Jelinek and Mercer 1980, "Interpolated
estimation of Markov source parameters from sparse data".

Letters beside the shared ones: K lengths of context, 1 to K; N positions; E occurrences.
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
from sensorium.core.vocabulary import EOS, Vocab
from sensorium.language.context_index import ContextIndex
from sensorium.language.emission import last_real
from sensorium.language.infinigram_keeping import Levels, buckets, fit_keeping, unfitted
from sensorium.language.ngram import Ngram, NgramState
from sensorium.language.ngram_counts import join
from sensorium.language.suffix_array import merged_next_tokens, next_tokens

_SLICE = 1 << 14  # positions whose levels are worked out at a time
_MOST_CELLS = 1 << 22  # contexts times words that are worked out at a time


@dataclass(frozen=True, slots=True)
class InfinigramState:
    """Where the last tokens stand in the corpus.

    Attributes:
        base: the n-gram's state.
        interval_BK2: the places that the last 1, 2, ..., K tokens lead to, [low, high); K grows with the match.
    """

    base: NgramState
    interval_BK2: Tensor


class Infinigram(nn.Module):
    """Score words by the longest contexts seen; uniform before `fit`.

    Attributes:
        next_: (N,) int32 the next token of every place of the corpus, in the order of contexts.
        keep_: (buckets,) what a context keeps for the shorter ones.
    """

    fitted_by = "counting"

    class Config(Section):
        """The n-gram below, and how far a context reaches back."""

        order: int = Field(5, ge=1, le=16)
        """Of the n-gram that words back off to."""
        longest: int = Field(64, ge=1, le=1 << 16)
        """Tokens in a context; of longer ones the last so many count."""
        held_out: float = Field(0.05, ge=0, lt=1)
        """Share of the sequences, the last ones, on which `fit` learns how far contexts are to be trusted."""

    next_: Tensor
    keep_: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self.base = Ngram(Ngram.Config(order=config.order), vocab, width)
        self.register_buffer("next_", torch.empty(0, dtype=torch.int32))
        self.register_buffer("keep_", unfitted())
        self._index: ContextIndex | None = None
        self._fitted: Tensor | None = None  # `next_` as it was fitted, while more is taught

    @property
    def index(self) -> ContextIndex:
        """Return the index of `next_`, sorted anew where that has changed."""
        if self._index is None or self._index.next_N is not self.next_:
            self._index = ContextIndex.of(self.next_)
        return self._index

    def fit(self, sequences: Iterable[Sequence[int]]) -> Self:
        """Count all but the last sequences, learn on those what contexts keep, then count all.

        Raises:
            DataError: no sequence, or one that is not from BOS to EOS over this vocabulary.
        """
        rows = list(sequences)
        num_held_out = int(len(rows) * self.config.held_out)
        self.keep_ = unfitted().to(self.keep_.device)
        if num_held_out:
            self._count(rows[:-num_held_out])
            self._fit_keeping(rows[-num_held_out:])
        return self._count(rows)

    def _count(self, rows: Sequence[Sequence[int]]) -> Self:
        token_T = join(rows, len(self.vocab))
        _, next_T = next_tokens(token_T, self.config.longest)
        self._take(torch.from_numpy(next_T.astype(np.int32)))
        self._fitted = None
        self.base.fit_joined(token_T, checked=True)
        return self

    def _take(self, next_N: Tensor) -> None:
        self.next_ = next_N.to(self.next_.device)

    def _fit_keeping(self, rows: Sequence[Sequence[int]]) -> None:
        """Learn from the rows what contexts keep; all are laid into one, as no match reaches past a BOS."""
        token_1T = torch.from_numpy(join(rows, len(self.vocab)))[None].to(self.next_.device)
        base_T = self.base.score_joined(token_1T[0])[1:].exp()
        interval_TK2 = self._intervals(token_1T, self._nowhere(1))[0, :-1]
        levels = self._levels(interval_TK2)
        self.keep_ = fit_keeping(levels, self._shares(levels, token_1T[0, 1:]), base_T)

    def teach(self, taught: Sequence[tuple[Sequence[int], int]]) -> Self:
        """Answer as if these texts had been counted, too, in place of those taught before; see `TeachableScorer`.

        Their contexts are put into the corpus's order, so that all counts are those of a model that was fitted on
        both; what contexts keep stays as it was fitted.

        Raises:
            DataError: a text that does not run from BOS to EOS over this vocabulary.
        """
        self.base.teach(taught)
        fitted = self.next_ if self._fitted is None else self._fitted
        if not taught:
            self.next_, self._fitted = fitted, None
            return self
        token_T = join([tokens for tokens, _ in taught], len(self.vocab))
        times_T = np.repeat([times for _, times in taught], [len(tokens) for tokens, _ in taught])
        index = ContextIndex.of(fitted.cpu())
        rank_T = index.insertion_ranks(torch.from_numpy(token_T)).numpy()
        merged_N = merged_next_tokens(fitted.cpu().numpy(), token_T, rank_T, times_T, self.config.longest)
        self._take(torch.from_numpy(merged_N))
        self._fitted = fitted
        return self

    def start(self, cond: Conditioning) -> InfinigramState:
        """Begin B rows with no token seen."""
        return InfinigramState(self.base.start(cond), self._nowhere(cond.num_rows))

    def extend(self, state: InfinigramState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, InfinigramState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        log_p_BV, base = self.base.extend(state.base, token_BT, mask_BT)
        interval_BK2 = last_real(self._intervals(token_BT, state.interval_BK2), mask_BT)
        is_seen_K = (interval_BK2[..., 1] > interval_BK2[..., 0]).any(0)
        interval_BK2 = interval_BK2[:, : int(is_seen_K.sum())]
        return self._distribution(log_p_BV, interval_BK2), InfinigramState(base, interval_BK2)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t) (B, T) without ever making a row of V numbers."""
        base_BT = self.base.score(token_BT, mask_BT, cond)
        interval_BTK2 = self._intervals(token_BT, self._nowhere(len(token_BT)))
        predicted_BT = mask_BT[:, 1:]
        interval_NK2, base_N = interval_BTK2[:, :-1][predicted_BT], base_BT[:, 1:][predicted_BT]
        target_N = token_BT[:, 1:][predicted_BT]
        slices = [slice(first, first + _SLICE) for first in range(0, len(target_N), _SLICE)]
        log_p_BT = torch.zeros_like(base_BT)
        found = [self._score(interval_NK2[part], base_N[part], target_N[part]) for part in slices]
        log_p_BT[:, 1:][predicted_BT] = torch.cat([base_N[:0], *found])
        return log_p_BT

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V)."""
        log_p_BTV = self.base.unroll(token_BT, mask_BT, cond)
        interval_BTK2 = self._intervals(token_BT, self._nowhere(len(token_BT)))
        flat_NV = self._distribution(log_p_BTV.flatten(0, 1), interval_BTK2.flatten(0, 1))
        return flat_NV.view_as(log_p_BTV)

    @property
    def num_facts(self) -> int:
        """Return F of `facts`: the n-gram's own, and three of the longest match."""
        return self.base.num_facts + 3

    def facts(self, state: InfinigramState) -> Tensor:
        """Return the n-gram's facts and three of the longest match, (B, F); see `gate`.

        They are log2 of 1 + its length, log of its count, and log of what all contexts keep for the n-gram.
        """
        return torch.cat([self.base.facts(state.base), self._match_facts(state.interval_BK2)], -1)

    def unroll_facts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the facts after each position, (B, T, F)."""
        interval_BTK2 = self._intervals(token_BT, self._nowhere(len(token_BT)))
        own_NF = self._match_facts(interval_BTK2.flatten(0, 1))
        return torch.cat([self.base.unroll_facts(token_BT, mask_BT, cond), own_NF.unflatten(0, token_BT.shape)], -1)

    def _match_facts(self, interval_NK2: Tensor) -> Tensor:
        size_NK = interval_NK2[..., 1] - interval_NK2[..., 0]
        length_N = (size_NK > 0).sum(1)
        padded_NK = torch.cat([size_NK.new_ones(len(size_NK), 1), size_NK], 1)
        count_N = padded_NK.gather(1, length_N[:, None])[:, 0]
        levels = self._levels(interval_NK2)
        log_kept_N = torch.zeros(len(size_NK), device=size_NK.device)
        log_kept_N.index_add_(0, levels.position_M, self.keep_[levels.bucket_M].log())
        return torch.stack([(1.0 + length_N).log2(), count_N.float().log(), log_kept_N], -1)

    def _nowhere(self, num_rows: int) -> Tensor:
        return torch.zeros(num_rows, 0, 2, dtype=torch.int64, device=self.next_.device)

    def _intervals(self, token_BT: Tensor, before_BK2: Tensor) -> Tensor:
        """Return (B, T, K, 2): where the last 1..K tokens at each position stand, K the longest match of all.

        Nothing follows EOS, so a context that ends in it leads nowhere.
        """
        if token_BT.shape[1] == 1:
            return self._stepped(token_BT, before_BK2)
        index, is_end_BT1 = self.index, (token_BT == EOS)[..., None]
        found: list[Tensor] = []
        before_BT2 = index.whole(tuple(token_BT.shape))
        while len(found) < self.config.longest:
            interval_BT2 = index.extend(before_BT2, token_BT).masked_fill(is_end_BT1, 0)
            if not bool((interval_BT2[..., 1] > interval_BT2[..., 0]).any()):
                break
            length = len(found)
            first_B12 = before_BK2[:, length : length + 1]
            if not first_B12.shape[1]:
                first_B12 = torch.zeros_like(interval_BT2[:, :1])
            before_BT2 = torch.cat([first_B12, interval_BT2[:, :-1]], 1)
            found.append(interval_BT2)
        return torch.stack(found, 2) if found else token_BT.new_zeros(*token_BT.shape, 0, 2)

    def _stepped(self, token_B1: Tensor, before_BK2: Tensor) -> Tensor:
        """Return `_intervals` of one token a row: all lengths at once, since each comes from one before."""
        before_BK2 = torch.cat([self.index.whole((len(token_B1), 1)), before_BK2], 1)[:, : self.config.longest]
        interval_BK2 = self.index.extend(before_BK2, token_B1.expand(before_BK2.shape[:2]))
        return interval_BK2.masked_fill((token_B1 == EOS)[..., None], 0)[:, None]

    def _levels(self, interval_NK2: Tensor) -> Levels:
        """Find the contexts that count: longer than the n-gram's, and the longest of those that occur alike."""
        interval_NK2 = interval_NK2[:, self.config.order - 1 :]
        size_NK = interval_NK2[..., 1] - interval_NK2[..., 0]
        longer_NK = torch.cat([size_NK[:, 1:], torch.zeros_like(size_NK[:, :1])], 1)
        position_M, at_M = ((size_NK > 0) & (size_NK != longer_NK)).nonzero().unbind(1)
        lengths = torch.arange(size_NK.shape[1], device=size_NK.device).expand_as(size_NK)
        opens_NK = torch.ones_like(size_NK, dtype=torch.bool)
        opens_NK[:, 1:] = size_NK[:, 1:] != size_NK[:, :-1]
        first_NK = torch.where(opens_NK, lengths, 0)
        first_NK = first_NK.cummax(1).values if first_NK.shape[1] else first_NK
        num_alike_M = at_M - first_NK[position_M, at_M] + 1
        interval_M2 = interval_NK2[position_M, at_M]
        bucket_M = buckets(size_NK[position_M, at_M], self.index.num_runs(interval_M2), num_alike_M)
        return Levels(position_M, at_M, interval_M2, bucket_M, len(size_NK), size_NK.shape[1])

    def _shares(self, levels: Levels, target_N: Tensor) -> Tensor:
        """Return (M,) the share of a context's occurrences that its target follows."""
        followed_M2 = self.index.extend(levels.interval_M2, target_N[levels.position_M])
        num_M2 = torch.stack([followed_M2, levels.interval_M2]).diff(dim=-1)
        return num_M2[0, :, 0] / num_M2[1, :, 0]

    def _score(self, interval_NK2: Tensor, base_N: Tensor, target_N: Tensor) -> Tensor:
        levels = self._levels(interval_NK2)
        share_M = self._shares(levels, target_N)
        kept_N, own_M = levels.weights(self.keep_)
        p_N = base_N.exp() * kept_N
        return p_N.index_add(0, levels.position_M, own_M * share_M).log()

    def _distribution(self, base_NV: Tensor, interval_NK2: Tensor) -> Tensor:
        levels = self._levels(interval_NK2)
        kept_N, own_M = levels.weights(self.keep_)
        if not len(own_M):
            return base_NV
        own_X = torch.zeros(base_NV.numel(), device=base_NV.device)
        each_M = own_M / (levels.interval_M2[:, 1] - levels.interval_M2[:, 0])
        for first in range(0, len(each_M), max(1, _MOST_CELLS // len(self.vocab))):
            part = slice(first, first + max(1, _MOST_CELLS // len(self.vocab)))
            self._add_followers(own_X, levels.interval_M2[part], levels.position_M[part], each_M[part])
        log_p_NV = base_NV + kept_N.log()[:, None]
        flat_X = log_p_NV.view(-1)  # of its many words few have followed: only those are worked out
        cell_E = own_X.nonzero().flatten()
        flat_X[cell_E] = torch.logaddexp(flat_X[cell_E], own_X[cell_E].log())
        return log_p_NV

    def _add_followers(self, own_X: Tensor, interval_M2: Tensor, position_M: Tensor, each_M: Tensor) -> None:
        """Add to the (N * V) cells what followed the contexts, `each` for an occurrence.

        Occurrences are gone through where they are few; of a context that occurs more often than there are words,
        each word is looked up instead.
        """
        num_words = len(self.vocab)
        is_long_M = interval_M2[:, 1] - interval_M2[:, 0] > num_words
        short_M, long_M = (~is_long_M).nonzero().flatten(), is_long_M.nonzero().flatten()
        level_E, place_E = self.index.members(interval_M2[short_M])
        cell_E = position_M[short_M][level_E] * num_words + self.next_[place_E]
        own_X.index_add_(0, cell_E, each_M[short_M][level_E])
        if len(long_M):
            distinct_L2, of_M = torch.unique(interval_M2[long_M], dim=0, return_inverse=True)
            word_LV = torch.arange(num_words, device=own_X.device).expand(len(distinct_L2), -1)
            followed_LV2 = self.index.extend(distinct_L2[:, None].expand(-1, num_words, -1), word_LV)
            times_LV = followed_LV2[..., 1] - followed_LV2[..., 0]
            own_MV = each_M[long_M][:, None] * times_LV[of_M]
            own_X.view(-1, num_words).index_add_(0, position_M[long_M], own_MV)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take a corpus of any size."""
        saved = state_dict.get(prefix + "next_")
        if saved is not None:
            self.next_ = torch.empty_like(saved, device=self.next_.device)
        self._fitted = None
        super()._load_from_state_dict(state_dict, prefix, *args)
