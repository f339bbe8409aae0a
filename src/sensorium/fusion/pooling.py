"""From many positions to one vector a part: the mean, or an attention of one learned query.

Enters: Encoded (B, T, D).  Leaves: (B, D); padding has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded

PoolingName = Literal["mean", "attention"]


class AttentionPooling(nn.Module):
    """sum_t a_t x_t, a = softmax over real t of u' tanh(W x_t) (Bahdanau et al. 2015; Yang et al. 2016, eq. 5-7).

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, part: Encoded) -> Tensor:
        """Return (B, D); a row without a real position gives zeros."""
        x_BTD = torch.where(part.mask_BT[..., None], part.x_BTD, 0)
        score_BT = self.score(x_BTD).squeeze(-1).float()
        weight_BT = masked_softmax(score_BT, part.mask_BT)
        return torch.einsum("bt,btd->bd", weight_BT.to(x_BTD.dtype), x_BTD)


class MeanPooling(nn.Module):
    """The mean over real positions."""

    def forward(self, part: Encoded) -> Tensor:
        """Return (B, D); a row without a real position gives zeros."""
        return part.mean_BD()


def masked_softmax(score_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the softmax over real entries, 0 elsewhere; a row without a real entry gives zeros, never NaN."""
    weight_BT = torch.where(mask_BT, score_BT, torch.finfo(score_BT.dtype).min).softmax(-1)
    return torch.where(mask_BT, weight_BT, 0)


def make_pooling(name: PoolingName, width: int) -> nn.Module:
    """Make the pooling called `name`."""
    return AttentionPooling(width) if name == "attention" else MeanPooling()


class PoolEach(nn.Module):
    """Pool every part by itself.

    Args:
        name: which pooling.
        num_parts: K.
        width: D.
    """

    def __init__(self, name: PoolingName, num_parts: int, width: int) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(make_pooling(name, width) for _ in range(num_parts))

    def forward(self, parts: Sequence[Encoded]) -> Tensor:
        """Return (B, K, D)."""
        return torch.stack([pool(part) for pool, part in zip(self.poolings, parts, strict=True)], dim=1)
