"""What a context of an infinite-gram keeps for the shorter ones, fitted to held-out text by EM.

Enters: the contexts that precede each held-out token.  Leaves: one share a bucket of contexts.

    p_l = (1 - k_l) c_l(w) / c_l + k_l p_{l-1},      l = 1..L, p_0 the n-gram's

is a mixture: walking down from the longest context, each either emits the token or passes it on.  So k is, over all
visits to contexts of its bucket, the expected share of those that passed on (Jelinek and Mercer 1980, deleted
interpolation).  A few made-up visits stand for what is believed before the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_COUNTS, _RUNS, _ALIKE = 8, 8, 5
"""Buckets by the powers of 2 below a context's count, its runs of next tokens, and its lengths that occur alike."""
_BELIEVED_KEEP, _BELIEVED_VISITS = 0.9, 20.0
_ROUNDS = 20


@dataclass(frozen=True, slots=True)
class Levels:
    """The contexts that count, M of them, at N positions; shorter ones come first at each position.

    Attributes:
        position_M: where each stands, ascending.
        at_M: the column of its length, ascending at each position.
        interval_M2: its places in the corpus.
        bucket_M: which share it keeps.
        num_positions, num_columns: N, and of the lengths.
    """

    position_M: Tensor
    at_M: Tensor
    interval_M2: Tensor
    bucket_M: Tensor
    num_positions: int
    num_columns: int

    def dense(self, x_M: Tensor, fill: float) -> Tensor:
        """Return x by position and length, (N, K); `fill` where no context counts."""
        x_NK = x_M.new_full((self.num_positions, self.num_columns), fill)
        x_NK[self.position_M, self.at_M] = x_M
        return x_NK

    def weights(self, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is left for the n-gram (N,), and each context's own weight (M,); they sum to 1."""
        keep_M = keep[self.bucket_M]
        if not self.num_columns:
            return keep_M.new_ones(self.num_positions), keep_M
        reached_NK = self.dense(keep_M, 1.0).flip(1).cumprod(1).flip(1)  # by those below it
        own_M = (1 - keep_M) / keep_M * reached_NK[self.position_M, self.at_M]
        return reached_NK[:, 0], own_M


def buckets(count_M: Tensor, num_runs_M: Tensor, num_alike_M: Tensor) -> Tensor:
    """Return which share each context keeps, from its count, its runs of next tokens and its lengths alike."""
    bucket_M = _power(num_alike_M, _ALIKE)
    return (bucket_M * _RUNS + _power(num_runs_M, _RUNS)) * _COUNTS + _power(count_M, _COUNTS)


def _power(x_M: Tensor, num: int) -> Tensor:
    return torch.bucketize(x_M, 2 ** torch.arange(1, num, device=x_M.device), right=True)


def unfitted() -> Tensor:
    """Return what is believed before anything is seen."""
    return torch.full((_ALIKE * _RUNS * _COUNTS,), _BELIEVED_KEEP)


def fit_keeping(levels: Levels, share_M: Tensor, base_N: Tensor) -> Tensor:
    """Fit the shares to held-out tokens.

    Args:
        share_M: c(context, token) / c(context).
        base_N: the n-gram's p of each token.
    """
    keep = unfitted().to(share_M.device, torch.float64)
    believed = torch.full_like(keep, _BELIEVED_VISITS)
    share_NK = levels.dense(share_M.double(), 0.0)
    is_level_NK = levels.dense(torch.ones_like(share_M, dtype=torch.bool), False)
    bucket_NK = levels.dense(levels.bucket_M, 0)
    for _ in range(_ROUNDS):
        keep_NK = torch.where(is_level_NK, keep[bucket_NK], 1.0)
        p = [base_N.double()]
        for share_N, keep_N in zip(share_NK.unbind(1), keep_NK.unbind(1), strict=True):
            p.append((1 - keep_N) * share_N + keep_N * p[-1])
        visits, passed, reaching_N = believed.clone(), believed * _BELIEVED_KEEP, torch.ones_like(p[0])
        for k in reversed(range(levels.num_columns)):
            visits.index_add_(0, bucket_NK[:, k], torch.where(is_level_NK[:, k], reaching_N, 0.0))
            reaching_N = reaching_N * (keep_NK[:, k] * p[k] / p[k + 1]).nan_to_num(0.0)
            passed.index_add_(0, bucket_NK[:, k], torch.where(is_level_NK[:, k], reaching_N, 0.0))
        keep = passed / visits
    return keep.float()
