"""From many positions to one vector a part: the mean, or the attention of a few learned queries.

Enters: Encoded (B, T, D).  Leaves: (B, D); padding has no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.config import Section
from sensorium.core.types import Encoded

PoolingName = Literal["mean", "attention"]


class Pooling(Section):
    """Options of the fusions that pool each part to one vector."""

    pooling: PoolingName = "mean"
    pooling_heads: int = Field(4, ge=1, le=64)
    """Queries of `attention`: one finds one place, and a question has several words that matter."""


class AttentionPooling(nn.Module):
    """W [s_1; ...; s_H], s_h = sum_t a_ht x_t, a_h = softmax over real t of u_h' tanh(V x_t + b).

    Additive attention (Bahdanau et al. 2015; Yang et al. 2016, eq. 5-7) with H queries (Lin et al. 2017, "A
    structured self-attentive sentence embedding", eq. 6); one query needs no W.

    Args:
        width: D.
        heads: H.
    """

    def __init__(self, width: int, heads: int = 1) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, heads, bias=False))
        self.join = nn.Linear(heads * width, width, bias=False) if heads > 1 else nn.Identity()

    def forward(self, part: Encoded) -> Tensor:
        """Return (B, D); a row without a real position gives zeros."""
        x_BTD = torch.where(part.mask_BT[..., None], part.x_BTD, 0)
        joined_BD: Tensor = self.join((self._weights(x_BTD, part.mask_BT).to(x_BTD.dtype) @ x_BTD).flatten(1))
        return joined_BD

    def reading(self, part: Encoded) -> Tensor:
        """Return each position's weight, mean over heads: (B, T)."""
        return self._weights(torch.where(part.mask_BT[..., None], part.x_BTD, 0), part.mask_BT).mean(1)

    def _weights(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        return masked_softmax(self.score(x_BTD).transpose(1, 2).float(), mask_BT[:, None])


class MeanPooling(nn.Module):
    """The mean over real positions."""

    def forward(self, part: Encoded) -> Tensor:
        """Return (B, D); a row without a real position gives zeros."""
        return part.mean_BD()

    def reading(self, part: Encoded) -> Tensor:
        """Return each position's weight, the same for all that are real: (B, T)."""
        return part.mask_BT.float() / part.mask_BT.sum(1, keepdim=True).clamp_min(1)


def masked_softmax(score_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the softmax over real entries of the last axis, 0 elsewhere; without any, zeros and never NaN."""
    weight_BT = torch.where(mask_BT, score_BT, torch.finfo(score_BT.dtype).min).softmax(-1)
    return torch.where(mask_BT, weight_BT, 0)


def make_pooling(config: Pooling, width: int) -> nn.Module:
    """Make the pooling that `config` asks for."""
    return AttentionPooling(width, config.pooling_heads) if config.pooling == "attention" else MeanPooling()


class PoolEach(nn.Module):
    """Pool every part by itself.

    Args:
        config: which pooling.
        num_parts: K.
        width: D.
    """

    def __init__(self, config: Pooling, num_parts: int, width: int) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(make_pooling(config, width) for _ in range(num_parts))

    def forward(self, parts: Sequence[Encoded]) -> Tensor:
        """Return (B, K, D)."""
        return torch.stack([pool(part) for pool, part in zip(self.poolings, parts, strict=True)], dim=1)

    def reading(self, parts: Sequence[Encoded]) -> list[Tensor]:
        """Return how much each part's vector was read from each of its positions: (B, T) each."""
        return [pool.reading(part) for pool, part in zip(self.poolings, parts, strict=True)]  # type: ignore[operator]

    def shared(self, parts: Sequence[Encoded], counted_BK: Tensor, num_positions: int = 1) -> list[Tensor]:
        """Return (B, M, T) a part: what M positions were read from, if all parts that are counted count alike."""
        share_BK = counted_BK / counted_BK.sum(1, keepdim=True)
        return [
            (read_BT * share_B[:, None])[:, None].expand(-1, num_positions, -1)
            for read_BT, share_B in zip(self.reading(parts), share_BK.T, strict=True)
        ]
