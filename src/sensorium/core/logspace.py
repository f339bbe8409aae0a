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


def log_mix(log_p: Tensor, log_weight: Tensor, dim: int = 0) -> Tensor:
    """Linear interpolation: log sum_k w_k p_k, over `dim`; both broadcast."""
    return logsumexp(log_p + log_weight, dim)
