"""Beam search: the `width` best paths of each row, side by side.

Enters: log p(next) for each path, step by step.  Leaves: the n best texts of each row.
Texts that have ended are kept apart from those that live on, as fairseq does.  A text's score is its
log p over (number of tokens)^length_penalty (Wu et al. 2016, arXiv 1609.08144, section 7).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from sensorium.core.errors import UsageError
from sensorium.core.logspace import NEG_INF
from sensorium.core.vocabulary import EOS, PAD
from sensorium.decoding.generated import Generated, trimmed
from sensorium.decoding.search import Paths

if TYPE_CHECKING:
    from sensorium.decoding.config import DecodingConfig


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Keep the `width` likeliest paths at every step.

    A text that ends among the `width` best candidates is set aside, and the next best path takes
    its place.  A row stops when no living path can still reach its n best, whatever follows; a text
    that was cut off at max_tokens ranks behind every one that ended.

    Args:
        width: living paths a row; 1, with length_penalty 0, is greedy search.
        length_penalty: 0 ranks by log p, which prefers short texts; 1 by log p per token.
        n_best: how many texts to return, at most `width`.
        early_stopping: stop a row as soon as `width` texts have ended, though a better might follow.

    Raises:
        UsageError: a setting out of range.
    """

    width: int = 4
    length_penalty: float = 0.6
    n_best: int = 1
    early_stopping: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.n_best <= self.width and self.length_penalty >= 0):
            raise UsageError(f"{self} is out of range", advice="1 <= n_best <= width, length_penalty >= 0")

    @classmethod
    def from_config(cls, config: DecodingConfig, /) -> Self:
        """Take beam_width, length_penalty, n_best and early_stopping."""
        return cls(
            width=config.beam_width,
            length_penalty=config.length_penalty,
            n_best=config.n_best,
            early_stopping=config.early_stopping,
        )

    def begin(self, row_id_B: Tensor, max_tokens: int) -> Paths:
        """Begin one empty path for each row; the first step makes `width` of it."""
        return _Beams(self, len(row_id_B), max_tokens, row_id_B.device)


@dataclass(frozen=True, slots=True)
class _Texts:
    """K paths for each of B rows: tokens and log p (B, K, T), PAD and 0 behind the end; score (B, K)."""

    token_BKT: Tensor
    log_p_BKT: Tensor
    score_BK: Tensor

    @classmethod
    def none(cls, num_rows: int, num_paths: int, max_tokens: int, device: torch.device) -> _Texts:
        shape = (num_rows, num_paths, max_tokens)
        return cls(
            torch.full(shape, PAD, device=device),
            torch.zeros(shape, device=device),
            torch.full(shape[:2], NEG_INF, device=device),
        )

    def take(self, index_BJ: Tensor) -> _Texts:
        """Return path index_BJ[b, j] as path j of row b."""
        index_BJT = index_BJ[..., None].expand(-1, -1, self.token_BKT.shape[-1])
        return _Texts(
            self.token_BKT.gather(1, index_BJT),
            self.log_p_BKT.gather(1, index_BJT),
            self.score_BK.gather(1, index_BJ),
        )

    def beside(self, other: _Texts) -> _Texts:
        return _Texts(
            torch.cat([self.token_BKT, other.token_BKT], 1),
            torch.cat([self.log_p_BKT, other.log_p_BKT], 1),
            torch.cat([self.score_BK, other.score_BK], 1),
        )


