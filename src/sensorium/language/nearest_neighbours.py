"""Nearest-neighbour memory: what followed, in the training texts, where a neural scorer was of a like mind.

Enters: another scorer's hidden vectors q.  Leaves: log p(next).  The memory holds a key (hidden vector) and a value
(the token that came next) for every token of the training texts, with what they were conditioned on:

    p_kNN(w) ~ sum_{(k, v) in N(q), v = w} n(k) exp(-|q - k|^2 / tau)          N(q): the nearest keys, n: how often
    p(w)     = (1 - s) p_kNN(w) + s p_read(w)

Source: Khandelwal et al. 2020, "Generalization through memorization: nearest neighbor language models", equations 1
to 3.  s is small: it gives every word a probability, and the composition's weights say how far to trust the memory.
A memory of nothing says what the scorer says that it reads, and without one all words are alike.

Letters beside the shared ones: W hidden width, N keys, Q queries, K neighbours.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.errors import MissingExtraError, ModelError
from sensorium.core.protocols import HiddenScorer
from sensorium.core.types import Conditioning
from sensorium.core.vocabulary import Vocab, require_same
from sensorium.language.emission import emission_bias
from sensorium.language.mixture_weights import fit_mixture_weights
from sensorium.language.vector_search import build_graph, nearest, nearest_in_graph, open_graph

_QUERIES = 1024  # searched at a time
_TRIED = [2.0**n for n in range(-6, 5)]  # temperatures, in units of the mean distance to the neighbours
_MOST_TUNED = 20_000  # held-out tokens
_MOST_NUMBERS = 1 << 24  # queries times words of one look at the scorer that is read

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NeighbourState:
    """The state of the scorer that is read, and how far the nearest key was.

    Attributes:
        read: None where the hidden vectors are handed in.
        nearness_B1: log of 1 + |q - k|^2 / tau of the nearest key; 0 in a memory of nothing.
    """

    read: Any
    nearness_B1: Tensor


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest keys of Q queries: squared distances, log n and values, (Q, K)."""

    distance_QK: Tensor
    log_times_QK: Tensor
    value_QK: Tensor

    def weights(self, temperature: Tensor) -> Tensor:
        """Return the neighbours' shares, (Q, K)."""
        return (self.log_times_QK - self.distance_QK / temperature).softmax(1)


