"""Every part reads from the others, all at once and in all directions.

    y_k = x_k + attention(LN(x_k), LN([x_j : j != k]))       attention = softmax(Q K' / sqrt(d)) V
    x_k = TRM_k(y_k + MLP(LN(y_k)))                          repeated `layers` times, all k from the same x
    memory = LN([x_1; ...; x_K])

TRM_k is a Transformer layer within the part: the two blocks of Lu et al. 2019 (ViLBERT, section 3.1), for any
number of parts; parallel co-attention (Lu et al. 2016, section 3.3) is its ancestor.  A part that is absent from a
row is neither read nor part of the memory; a part that is alone reads itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sensorium.core.attention import beside_residual
from sensorium.core.types import Conditioning, Encoded
from sensorium.fusion.attention import AttentionConfig
from sensorium.fusion.parts import by_part, conditioning, kinds, lined_up, ordered


class CoAttention(nn.Module):
    """Let the positions of each part attend to those of all others.

    Args:
        config: sizes.
        names: the inputs.
        width: D, a multiple of the heads.

    Raises:
        ConfigError: `heads` does not divide `width`.
    """

    ignores_absent = True

    class Config(AttentionConfig):
        """Options of `co_attention`."""

        layers: int = Field(1, ge=1, le=64)

    def __init__(self, config: Config, names: Sequence[str], width: int) -> None:
        super().__init__()
        self.names = tuple(names)
        self.width = width
        self.kind_KD = kinds(len(self.names), width)
        self.layers: Any = nn.ModuleList(
            CoAttentionLayer(len(self.names), width, config) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, parts: Mapping[str, Encoded]) -> Conditioning:
        """Fuse: (B, sum of T, D).  Raises ModelError on a missing part."""
        chosen = ordered(parts, self.names)
        x_BMD, mask_BM, lengths = lined_up(chosen, self.kind_KD)
        for layer in self.layers:
            x_BMD = layer(x_BMD, mask_BM, lengths)
        x_BMD = torch.where(mask_BM[..., None], self.norm(x_BMD), 0)
        return conditioning(x_BMD, mask_BM, parts)

    def reading(self, parts: Mapping[str, Encoded]) -> dict[str, Tensor]:
        """Return what each position was read from, (B, M, T) by part: the roll-out of all layers."""
        chosen = ordered(parts, self.names)
        x_BMD, mask_BM, lengths = lined_up(chosen, self.kind_KD)
        read_BMM = torch.diag_embed(mask_BM.float())
        for layer in self.layers:
            read_BMM = layer.reading(x_BMD, mask_BM, lengths) @ read_BMM
            x_BMD = layer(x_BMD, mask_BM, lengths)
        return by_part(read_BMM * mask_BM[..., None], self.names, chosen)


class CoAttentionLayer(nn.Module):
    """Attention from each part to all others, then attention within each part.

    Args:
        num_parts: K.
        width: D.
        config: the heads and dropout of its blocks.
    """

    def __init__(self, num_parts: int, width: int, config: AttentionConfig) -> None:
        super().__init__()
        self.norm_keys = nn.LayerNorm(width)
        self.across: Any = config.blocks(width, num_parts)
        self.inside: Any = config.blocks(width, num_parts)

    def forward(self, x_BMD: Tensor, mask_BM: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return (B, M, D), parts in the same places; `lengths` are their T."""
        key_BMD = self.norm_keys(x_BMD)
        x = []
        for across, inside, own in self._streams(lengths):
            x_BTD = across(x_BMD[:, own], key_BMD, _readable(mask_BM, own))
            x.append(inside.within(x_BTD, _inside(mask_BM, own)))
        return torch.cat(x, dim=1)

    def reading(self, x_BMD: Tensor, mask_BM: Tensor, lengths: Sequence[int]) -> Tensor:
        """Return what each position of the layer's output was read from among those of its input: (B, M, M)."""
        key_BMD = self.norm_keys(x_BMD)
        own_MM = torch.eye(x_BMD.shape[1], device=x_BMD.device)
        read = []
        for across, inside, own in self._streams(lengths):
            sides = x_BMD[:, own], key_BMD, _readable(mask_BM, own)
            across_BTM = (across.weights(*sides).mean(1) + own_MM[own]) / 2
            weight_BTT = inside.weights_within(across(*sides), _inside(mask_BM, own))
            read.append(beside_residual(weight_BTT) @ across_BTM)
        return torch.cat(read, dim=1)

    def _streams(self, lengths: Sequence[int]) -> Iterator[tuple[Any, Any, slice]]:
        """Yield each part's two blocks, and where its positions stand."""
        start = 0
        for across, inside, length in zip(self.across, self.inside, lengths, strict=True):
            yield across, inside, slice(start, start + length)
            start += length


def _readable(mask_BM: Tensor, own: slice) -> Tensor:
    """Return which keys a part reads (B, M): those of others, or its own where a row has no other."""
    others_BM = mask_BM.clone()
    others_BM[:, own] = False
    return torch.where(others_BM.any(1, keepdim=True), others_BM, mask_BM)


def _inside(mask_BM: Tensor, own: slice) -> Tensor:
    """Return a part's mask (B, T); a row that lacks it needs a key, too: what it computes is masked in the end."""
    mask_BT = mask_BM[:, own]
    return mask_BT | ~mask_BT.any(1, keepdim=True)
