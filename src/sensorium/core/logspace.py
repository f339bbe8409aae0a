"""Log-space arithmetic that stays exact at the edges: -inf is probability zero, never NaN."""

from __future__ import annotations

import torch
from torch import Tensor

NEG_INF = float("-inf")


def logsumexp(x: Tensor, dim: int) -> Tensor:
    """log sum exp over `dim`; a slice of only -inf gives -inf, with zero (not NaN) gradient."""
    top = x.amax(dim, keepdim=True).detach()
    top = torch.where(torch.isfinite(top), top, torch.zeros_like(top))
    total = (x - top).exp().sum(dim)
    safe = torch.where(total > 0, total, torch.ones_like(total))
    return torch.where(total > 0, safe.log(), torch.full_like(total, NEG_INF)) + top.squeeze(dim)


def log_normalise(x: Tensor, dim: int = -1) -> Tensor:
    """Subtract the log of the total mass: the result sums to 1 over `dim`, if any mass is there."""
    total = logsumexp(x, dim).unsqueeze(dim)
    return x - torch.where(torch.isfinite(total), total, torch.zeros_like(total))


def possible_total(nll_B: Tensor, num_tokens_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum losses and tokens over the rows that are possible at all, as training does; NaN stays NaN.

    A row that a scorer rules out (log p -inf: more tokens than its frames can spell) has an infinite loss, which
    would decide for all rows.

    Returns:
        The sum in nats and the tokens, float64, and how many rows were left out, int64: () each.
    """
    counts_B = nll_B != torch.inf
    total = torch.where(counts_B, nll_B, 0).double().sum()
    return total, (num_tokens_B * counts_B).double().sum(), (~counts_B).sum()


def log_mix(log_p: Tensor, log_weight: Tensor, dim: int = 0) -> Tensor:
    """Linear interpolation: log sum_k w_k p_k, over `dim`; both broadcast."""
    return logsumexp(log_p + log_weight, dim)
