"""Two ways for a Transformer decoder to see the memory: keys and values, or tokens in front.

Enters: `Encoded` of any width, padding anywhere.  Leaves: keys and values for every layer (with one
learned null position in front, so that a memory of nothing can be attended), or vectors to prepend.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.core.types import Encoded
from sensorium.language.emission import pack_left
from sensorium.language.transformer_block import Memory, Projection, RMSNorm


class MemoryKeys(nn.Module):
    """Make the keys and values of all layers in one matrix product.

    The projection is also the bridge from the memory's width to the decoder's.
    """

    def __init__(self, memory_width: int, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.shape_N2HK = (depth, 2, heads, width // heads)
        self.null_D = nn.Parameter(torch.randn(memory_width))
        self.norm = RMSNorm(memory_width)
        self.kv = Projection(memory_width, depth * 2 * width)

    def forward(self, memory: Encoded) -> Memory:
        """Return keys and values of 1+M positions, the null one first."""
        num_rows, length = memory.mask_BT.shape
        x_BMD, mask_B11M = self.null_D.expand(num_rows, 1, -1), None
        if length > 0:
            real_BMD = torch.where(memory.mask_BT[..., None], memory.x_BTD, 0)
            x_BMD = torch.cat([x_BMD.to(real_BMD.dtype), real_BMD], 1)
            mask_B11M = nn.functional.pad(memory.mask_BT, (1, 0), value=True)[:, None, None]
        kv_BMN2HK = self.kv(self.norm(x_BMD)).unflatten(-1, self.shape_N2HK)
        return Memory(kv_BMN2HK.permute(0, 2, 3, 4, 1, 5), mask_B11M)


class MemoryPrefix(nn.Module):
    """Make vectors that stand before the first token; real ones moved to the left, padding to the right."""

    def __init__(self, memory_width: int, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(memory_width)
        self.bridge = Projection(memory_width, width)
        self.width = width

    def forward(self, memory: Encoded) -> tuple[Tensor, Tensor]:
        """Return (B, M, W) and their mask (B, M)."""
        if memory.mask_BT.shape[1] == 0:
            return memory.x_BTD.new_zeros(*memory.mask_BT.shape, self.width), memory.mask_BT
        x_BMD = torch.where(memory.mask_BT[..., None], memory.x_BTD, 0)
        return pack_left(self.bridge(self.norm(x_BMD)), memory.mask_BT)
