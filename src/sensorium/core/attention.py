"""What fused attention kernels keep to themselves: the weights.

Enters: queries and keys by head.  Leaves: softmax(Q K' / sqrt(d)) (Vaswani et al. 2017, equation 1), and roll-outs.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def attention_weights(q_BHQK: Tensor, k_BHSK: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the weights (B, H, Q, S) of scaled dot-product attention; `mask` is True where a key may be seen."""
    score_BHQS = q_BHQK @ k_BHSK.transpose(-1, -2) / math.sqrt(q_BHQK.shape[-1])
    if mask is not None:
        score_BHQS = score_BHQS.masked_fill(~mask, -torch.inf)
    return score_BHQS.softmax(-1)


def beside_residual(weight_BQS: Tensor) -> Tensor:
    """Return (A + I) / 2: a layer with a residual path reads itself as much as what it attends to."""
    size = weight_BQS.shape[-1]
    return (weight_BQS + torch.eye(size, dtype=weight_BQS.dtype, device=weight_BQS.device)) / 2
