"""A fixed number of memory tokens that read from everything, and from each other.

    z = z + attention(LN(z), [LN(x_1); ...; LN(x_K); LN(z)])
    z = z + MLP(LN(z))
    z = TRM(z)            `self_layers` times, within the tokens;  all of it repeated `layers` times
    memory = LN(z)

z begins as `tokens` learned vectors.  With `self_layers = 0` it is the resampler of Flamingo (Alayrac et al. 2022,
section 2.1 and figure 5), whose keys hold the tokens themselves, too; with more, the latent Transformer of
Perceiver IO (Jaegle et al. 2022, section 3.1).  Cost is linear in what comes in.  Absent parts are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig, CrossAttentionBlock
from sensorium.fusion.parts import by_part, conditioning, kinds, lined_up, ordered


class Perceiver(nn.Module):
    """Resample all parts to a fixed number of tokens.

    Args:
        config: sizes.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(AttentionConfig):
        """Options of `perceiver`."""

        tokens: int = Field(16, ge=1, le=4096)
        self_layers: int = Field(1, ge=0, le=64)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.kind_KD = kinds(len(self.names), width)
        self.token_ND = nn.Parameter(torch.randn(config.tokens, width))
        self.norm_keys = nn.LayerNorm(width)
        self.layers = nn.ModuleList(config.blocks(width, 1 + config.self_layers) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, tokens, D).  Raises ModelError on a missing part."""
        x_BMD, mask_BM, _ = lined_up(ordered(parts, self.names), self.kind_KD)
        key_BMD = self.norm_keys(x_BMD)
        z_BND = self.token_ND.to(x_BMD.dtype).expand(len(x_BMD), -1, -1)
        all_BN = torch.ones(z_BND.shape[:2], dtype=torch.bool, device=z_BND.device)
        mask_BS = functional.pad(mask_BM, (0, z_BND.shape[1]), value=True)
        for layer in self.layers:
            read, *think = _blocks(layer)
            z_BND = read(z_BND, torch.cat([key_BMD, read.norm_attention(z_BND)], dim=1), mask_BS)
            for block in think:
                z_BND = block.within(z_BND, all_BN)
        return conditioning(self.norm(z_BND), None, parts)


def _blocks(layer: Any) -> list[CrossAttentionBlock]:
    return list(layer)