class _Beams:
    """The living paths (their score is their plain sum) and the ended texts (best first, normalised)."""

    def __init__(self, beam: Beam, num_rows: int, max_tokens: int, device: torch.device) -> None:
        self._beam = beam
        self._max_tokens = max_tokens
        self._ended = _Texts.none(num_rows, beam.width, max_tokens, device)
        empty = _Texts.none(num_rows, 1, max_tokens, device)
        self._alive = _Texts(empty.token_BKT, empty.log_p_BKT, torch.zeros_like(empty.score_BK))
        self._length = 0

    @property
    def token_NT(self) -> Tensor:
        return self._alive.token_BKT.flatten(0, 1)[:, : self._length]

    def step(self, log_p_NV: Tensor, choice_NV: Tensor) -> Tensor | None:
        width, (num_rows, num_paths) = self._beam.width, self._alive.score_BK.shape
        best, parent_BC = self._candidates(log_p_NV, choice_NV)
        ends_BC = best.token_BKT[..., self._length] == EOS
        self._length += 1
        self._set_aside(best, ends_BC)
        score_BC = best.score_BK.masked_fill(ends_BC, NEG_INF)
        score_BK, chosen_BK = score_BC.topk(min(width, score_BC.shape[1]))
        alive = best.take(chosen_BK)
        self._alive = _Texts(alive.token_BKT, alive.log_p_BKT, self._unless_settled(score_BK))
        first_B1 = torch.arange(num_rows, device=score_BK.device)[:, None] * num_paths
        row_N = (first_B1 + parent_BC.gather(1, chosen_BK)).flatten()
        stays = len(row_N) == len(log_p_NV) and torch.equal(row_N, torch.arange(len(row_N), device=row_N.device))
        return None if stays else row_N

    def _candidates(self, log_p_NV: Tensor, choice_NV: Tensor) -> tuple[_Texts, Tensor]:
        """Continue every living path by every token; return the best 2 * width, and their parents (B, C).

        Twice the width, because at most `width` of them end and as many must live on.
        """
        alive_BK = self._alive.score_BK
        choice_BKV = choice_NV.unflatten(0, alive_BK.shape)
        # A dead path's scorer may say anything, NaN included; it must not reach the sum.
        sum_BKV = torch.where(alive_BK[..., None] != NEG_INF, alive_BK[..., None] + choice_BKV, NEG_INF)
        num_tokens = sum_BKV.shape[-1]
        score_BC, flat_BC = sum_BKV.flatten(1).topk(min(2 * self._beam.width, sum_BKV[0].numel()))
        parent_BC, token_BC = flat_BC // num_tokens, flat_BC % num_tokens
        best = self._alive.take(parent_BC)
        best.token_BKT[..., self._length] = token_BC
        best.log_p_BKT[..., self._length] = log_p_NV.unflatten(0, alive_BK.shape).flatten(1).gather(1, flat_BC)
        return _Texts(best.token_BKT, best.log_p_BKT, score_BC), parent_BC

    def _set_aside(self, best: _Texts, ends_BC: Tensor) -> None:
        """Put the texts that end among the `width` best candidates with those that ended before."""
        width = self._beam.width
        score_BW = self._normalised(best.score_BK[:, :width]).masked_fill(~ends_BC[:, :width], NEG_INF)
        if bool((score_BW != NEG_INF).any()):
            both = self._ended.beside(_Texts(best.token_BKT[:, :width], best.log_p_BKT[:, :width], score_BW))
            self._ended = both.take(both.score_BK.topk(width).indices)

    def _unless_settled(self, sum_BK: Tensor) -> Tensor:
        """Give up the living paths, by -inf, of rows whose n best can no longer change.

        log p only falls, and a longer text divides it by more, so that no text of a path can score
        above its present sum, normalised as if it reached max_tokens.
        """
        bound_B = sum_BK.amax(1) / math.pow(self._max_tokens, self._beam.length_penalty)
        settled_B = bound_B <= self._ended.score_BK[:, self._beam.n_best - 1]
        if self._beam.early_stopping:
            settled_B |= self._ended.score_BK[:, -1] > NEG_INF
        return sum_BK.masked_fill(settled_B[:, None], NEG_INF)

    def _normalised(self, sum_BK: Tensor) -> Tensor:
        return sum_BK / math.pow(self._length, self._beam.length_penalty)

    def done(self) -> bool:
        return bool((self._alive.score_BK == NEG_INF).all())

    def result(self) -> Generated:
        """Rank ended texts before those cut off, both best first; the rest is blank."""
        cut = _Texts(self._alive.token_BKT, self._alive.log_p_BKT, self._normalised(self._alive.score_BK))
        both = self._ended.beside(cut)
        order_BK = (both.score_BK == NEG_INF).sort(stable=True).indices[:, : self._beam.n_best]
        best = both.take(order_BK)
        found_BK1 = (best.score_BK != NEG_INF)[..., None]
        return trimmed(best.token_BKT.where(found_BK1, PAD), best.log_p_BKT.where(found_BK1, 0), best.score_BK)
