"""Predict hidden pieces of an input from the fused memory, so that the other inputs help.

Enters: the memory (B, M, D), the encoding of what is left of the input, and where the pieces are.  Leaves: numbers
for each piece (B, P, O), which the input's masking judges.

    query_p = W [sin, cos](place_p) + b
    keys = [memory + e_1; part + e_2]
    output_p = W' LN(blocks(query_p, LN(keys)))

The memory alone may be one position (a pooling fusion); beside it stands the input's own encoding, which keeps what
is near a piece.  The queries are few and the blocks small, as in the light decoder of MAE (He et al. 2022, section
3): what there is to learn is left to the encoders.  Places are read by sines of geometric wavelengths (Vaswani et
al. 2017, section 3.5), one set for each axis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded
from sensorium.fusion.attention import CrossAttentionBlock

NUM_WAVES = 16
LONGEST_WAVE = 1000.0


class MaskedHead(nn.Module):
    """Attend from the places of pieces to what is known, and say what stood there.

    Args:
        width: D.
        num_coordinates: axes of a place.
        num_outputs: O.
        layers: blocks of attention.
        heads: of each block; divides D.
    """

    def __init__(self, width: int, num_coordinates: int, num_outputs: int, *, layers: int, heads: int) -> None:
        super().__init__()
        self.place = nn.Linear(2 * NUM_WAVES * num_coordinates, width)
        self.kind_KD = nn.Parameter(torch.randn(2, width) * 0.02)
        self.norm_keys = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(CrossAttentionBlock(width, heads, 0.0) for _ in range(layers))
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_outputs))

    def forward(self, memory: Encoded, part: Encoded, coordinate_PC: Tensor) -> Tensor:
        """Return (B, P, O)."""
        sources = zip((memory, part), self.kind_KD, strict=True)
        key_BSD = torch.cat([source.x_BTD + kind_D for source, kind_D in sources], dim=1)
        mask_BS = torch.cat([memory.mask_BT, part.mask_BT], dim=1)
        key_BSD = self.norm_keys(torch.where(mask_BS[..., None], key_BSD, 0))
        query_PD = self.place(waves(coordinate_PC.to(key_BSD.device)))
        x_BPD = query_PD.expand(len(key_BSD), -1, -1)
        for block in self.blocks:
            x_BPD = block(x_BPD, key_BSD, mask_BS)
        output_BPO: Tensor = self.output(x_BPD)
        return output_BPO


def waves(coordinate_PC: Tensor) -> Tensor:
    """Return sines and cosines of each coordinate at wavelengths from 2 to 1000 pieces, (P, C * 2 * 16)."""
    wave_W = torch.logspace(math.log10(2), math.log10(LONGEST_WAVE), NUM_WAVES, device=coordinate_PC.device)
    angle_PCW = 2 * math.pi * coordinate_PC[..., None] / wave_W
    return torch.cat([angle_PCW.sin(), angle_PCW.cos()], dim=2).flatten(1)
