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
from torch import Tensor, nn

from sensorium.core.attention import beside_residual
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
        z_BND, key_BMD, mask_BS, all_BN = self._begin(ordered(parts, self.names))
        for layer in self.layers:
            read, *think = _blocks(layer)
            z_BND = read(z_BND, _keys(read, z_BND, key_BMD), mask_BS)
            for block in think:
                z_BND = block.within(z_BND, all_BN)
        return conditioning(self.norm(z_BND), None, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each token was read from, (B, tokens, T) by part.

        With R = 0 where the tokens are as they were learned, and attention A = [A_x, A_z] to inputs and tokens:

            R = (R + A_x + A_z R) / 2        as it reads
            R = (R + A_z R) / 2              in a layer within the tokens
        """
        chosen = ordered(parts, self.names)
        z_BND, key_BMD, mask_BS, all_BN = self._begin(chosen)
        num_inputs = key_BMD.shape[1]
        read_BNM = key_BMD.new_zeros(*z_BND.shape[:2], num_inputs)
        for layer in self.layers:
            read, *think = _blocks(layer)
            sides = z_BND, _keys(read, z_BND, key_BMD), mask_BS
            weight_BNS = read.weights(*sides).mean(1)
            from_inputs_BNM, from_tokens_BNN = weight_BNS[..., :num_inputs], weight_BNS[..., num_inputs:]
            read_BNM = (read_BNM + from_inputs_BNM + from_tokens_BNN @ read_BNM) / 2
            z_BND = read(*sides)
            for block in think:
                read_BNM = beside_residual(block.weights_within(z_BND, all_BN)) @ read_BNM
                z_BND = block.within(z_BND, all_BN)
        return by_part(read_BNM, self.names, chosen)

    def _begin(self, chosen: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the learned tokens (B, N, D), all parts' keys (B, M, D), the mask of both, and the tokens'."""
        x_BMD, mask_BM, _ = lined_up(chosen, self.kind_KD)
        z_BND = self.token_ND.to(x_BMD.dtype).expand(len(x_BMD), -1, -1)
        all_BN = torch.ones(z_BND.shape[:2], dtype=torch.bool, device=z_BND.device)
        return z_BND, self.norm_keys(x_BMD), torch.cat([mask_BM, all_BN], dim=1), all_BN


def _keys(read: CrossAttentionBlock, z_BND: Tensor, key_BMD: Tensor) -> Tensor:
    return torch.cat([key_BMD, read.norm_attention(z_BND)], dim=1)


def _blocks(layer: Any) -> list[CrossAttentionBlock]:
    return list(layer)
