"""Parts that talk through a few tokens alone: what they share has to fit through a bottleneck.

    [x_k ; b_k] = TRM_kl([x_k ; b])       each part k with its own layer l of a Transformer
    b = mean over present k of b_k        repeated `layers` times
    memory = LN([x_1; ...; x_K; b])       or LN(b) alone

Attention bottlenecks (Nagrani et al. 2021, equations 6-8); the layers before fusion of the paper are the encoders'
own.  The cost grows with the square of each part's length, not of all together.  Absent parts have no say in b.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig
from sensorium.fusion.parts import by_part, conditioning, heard, kinds, ordered


class Bottleneck(nn.Module):
    """Run a Transformer over each part, and let them exchange a few tokens after every layer.

    Args:
        config: sizes, and what the memory holds.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(AttentionConfig):
        """Options of `bottleneck`."""

        tokens: int = Field(4, ge=1, le=1024)
        memory: Literal["all", "tokens"] = "all"
        """What the scorer sees: all positions and the tokens, or the tokens alone."""

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.sees_all = config.memory == "all"
        self.kind_KD = kinds(len(self.names), width)
        self.token_ND = nn.Parameter(torch.randn(config.tokens, width) * 0.02)
        self.layers: Any = nn.ModuleList(config.blocks(width, len(self.names)) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T + tokens, D), or (B, tokens, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        heard_BK = heard(chosen)
        x = [
            torch.where(part.mask_BT[..., None], part.x_BTD + kind_D, 0)
            for part, kind_D in zip(chosen, self.kind_KD, strict=True)
        ]
        token_BND = self.token_ND.to(x[0].dtype).expand(len(heard_BK), -1, -1)
        num_tokens = token_BND.shape[1]
        mask = [functional.pad(part.mask_BT, (0, num_tokens), value=True) for part in chosen]
        for layer in self.layers:
            y = [
                block.within(torch.cat([x_BTD, token_BND], dim=1), mask_BS)
                for block, x_BTD, mask_BS in zip(layer, x, mask, strict=True)
            ]
            x = [y_BSD[:, :-num_tokens] for y_BSD in y]
            token_BND = _mean([y_BSD[:, -num_tokens:] for y_BSD in y], heard_BK)
        if not self.sees_all:
            return conditioning(self.norm(token_BND), None, parts)
        seen = [part.mask_BT & heard_BK[:, k, None] for k, part in enumerate(chosen)]
        mask_BM = torch.cat([*seen, mask[0].new_ones(len(heard_BK), num_tokens)], dim=1)
        x_BMD = self.norm(torch.cat([*x, token_BND], dim=1))
        return conditioning(torch.where(mask_BM[..., None], x_BMD, 0), mask_BM, parts)


def _mean(tokens: Sequence[Tensor], heard_BK: Tensor) -> Tensor:
    """Average each part's version of the tokens over the parts that are heard: (B, N, D)."""
    token_BKND = torch.stack(list(tokens), dim=1)
    weight_BK = heard_BK.to(token_BKND.dtype)
    return torch.einsum("bknd,bk->bnd", token_BKND, weight_BK / weight_BK.sum(1, keepdim=True))