class NearestNeighbours(nn.Module):
    """Score words by what followed the nearest hidden vectors.

    Attributes:
        key_: (N, W) hidden vectors; none where a graph holds them.
        graph_: (bytes,) uint8, see `vector_search`.
        value_: (N,) int32 the token after each.
        temperature_: () tau.
        taught_key_, taught_value_, taught_log_times_: keys that were taught; always searched exactly.
    """

    fitted_by = "counting"
    num_facts = 1

    class Config(Section):
        """What is read, and how its memory is searched."""

        of: str = "transformer"
        """The scorer whose hidden vectors are remembered."""
        neighbours: int = Field(32, ge=1)
        temperature: float | None = Field(None, gt=0)
        """None is fitted on held-out rows."""
        smoothing: float = Field(0.1, gt=0, lt=1)
        """s, the share of what the scorer that is read says itself."""
        precision: Literal["float32", "float16", "bfloat16"] = "float32"
        """Of the keys; half of it halves the memory."""
        exact_up_to: int = Field(200_000, ge=0)
        """Keys beyond which a graph is searched (needs the extra 'search')."""
        most: int = Field(2_000_000, ge=1)
        """Keys beyond which nothing more is remembered; the log says how many were left out."""

    key_: Tensor
    graph_: Tensor
    value_: Tensor
    temperature_: Tensor
    taught_key_: Tensor
    taught_value_: Tensor
    taught_log_times_: Tensor
    blank_V: Tensor

    def __init__(self, config: Config, vocab: Vocab, width: int) -> None:
        super().__init__()
        self.config, self.vocab = config, vocab
        self.reads = config.of
        self._read: tuple[Any, ...] = ()  # in a tuple, it is no part of this one's parameters
        self._remembered: list[tuple[Tensor, Tensor]] = []
        self._graph: tuple[Tensor, Any] | None = None
        dtype = getattr(torch, config.precision)
        for prefix in ("", "taught_"):
            self.register_buffer(f"{prefix}key_", torch.empty(0, 1, dtype=dtype))
            self.register_buffer(f"{prefix}value_", torch.empty(0, dtype=torch.int32))
        self.register_buffer("taught_log_times_", torch.empty(0))
        self.register_buffer("graph_", torch.empty(0, dtype=torch.uint8))
        self.register_buffer("temperature_", torch.tensor(config.temperature or 1.0))
        self.register_buffer("blank_V", emission_bias(vocab).log_softmax(0), persistent=False)

    def read(self, scorer: Any) -> Self:
        """Remember this scorer's hidden vectors; it stays somebody else's part.

        Raises:
            ModelError: it does not show its hidden vectors, or has another vocabulary.
        """
        if not isinstance(scorer, HiddenScorer):
            raise ModelError(
                f"a memory cannot read {type(scorer).__name__}: it has no hidden vectors",
                advice='name a neural scorer, as of = "transformer"',
            )
        require_same([self.vocab, scorer.vocab])  # type: ignore[attr-defined]
        self._read = (scorer,)
        return self

    @property
    def read_scorer(self) -> Any:
        """Return the scorer that is read, or None."""
        return self._read[0] if self._read else None

    @torch.no_grad()
    def remember(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> None:
        """Take in B rows, BOS..EOS, with what they are conditioned on."""
        self._remembered.append(self._pairs(token_BT, mask_BT, cond))

    def settle(self) -> Self:
        """Answer from what was remembered since the last time, and from that alone."""
        keys, values = [k for k, _ in self._remembered], [v for _, v in self._remembered]
        self._remembered = []
        key_NW, value_N = (
            torch.cat([self.key_[:0].expand(0, self._width), *keys]),
            torch.cat([self.value_[:0], *values]),
        )
        left_out = len(key_NW) - self.config.most
        if left_out > 0:
            log.warning("the memory is full: %d of %d tokens are left out", left_out, len(key_NW))
        self.key_, self.value_ = key_NW[: self.config.most], value_N[: self.config.most]
        self.graph_ = self.graph_[:0]
        if len(self.key_) > self.config.exact_up_to:
            try:
                self.graph_ = build_graph(self.key_).to(self.key_.device)
            except MissingExtraError as error:
                log.warning("%d keys are searched exactly, which takes long: %s", len(self.key_), error)
            else:
                self.key_ = self.key_[:0]
        return self

    @torch.no_grad()
    def tune(self, held_out: Iterable[tuple[Tensor, Tensor, Conditioning]]) -> Self:
        """Choose the temperature by which memory and scorer together say most of held-out rows.

        The first 20,000 tokens are read.  Nothing is done where the config fixes it, or nothing is remembered.
        """
        if self.config.temperature is not None or not len(self.value_):
            return self
        hidden, target, num = [], [], 0
        for token_BT, mask_BT, cond in held_out:
            found = self._pairs(token_BT, mask_BT, cond)
            hidden.append(found[0].float())
            target.append(found[1].long())
            num += len(found[1])
            if num >= _MOST_TUNED:
                break
        if not num:
            return self
        hidden_QW, target_Q = torch.cat(hidden)[:_MOST_TUNED], torch.cat(target)[:_MOST_TUNED]
        own_Q = torch.cat(
            [
                self._read[0].predict(hidden_QW[rows]).gather(1, target_Q[rows, None])[:, 0]
                for rows in _slices(len(hidden_QW), max(1, _MOST_NUMBERS // len(self.vocab)))
            ]
        )
        found_Q = [self._neighbours(hidden_QW[rows]) for rows in _slices(len(hidden_QW))]
        unit = float(torch.cat([found.distance_QK for found in found_Q]).mean().clamp_min(1e-6))
        value = {}
        for tried in _TRIED:
            temperature = torch.tensor(tried * unit, device=hidden_QW.device)
            pieces = zip(found_Q, _slices(len(target_Q)), strict=True)
            p_Q = torch.cat([_share_of(found, temperature, target_Q[rows]) for found, rows in pieces])
            log_p_KQ = torch.stack([self._smoothed(p_Q, own_Q), own_Q]).float().cpu()
            share_K = fit_mixture_weights(log_p_KQ).to(log_p_KQ)
            value[tried * unit] = float((log_p_KQ + share_K.log()[:, None]).logsumexp(0).mean())
        best = max(value, key=lambda temperature: value[temperature])
        log.info("temperature %.3g: %.4f nats a held-out token", best, -value[best])
        self.temperature_ = torch.tensor(best, device=self.temperature_.device)
        return self

    @torch.no_grad()
    def teach(self, taught: Sequence[tuple[Sequence[int], int]]) -> Self:
        """Remember these texts, too, in place of those taught before; they are conditioned on nothing.

        Raises:
            ModelError: no scorer is read.
        """
        pairs = [self._taught_pairs(tokens) for tokens, _ in taught]
        times = [torch.full((len(v),), float(n)) for (_, v), (_, n) in zip(pairs, taught, strict=True)]
        self.taught_key_ = torch.cat([self.taught_key_[:0].expand(0, self._width), *(k for k, _ in pairs)])
        self.taught_value_ = torch.cat([self.taught_value_[:0], *(v for _, v in pairs)])
        self.taught_log_times_ = torch.cat([self.taught_log_times_[:0], *(n.log().to(self.blank_V) for n in times)])
        return self

    def _taught_pairs(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        if not self._read:
            raise ModelError("a memory that reads no scorer cannot be taught")
        token_1T = torch.tensor([list(tokens)], device=self.value_.device)
        nothing = Conditioning.empty(1, device=self.value_.device)
        return self._pairs(token_1T, torch.ones_like(token_1T, dtype=torch.bool), nothing)

    def start(self, cond: Conditioning) -> NeighbourState:
        """Begin B rows."""
        read = self._read[0].start(cond) if self._read else None
        return NeighbourState(read, self.blank_V.new_zeros(cond.num_rows, 1))

    @torch.no_grad()
    def extend(self, state: NeighbourState, token_BT: Tensor, mask_BT: Tensor) -> tuple[Tensor, NeighbourState]:
        """Feed T tokens; returns log p(next) (B, V) and the new state."""
        if not self._read:
            return self.blank_V.repeat(len(token_BT), 1), state
        hidden_BW, read = self._read[0].extend_hidden(state.read, token_BT, mask_BT)
        log_p_BV, nearness_B1 = self._predict(hidden_BW, self._read[0].predict(hidden_BW))
        return log_p_BV, NeighbourState(read, nearness_B1)

    @torch.no_grad()
    def given(self, hidden_BW: Tensor, read_BV: Tensor) -> tuple[Tensor, NeighbourState]:
        """Return log p(next) (B, V) where the hidden vectors and what is read of them are known, and the state."""
        log_p_BV, nearness_B1 = self._predict(hidden_BW, read_BV)
        return log_p_BV, NeighbourState(None, nearness_B1)

    def score(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(token_t | before t, cond), (B, T)."""
        if token_BT.shape[1] == 1:
            return torch.zeros_like(token_BT, dtype=torch.float32)
        log_p_BTV = self.unroll(token_BT[:, :-1], mask_BT[:, :-1], cond)
        log_p_BT = log_p_BTV.gather(2, token_BT[:, 1:, None])[..., 0]
        return F.pad(torch.where(mask_BT[:, 1:], log_p_BT, 0.0), (1, 0))

    def unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return log p(next) after each position, (B, T, V)."""
        return self._unroll(token_BT, mask_BT, cond)[0]

    def facts(self, state: NeighbourState) -> Tensor:
        """Return how near the nearest key is, (B, 1)."""
        return state.nearness_B1

    def unroll_facts(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> Tensor:
        """Return the facts after each position, (B, T, 1)."""
        return self._unroll(token_BT, mask_BT, cond)[1]

    @torch.no_grad()
    def _unroll(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        if not self._read:
            return self.blank_V.repeat(*token_BT.shape, 1), self.blank_V.new_zeros(*token_BT.shape, 1)
        hidden_QW = self._read[0].unroll_hidden(token_BT, mask_BT, cond).flatten(0, 1)
        log_p_QV, nearness_Q1 = self._predict(hidden_QW, self._read[0].predict(hidden_QW))
        return log_p_QV.unflatten(0, token_BT.shape), nearness_Q1.unflatten(0, token_BT.shape)

    def _predict(self, hidden_QW: Tensor, own_QV: Tensor) -> tuple[Tensor, Tensor]:
        """Return log p(next) (Q, V), and how near the nearest key is (Q, 1); `own_QV` is what is read."""
        if not (len(self.value_) or len(self.taught_value_)):
            return own_QV, own_QV.new_zeros(len(own_QV), 1)
        log_p, nearness = [own_QV[:0]], [own_QV[:0, :1]]
        for rows in _slices(len(hidden_QW)):
            found, own_RV = self._neighbours(hidden_QW[rows]), own_QV[rows]
            p_RV = torch.zeros_like(own_RV)
            p_RV.scatter_add_(1, found.value_QK, found.weights(self.temperature_).to(p_RV))
            log_p.append(self._smoothed(p_RV, own_RV))
            nearness.append((found.distance_QK[:, :1] / self.temperature_).log1p())
        return torch.cat(log_p), torch.cat(nearness)

    def _smoothed(self, p: Tensor, own: Tensor) -> Tensor:
        """Return log of (1 - s) p + s exp(own)."""
        return ((1 - self.config.smoothing) * p + self.config.smoothing * own.exp()).log()

    def _neighbours(self, query_QW: Tensor) -> Neighbours:
        num = self.config.neighbours
        if len(self.graph_):
            if self._graph is None or self._graph[0] is not self.graph_:
                self._graph = (self.graph_, open_graph(self.graph_))
            distance_QK, place_QK = nearest_in_graph(self._graph[1], query_QW, min(num, len(self.value_)))
        else:
            distance_QK, place_QK = nearest(self.key_, query_QW, num)
        value_QK, log_times_QK = self.value_[place_QK].long(), torch.zeros_like(distance_QK)
        if len(self.taught_value_):
            further_QK, place_QK = nearest(self.taught_key_, query_QW, num)
            distance_QK = torch.cat([distance_QK, further_QK], 1)
            value_QK = torch.cat([value_QK, self.taught_value_[place_QK].long()], 1)
            log_times_QK = torch.cat([log_times_QK, self.taught_log_times_[place_QK]], 1)
            distance_QK, chosen_QK = distance_QK.topk(min(num, distance_QK.shape[1]), largest=False)
            value_QK, log_times_QK = value_QK.gather(1, chosen_QK), log_times_QK.gather(1, chosen_QK)
        return Neighbours(distance_QK, log_times_QK, value_QK)

    @property
    def _width(self) -> int:
        return int(self._read[0].hidden_width) if self._read else self.key_.shape[1]

    def _pairs(self, token_BT: Tensor, mask_BT: Tensor, cond: Conditioning) -> tuple[Tensor, Tensor]:
        """Return the hidden vector before each token but BOS, as a key (N, W), and the token (N,)."""
        before_BT, is_real_BT = token_BT[:, :-1], mask_BT[:, 1:]
        hidden_BTW = self._read[0].unroll_hidden(before_BT, mask_BT[:, :-1], cond)
        return hidden_BTW[is_real_BT].to(self.key_.dtype), token_BT[:, 1:][is_real_BT].to(self.value_.dtype)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Take a memory of any size."""
        for name, buffer in self._buffers.items():
            saved = state_dict.get(prefix + name)
            if buffer is not None and saved is not None:
                self._buffers[name] = torch.empty_like(saved, device=buffer.device)
        self._graph = None
        super()._load_from_state_dict(state_dict, prefix, *args)


def _slices(num_queries: int, size: int = _QUERIES) -> list[slice]:
    return [slice(first, first + size) for first in range(0, num_queries, size)]


def _share_of(found: Neighbours, temperature: Tensor, target_Q: Tensor) -> Tensor:
    """Return p_kNN of each query's target, (Q,)."""
    return torch.where(found.value_QK == target_Q[:, None], found.weights(temperature), 0.0).sum(1)
