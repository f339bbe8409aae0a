"""A weighted average of the parts, with weights that each row decides by itself.

    p_k = pool(x_k)     h_k = tanh(W_k p_k)     g = softmax over present k of v_k' tanh(V_k [p_1; ...; p_K])
    memory = LayerNorm(sum_k g_k h_k)

The gated multimodal unit (Arevalo et al. 2017, equations 1-5) for any number of parts: every gate sees all of them.
An absent part has weight 0; a row without any part is the average of all absent tokens.  The weights leave as
evidence `gate` (B, K), in the order of the names: they say which input a row was decided by.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.parts import conditioning, ordered, presence
from sensorium.fusion.pooling import PoolEach, Pooling, masked_softmax


class Gated(nn.Module):
    """Pool each part, and average with learned gates.

    Args:
        config: sizes.
        names: the inputs.
        width: D.
    """

    class Config(Pooling):
        """Options of `gated`."""

        hidden: int = Field(128, ge=1, le=65_536)
        """Units of the network that decides the gates."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        num_parts = len(self.names)
        self.pool = PoolEach(config, num_parts, width)
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(num_parts))
        self.gate = nn.Sequential(
            nn.Linear(num_parts * width, config.hidden), nn.Tanh(), nn.Linear(config.hidden, num_parts)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, 1, D), with evidence `gate` (B, K).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        pooled_BKD = self.pool(chosen)
        present_BK = presence(chosen)
        counted_BK = present_BK | ~present_BK.any(1, keepdim=True)
        gate_BK = masked_softmax(self.gate(pooled_BKD.flatten(1)).float(), counted_BK)
        value_BKD = torch.stack([value(pooled_BKD[:, k]) for k, value in enumerate(self.values)], dim=1).tanh()
        average_BD = torch.einsum("bk,bkd->bd", gate_BK.to(value_BKD.dtype), value_BKD)
        return conditioning(self.norm(average_BD)[:, None], None, parts, gate=gate_BK)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what the position was read from, (B, 1, T) by part, each part's times its gate."""
        gate_BK = self(parts).evidence["gate"]
        read = self.pool.reading(ordered(parts, self.names))
        return {
            name: read_BT[:, None] * gate_BK[:, k, None, None]
            for k, (name, read_BT) in enumerate(zip(self.names, read, strict=True))
        }
