"""Retrieval memory: what was said of the training rows that are most like this one, as an n-gram of its own.

Enters: the fused memory of a row.  Leaves: log p(next), by the texts of its nearest training rows:

    a_j      = exp((cos(q, k_j) - cos(q, k_1)) / tau)                             q: this row, k_j: its j-th nearest
    C_n(h w) = sum_j a_j (times w follows the n - 1 words h in text j),   C_n(h) = sum_w C_n(h w)
    P_n(w|h) = (C_n(h w) + s_n P_(n-1)(w|h')) / (C_n(h) + s_n),   P_0: an n-gram of all training texts

q and k are memories averaged over their positions, less the mean of all training rows.  s_n, how many texts the
shorter context is worth, is fitted for each n: many for n = 1, where neighbours only say what is talked of, few
for n = 4.  A text's beginning is padded, so that every word has n - 1 words before it.  A row without a memory has
no neighbours, and its words are those of P_0.

Sources: captions of neighbours as in Devlin et al. 2015, "Exploring nearest neighbor approaches for image
captioning" (arXiv 1505.04467); interpolation with a Dirichlet prior: MacKay and Peto 1995, equation 10.  `knn` is
another memory: it looks up each token by a decoder's hidden vector, this one looks up each row once.

Letters beside the shared ones: N training rows, K neighbours, S tokens of a neighbour's text, H = order - 1.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import PAD, Vocab
from sensorium.language.ngram import Ngram
from sensorium.language.vector_search import nearest

_AT_ONCE = 1 << 20  # tokens of neighbours that are counted at a time
_MOST_NUMBERS = 1 << 62
_TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_STRENGTHS = tuple(4.0**n for n in range(-2, 9))
_PASSES = 3
_MOST_TUNED = 20_000  # held-out tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NeighboursState:
    """A row's nearest training rows, and its last words.

    Attributes:
        place_BK: (B, K) which they are.
        weight_BK: (B, K) a_j; 0 where the row has no memory.
        nearness_B1: the cosine of the nearest one; 0 without a memory.
        context_BH: (B, H) the last words, the newest last; PAD before the beginning.
        background: the state of P_0.
    """

    place_BK: Tensor
    weight_BK: Tensor
    nearness_B1: Tensor
    context_BH: Tensor
    background: Any


class Neighbours(nn.Module):
    """Score words by the texts of the nearest training rows.

    Attributes:
        key_: (N, D) unit vectors of the training rows.
        mean_: (D,) what was subtracted from memories before they became unit vectors.
        token_: (N, S) int32 their texts, BOS..EOS, PAD behind.
        temperature_, strength_O: () tau and (order,) s_n.
        background: P_0.
    """

    fitted_by = "counting"
    num_facts = 1

    class Config(Section):
        """How many texts, and how long contexts."""

        neighbours: int = Field(50, ge=1)
        order: int = Field(4, ge=1, le=9)
        """The longest n-gram."""
        temperature: float | None = Field(None, gt=0)
        """None is fitted on held-out rows."""
        strengths: tuple[Annotated[float, Field(gt=0)], ...] | None = None
        """s_1 to s_order; None is fitted on held-out rows."""
        background: int = Field(3, ge=1, le=9)
        """The order of P_0."""
        most: int = Field(1_000_000, ge=1)
        """Rows beyond which nothing more is remembered; the log says how many were left out."""

        @model_validator(mode="after")
        def _has_a_strength_an_order(self) -> Self:
            if self.strengths is not None and len(self.strengths) != self.order:
                raise ValueError(f"{len(self.strengths)} strengths for n-grams of 1 to {self.order} words")
            return self

    key_: Tensor
    mean_: Tensor
    token_: Tensor
    temperature_: Tensor
    strength_O: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self._remembered: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("key_", torch.empty(0, width))
        self.register_buffer("mean_", torch.zeros(width))
        self.register_buffer("token_", torch.empty(0, 1, dtype=torch.int32))
        self.register_buffer("temperature_", torch.tensor(config.temperature or 0.1))
        self.register_buffer("strength_O", torch.tensor(config.strengths or [1.0] * config.order))
        self.background = Ngram(Ngram.Config(order=config.background), vocab, width)

    @torch.no_grad()
    def remember(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows, BOS..EOS, with what they are conditioned on; rows without a memory are left out."""
        has_B = cond.memory.mask_BT.any(1)
        text_BT = torch.where(mask_BT, token_BT, PAD).to(torch.int32)
        self._remembered.append((cond.memory.mean_BD()[has_B].float(), text_BT[has_B]))

    @torch.no_grad()
    def settle(self) -> Self:
        """Answer from what was remembered since the last time, and from that alone."""
        remembered, self._remembered = self._remembered, []
        longest = max((text_BT.shape[1] for _, text_BT in remembered), default=1)
        device = self.key_.device
        x_ND = torch.cat([self.key_[:0], *(x_BD.to(device) for x_BD, _ in remembered)])
        texts = [
            F.pad(token_BT.to(device), (0, longest - token_BT.shape[1]), value=PAD) for _, token_BT in remembered
        ]
        token_NS = torch.cat([self.token_.new_empty(0, longest), *texts])
        if len(x_ND) > self.config.most:
            log.warning("the last %d of %d rows are not remembered", len(x_ND) - self.config.most, len(x_ND))
        x_ND, self.token_ = x_ND[: self.config.most], token_NS[: self.config.most]
        self.mean_ = x_ND.mean(0) if len(x_ND) else torch.zeros_like(self.mean_)
        self.key_ = F.normalize(x_ND - self.mean_, dim=1)
        texts_N = [[word for word in text if word != PAD] for text in self.token_.tolist()]
        background = Ngram(self.background.config, self.vocab, self.key_.shape[1])
        self.background = (background.fit(texts_N) if texts_N else background).to(device)
        return self

    @torch.no_grad()
    def tune(self, held_out: Iterable[tuple[Tensor, Tensor, Conditioning]]) -> Self:
        """Fit tau and s_n, where they are not fixed, on rows that were not remembered.

        Every tau of a grid is tried, and under it each s_n of a grid in turn.  At most 20,000 tokens are read.
        """
        temperatures = _TEMPERATURES if self.config.temperature is None else (self.config.temperature,)
        base: list[Tensor] = []
        counts: dict[float, list[tuple[Tensor, Tensor]]] = {tau: [] for tau in temperatures}
        for token_BT, mask_BT, cond in held_out:
            cosine_BK, place_BK = self._nearest(cond)
            found, is_real_BT = self._counts(token_BT, place_BK), mask_BT[:, 1:]
            base.append(self.background.score(token_BT, mask_BT, cond)[:, 1:][is_real_BT].exp())
            for tau in temperatures:
                given_BTO, both_BTO = found.weighed(self._weights(cosine_BK, cond, tau))
                counts[tau].append((given_BTO[is_real_BT], both_BTO[is_real_BT]))
            if sum(map(len, base)) >= _MOST_TUNED:
                break
        if not base or not len(self.key_):
            return self
        p_Q = torch.cat(base)
        fitted = {}
        for tau, pieces in counts.items():
            given_QO, both_QO = (torch.cat(parts) for parts in zip(*pieces, strict=True))
            fitted[tau] = self._fitted_strengths(p_Q, given_QO, both_QO)
        best = max(fitted, key=lambda tau: fitted[tau][0])
        log.info("temperature %g, strengths %s: %.4f nats a token", best, fitted[best][1], -fitted[best][0])
        self.temperature_ = torch.full_like(self.temperature_, best)
        self.strength_O = torch.tensor(fitted[best][1], device=self.strength_O.device)
        return self

    def _fitted_strengths(self, p_Q: Tensor, given_QO: Tensor, both_QO: Tensor) -> tuple[float, list[float]]:
        """Return the mean log p of held-out tokens, and the strengths under which it is that, order by order."""
        strengths = [float(s) for s in self.config.strengths or [4.0] * self.config.order]

        def value(tried: Sequence[float]) -> float:
            return float(_updated(p_Q, given_QO, both_QO, tried).log().double().mean())

        for _ in range(_PASSES if self.config.strengths is None else 0):
            for n in range(len(strengths)):
                tried = [[*strengths[:n], s, *strengths[n + 1 :]] for s in _STRENGTHS]
                strengths = max(tried, key=value)
        return value(strengths), strengths

    @torch.no_grad()
    def recall(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return what was said of each row's neighbours, (B, K, S - 1) int64 without BOS, and a_j (B, K)."""
        cosine_BK, place_BK = self._nearest(cond)
        text_BKS = self.token_[place_BK].long()
        return text_BKS[:, :, 1:], self._weights(cosine_BK, cond, float(self.temperature_))

    def start(self, cond: Conditioning) -> NeighboursState:
        """Begin B rows: find their neighbours."""
        cosine_BK, place_BK = self._nearest(cond)
        weight_BK = self._weights(cosine_BK, cond, float(self.temperature_))
        nearest_B1 = F.pad(cosine_BK, (0, 1))[:, :1]
        has_B1 = cond.memory.mask_BT.any(1, keepdim=True)
        context_BH = place_BK.new_full((cond.num_rows, self.config.order - 1), PAD)
        background = self.background.start(cond)
        return NeighboursState(place_BK, weight_BK, torch.where(has_B1, nearest_B1, 0.0), context_BH, background)

    @torch.no_grad()
    def extend(self, state: NeighboursState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, NeighboursState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        context_BH = self._moved(state.context_BH, token_BT, mask_BT)
        place_BK = state.place_BK
        log_p_BV, background = self.background.extend(state.background, token_BT, mask_BT)
        p_BV = log_p_BV.exp()
        text_BKS = self.token_[place_BK].long()
        word_BKS = text_BKS[:, :, 1:]
        weight_BKS = state.weight_BK[..., None] * (word_BKS != PAD)
        for before, strength in enumerate(self.strength_O.tolist()):
            if before:
                given_BKS = _shifted(text_BKS, before)
                weight_BKS = weight_BKS * (given_BKS == context_BH[:, -before][:, None, None])
            count_BV = torch.zeros_like(p_BV).scatter_add_(1, word_BKS.flatten(1), weight_BKS.flatten(1))
            p_BV = (count_BV + strength * p_BV) / (count_BV.sum(1, keepdim=True) + strength)
        return p_BV.log(), NeighboursState(place_BK, state.weight_BK, state.nearness_B1, context_BH, background)

    @torch.no_grad()
    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        cosine_BK, place_BK = self._nearest(cond)
        weight_BK = self._weights(cosine_BK, cond, float(self.temperature_))
        counts_BTO = self._counts(token_BT, place_BK).weighed(weight_BK)
        log_p_BT = self.background.score(token_BT, mask_BT, cond)[:, 1:]
        log_p_BT = _updated(log_p_BT.exp(), *counts_BTO, self.strength_O.tolist()).log()
        return F.pad(torch.where(mask_BT[:, 1:], log_p_BT, 0.0), (1, 0))

    def facts(self, state: NeighboursState) -> Tensor:
        """Return the cosine of the nearest row, (B, 1)."""
        return state.nearness_B1

    def unroll_facts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the facts after each position, (B, T, 1)."""
        return self.start(cond).nearness_B1[:, None].expand(-1, token_BT.shape[1], -1)

    @torch.no_grad()
    def _nearest(self, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return cosines (B, K), in descending order, and places (B, K); K is at most N."""
        query_BD = cond.memory.mean_BD().float()
        if query_BD.shape[1] != self.key_.shape[1]:  # no memory at all: its width is anything
            query_BD = query_BD.new_zeros(len(query_BD), self.key_.shape[1])
        num = min(self.config.neighbours, len(self.key_))
        if not num:
            return query_BD[:, :0], query_BD[:, :0].long()
        distance_BK, place_BK = nearest(self.key_, F.normalize(query_BD - self.mean_, dim=1), num)
        # Of unit vectors |q - k|^2 = 2 - 2 cos.
        return 1 - distance_BK / 2, place_BK

    @staticmethod
    def _weights(cosine_BK: Tensor, cond: Conditioning, temperature: float) -> Tensor:
        weight_BK = ((cosine_BK - cosine_BK[:, :1]) / temperature).exp()
        return torch.where(cond.memory.mask_BT.any(1, keepdim=True), weight_BK, 0.0)

    def _moved(self, context_BH: Tensor, token_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Return the last H words after T more, of which each row's real ones stand first."""
        length_B1, width = mask_BT.sum(1, keepdim=True), context_BH.shape[1]
        place_BH = length_B1 + torch.arange(width, device=token_BT.device)
        return torch.cat([context_BH, token_BT], 1).gather(1, place_BH)

    def _counts(self, token_BT: Tensor, place_BK: Tensor) -> _Counts:
        """Count, neighbour by neighbour, what each text but its BOS has to be judged by."""
        longest = max(1, token_BT.shape[1], self.token_.shape[1])
        rows = max(1, _AT_ONCE // (longest * max(1, place_BK.shape[1])))
        pieces = [
            self._counts_of(token_BT[first : first + rows], place_BK[first : first + rows])
            for first in range(0, max(1, len(token_BT)), rows)
        ]
        given_BTKO, both_BTKO = (torch.cat(parts) for parts in zip(*pieces, strict=True))
        return _Counts(given_BTKO, both_BTKO)

    def _counts_of(self, token_BT: Tensor, place_BK: Tensor) -> tuple[Tensor, Tensor]:
        text_BKS, asked_BT = self.token_[place_BK].long(), token_BT[:, 1:]
        word_BKS = text_BKS[:, :, 1:]
        is_word_BKS = word_BKS != PAD
        # What stands before a word has a number, equal where the words are, so that counting needs no pairs.
        numbers, end = _Numbers(torch.zeros_like(word_BKS), torch.zeros_like(asked_BT)), len(self.vocab)
        given, both = [], []
        for before in range(self.config.order):
            if before:
                context_BT = F.pad(token_BT, (before, 0), value=PAD)[:, 1:][:, : asked_BT.shape[1]]
                numbers = numbers.joined(_shifted(text_BKS, before), context_BT, end)
            given.append(numbers.occurrences(is_word_BKS))
            both.append(numbers.joined(word_BKS, asked_BT, end).occurrences(is_word_BKS))
        return torch.stack(given, 3), torch.stack(both, 3)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take a memory of any size."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


@dataclass(frozen=True, slots=True)
class _Counts:
    """How often each neighbour's text has what stands before each token, alone and with it: (B, T - 1, K, O)."""

    given_BTKO: Tensor
    both_BTKO: Tensor

    def weighed(self, weight_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Sum over neighbours: C_n(h) and C_n(h w), (B, T - 1, O) both."""
        given_BTO = torch.einsum("btko,bk->bto", self.given_BTKO.to(weight_BK), weight_BK)
        return given_BTO, torch.einsum("btko,bk->bto", self.both_BTKO.to(weight_BK), weight_BK)


def _updated(p: Tensor, given: Tensor, both: Tensor, strengths: Sequence[float]) -> Tensor:
    """Return P_order of tokens, (...), from their P_0 (...) and counts (..., O)."""
    for n, strength in enumerate(strengths):
        p = (both[..., n] + strength * p) / (given[..., n] + strength)
    return p


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Numbers below `end` of what stands at each place of neighbours' texts and of those asked for, equal where
    it is the same: (B, K, S) and (B, T)."""

    known_BKS: Tensor
    asked_BT: Tensor
    end: int = 1

    def joined(self, known_BKS: Tensor, asked_BT: Tensor, end: int) -> _Numbers:
        """Number the pairs of these and of tokens below `end`."""
        first = self if self.end * end < _MOST_NUMBERS else self._renumbered()
        return _Numbers(first.known_BKS * end + known_BKS, first.asked_BT * end + asked_BT, first.end * end)

    def _renumbered(self) -> _Numbers:
        """Number alone what occurs, so that what is joined to it fits into 64 bits."""
        found, number_P = torch.unique(
            torch.cat([self.known_BKS.flatten(), self.asked_BT.flatten()]), return_inverse=True
        )
        known_P, asked_P = number_P.split([self.known_BKS.numel(), self.asked_BT.numel()])
        return _Numbers(known_P.view_as(self.known_BKS), asked_P.view_as(self.asked_BT), len(found))

    def occurrences(self, is_word_BKS: Tensor) -> Tensor:
        """Count how often each neighbour's text has what is asked for, (B, T, K); in time K (S + T) log S."""
        sorted_BKS = torch.where(is_word_BKS, self.known_BKS, self.end).sort(2).values
        asked_BKT = self.asked_BT[:, None].expand(-1, sorted_BKS.shape[1], -1).contiguous()
        after_BKT = torch.searchsorted(sorted_BKS, asked_BKT, right=True)
        return (after_BKT - torch.searchsorted(sorted_BKS, asked_BKT)).transpose(1, 2)


def _shifted(text_BKS: Tensor, before: int) -> Tensor:
    """Return what stands `before` tokens before each token but the first, PAD before the beginning."""
    return F.pad(text_BKS, (before, 0), value=PAD)[:, :, 1 : text_BKS.shape[2]]
