"""One Transformer over the positions of all parts: early fusion, in which everything may read everything.

    x_kt = x_kt + e_k + g_k p_t            e_k: which part; p_t: which place in it (sines, Vaswani et al. 2017, 3.5)
    x = x + attention(LN(x), LN(x))        over all parts at once
    x = x + MLP(LN(x))                     repeated `layers` times
    memory = LN(x)

The single stream of Chen et al. 2020 (UNITER, section 3.1), with the layers of a Transformer that normalises first.
Encoders may have told positions already; g_k, one learned number a part, says how much they are told again.  Absent
parts are masked out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.attention import beside_residual
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig
from sensorium.fusion.parts import by_part, conditioning, kinds, lined_up, ordered


class JointTransformer(nn.Module):
    """Let all positions of all parts attend to each other.

    Args:
        config: sizes.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(AttentionConfig):
        """Options of `joint_transformer`."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.kind_KD = kinds(len(self.names), width)
        self.position_gain_K = nn.Parameter(torch.full((len(self.names),), 0.1))
        self.blocks: Any = config.blocks(width, config.layers)
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T, D).  Raises ModelError on a missing part."""
        x_BMD, mask_BM = self._begin(ordered(parts, self.names))
        for block in self.blocks:
            x_BMD = block.within(x_BMD, mask_BM)
        return conditioning(torch.where(mask_BM[..., None], self.norm(x_BMD), 0), mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by part: the roll-out of all layers."""
        chosen = ordered(parts, self.names)
        x_BMD, mask_BM = self._begin(chosen)
        read_BMM = torch.diag_embed(mask_BM.float())
        for block in self.blocks:
            read_BMM = beside_residual(block.weights_within(x_BMD, mask_BM)) @ read_BMM
            x_BMD = block.within(x_BMD, mask_BM)
        return by_part(read_BMM * mask_BM[..., None], self.names, chosen)

    def _begin(self, chosen: Sequence[Encoded]) -> tuple[Tensor, Tensor]:
        """Return all positions (B, M, D), told which part and place they are of, and their mask."""
        x_BMD, mask_BM, lengths = lined_up(chosen, self.kind_KD)
        # Counted over real positions, so that padding in front does not move anything.
        rank_BM = torch.cat([part.mask_BT.cumsum(1) - 1 for part in chosen], dim=1)
        gain_M = torch.cat([gain.expand(num) for gain, num in zip(self.position_gain_K, lengths, strict=True)])
        return x_BMD + gain_M[:, None] * sines(rank_BM, self.width).to(x_BMD.dtype), mask_BM


def sines(position_BT: Tensor, width: int) -> Tensor:
    """Return sin(t w_i), then cos(t w_i), w_i = 10000^(-i / (D/2)); float32 (B, T, D), a zero more if D is odd."""
    half = width // 2
    rate_H = torch.exp(-math.log(10_000.0) / max(half, 1) * torch.arange(half, device=position_BT.device))
    angle_BTH = position_BT[..., None] * rate_H
    odd_BT1 = torch.zeros_like(angle_BTH[..., :1]) if half else position_BT[..., None] * 0.0
    return torch.cat([angle_BTH.sin(), angle_BTH.cos(), odd_BT1], dim=-1)[..., :width]
