"""Tensor fusion without the tensor: a weight tensor of low rank is applied factor by factor.

    h = sum_r prod_k (W_kr p_k + v_kr) + b,    p_k = pool(x_k), W_kr p_k = 0 where part k is absent
    memory = LayerNorm(h), read as `positions` positions

Low-rank multimodal fusion (Liu et al. 2018, equations 6-9): v_kr is the column that meets the 1 appended to
p_k.  It equals `tensor` followed by a linear map of rank R, at a cost that grows with K instead of its power.  An
absent part leaves the factor v_kr, that is, the products of the other parts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, heard, ordered, presence
from sensorium.fusion.pooling import PoolEach, Pooling


class LowRank(nn.Module):
    """Pool each part, map it to factors, and multiply the factors of all parts.

    Args:
        config: sizes.
        names: the inputs.
        width: D.
    """

    ignores_absent = True

    class Config(Pooling):
        """Options of `low_rank`."""

        rank: int = Field(4, ge=1, le=4096)
        positions: int = Field(1, ge=1, le=1024)
        dropout: float = Field(0.0, ge=0.0, lt=1.0)
        """Chance that a value of a pooled part is dropped."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.positions = config.positions
        num_parts, num_out = len(self.names), config.positions * width
        self.pool = PoolEach(config, num_parts, width)
        self.dropout = nn.Dropout(config.dropout)
        self.factor_KRDO = nn.Parameter(
            torch.randn(num_parts, config.rank, width, num_out) / math.sqrt(width * config.rank)
        )
        # Near 1, so that a product of many factors neither vanishes nor explodes, and ranks begin apart.
        self.one_KRO = nn.Parameter(1 + 0.1 * torch.randn(num_parts, config.rank, num_out))
        self.bias_O = nn.Parameter(torch.zeros(num_out))
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, positions, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        pooled_BKD = torch.where(presence(chosen)[..., None], self.dropout(self.pool(chosen)), 0)
        product_BRO = torch.ones((), device=pooled_BKD.device)
        for k in range(len(self.names)):
            product_BRO = product_BRO * self._factor(k, pooled_BKD[:, k])
        x_BMD = (product_BRO.sum(1) + self.bias_O).view(-1, self.positions, self.width)
        return conditioning(self.norm(x_BMD), None, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, positions, T) by part; those that are heard count alike."""
        chosen = ordered(parts, self.names)
        return dict(zip(self.names, self.pool.shared(chosen, heard(chosen), self.positions), strict=True))

    def _factor(self, k: int, pooled_BD: Tensor) -> Tensor:
        return torch.einsum("bd,rdo->bro", pooled_BD, self.factor_KRDO[k]) + self.one_KRO[k]
